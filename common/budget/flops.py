"""What a LoRA fine-tuning step really computes, counted from the architecture matrix by matrix.

A multiplication of (m, k) by (k, n) counts 2 m k n, as torch's own counter has it; norms, activations, softmax and
the optimizer are left out (well under 1 %). Gradients are counted where they are needed: a frozen layer has an
activation gradient but no weight gradient, and below the first adapter there is neither. Attention counts the full
square of scores; a fused causal kernel may skip up to half of it. Every example counts by itself, whatever a
micro-batch's rows have in common. Knows nothing of devices or time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from common.engine import LoraSpec
from common.model.adapter import adapted_linears
from common.model.architecture import ModelShape


@dataclass(frozen=True)
class FlopCount:
    """FLOPs by what they are spent on. Counts add.

    linear_forward        the transformer's linear layers, forward
    attention_forward     scores and their product with the values, forward
    head                  output head on target rows, forward and activation gradient
    activation_gradients  gradient of the loss through the frozen linear layers
    attention_gradients   the same through attention
    adapter_forward       the adapters' own two products, forward
    adapter_gradients     gradients of the adapters' weights and inputs
    recomputation         the second forward of gradient checkpointing
    """

    linear_forward: float = 0.0
    attention_forward: float = 0.0
    head: float = 0.0
    activation_gradients: float = 0.0
    attention_gradients: float = 0.0
    adapter_forward: float = 0.0
    adapter_gradients: float = 0.0
    recomputation: float = 0.0

    @property
    def total(self) -> float:
        return sum(getattr(self, item.name) for item in fields(self))

    def __add__(self, other: FlopCount) -> FlopCount:
        return FlopCount(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    def scaled(self, factor: float) -> FlopCount:
        """Every part times `factor`."""
        return FlopCount(*(getattr(self, item.name) * factor for item in fields(self)))

    def as_dict(self) -> dict[str, float]:
        return {item.name: getattr(self, item.name) for item in fields(self)} | {"total": self.total}


@dataclass(frozen=True)
class _Rates:
    """FLOPs of one layer: per token, and (attention) per pair of tokens; `needs_gradient` of its output."""

    linear: float
    attention: float
    adapter: float
    activation_gradients: float
    attention_gradients: float
    adapter_gradients: float
    needs_gradient: bool


class StepCounter:
    """Counts training on examples of a model with an adapter (None: forward only, as in evaluation)."""

    def __init__(self, shape: ModelShape, lora: LoraSpec | None, gradient_checkpointing: bool = False) -> None:
        """Raises AdapterError when the adapter's targets do not exist in the model."""
        self.shape = shape
        adapted = {linear.path for linear in adapted_linears(shape, lora)} if lora else set()
        rank = lora.rank if lora else 0
        self._layers: list[_Rates] = []
        needs_gradient = False
        for layer in range(shape.layers):
            rates = _layer_rates(shape, layer, adapted, rank, needs_gradient)
            self._layers.append(rates)
            needs_gradient = rates.needs_gradient
        self._trains = needs_gradient
        self._checkpointing = gradient_checkpointing

    def example(self, tokens: int, target_rows: int) -> FlopCount:
        """One example of `tokens` tokens, padding not counted, the head run on `target_rows` of them."""
        pairs = float(tokens) * tokens
        head = 2.0 * self.shape.hidden_size * self.shape.vocab_size * target_rows
        # Only layers that take part in the backward pass are run a second time.
        again = [rates for rates in self._layers if rates.needs_gradient] if self._checkpointing else []
        return FlopCount(
            linear_forward=sum(rates.linear for rates in self._layers) * tokens,
            attention_forward=sum(rates.attention for rates in self._layers) * pairs,
            head=head * (2 if self._trains else 1),
            activation_gradients=sum(rates.activation_gradients for rates in self._layers) * tokens,
            attention_gradients=sum(rates.attention_gradients for rates in self._layers) * pairs,
            adapter_forward=sum(rates.adapter for rates in self._layers) * tokens,
            adapter_gradients=sum(rates.adapter_gradients for rates in self._layers) * tokens,
            recomputation=sum((rates.linear + rates.adapter) * tokens + rates.attention * pairs for rates in again),
        )

    def examples(self, lengths: Iterable[tuple[int, int]]) -> FlopCount:
        """The sum over examples given as (tokens, target rows)."""
        total = FlopCount()
        for tokens, target_rows in lengths:
            total += self.example(tokens, target_rows)
        return total


def _layer_rates(shape: ModelShape, layer: int, adapted: set[str], rank: int, input_needs: bool) -> _Rates:
    """Follows which tensors of a layer need a gradient, from its input to its output."""
    linears = {linear.leaf: linear for linear in shape.layer_linears(layer)}
    output_name = "dense" if shape.model_type == "phi" else "o_proj"
    up_names, down_name = (("gate_proj", "up_proj"), "down_proj") if shape.gated_mlp else (("fc1",), "fc2")
    linear = adapter = activation_gradients = adapter_gradients = 0.0

    def through(name: str, needs: bool) -> bool:
        """Count one linear layer; returns whether its output needs a gradient."""
        nonlocal linear, adapter, activation_gradients, adapter_gradients
        one = linears[name]
        dense = 2.0 * one.out_features * one.in_features
        linear += dense
        activation_gradients += dense if needs else 0.0
        if one.path not in adapted:
            return needs
        down, up = 2.0 * rank * one.in_features, 2.0 * rank * one.out_features
        adapter += down + up
        # Weight gradients of A and B, gradient through B, and through A where something below needs it.
        adapter_gradients += down + 2 * up + (down if needs else 0.0)
        return True

    query, key, value = (through(name, input_needs) for name in ("q_proj", "k_proj", "v_proj"))
    product = 2.0 * shape.heads * shape.head_dim  # per pair of tokens: scores, and again scores times values
    scores = query or key
    attention_gradients = product * (scores + value + query + key)
    attention_out = through(output_name, scores or value)
    after_attention = input_needs or attention_out
    mlp_input = input_needs if shape.model_type == "phi" else after_attention  # Phi runs both side by side
    hidden = [through(name, mlp_input) for name in up_names]
    mlp_out = through(down_name, any(hidden))
    return _Rates(
        linear, 2 * product, adapter, activation_gradients, attention_gradients, adapter_gradients,
        needs_gradient=after_attention or mlp_out,
    )  # fmt: skip


def full_finetune_flops(shape: ModelShape, tokens: float) -> float:
    """What training every weight on `tokens` tokens would spend by the usual rule, 6 N D."""
    return 6.0 * shape.parameters * tokens
