"""Forward passes of attention, gated MLP, norm and last layer that do less work than transformers' own.

Put over a transformers model's modules in place; what is not recognised keeps its own forward. They differ from
the originals in what they skip, not in what they compute: one pass for layers with a common input, no attention
mask, nothing kept for frozen weights, and in the last layer only the rows that the loss reads. No twin in the MLX
engine. Knows the module names that transformers' decoder-only models share, and no particular model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import torch
from torch import nn

from common.generation.shared import Beginning
from common.model.architecture import ModelShape
from cuda_sum.device import return_freed_memory
from cuda_sum.functions import causal_attention, gate, gate_backward, joined_attention, rms_norm, rotate
from cuda_sum.linears import Linears
from cuda_sum.lora import Adapter
from cuda_sum.loss import target_rows

ACTIVATION_KINDS = {
    "SiLU": "silu",
    "SiLUActivation": "silu",
    "GELUTanh": "gelu_tanh",
    "PytorchGELUTanh": "gelu_tanh",
    "NewGELUActivation": "gelu_tanh",  # Phi's, the same function in several steps
}
NO_MASKS = "causal"  # no name that transformers makes masks for: attention here is causal by itself


def use_fast_layers(model: Any, shape: ModelShape, adapter: Adapter | None) -> list[Linears]:
    """Replace the forward passes of a transformers model, in place. Returns every linear layer of the transformer
    as it is computed now, those with a common input together."""
    linears: list[Linears] = []
    layers = model.model.layers
    for number, layer in enumerate(layers):
        prefix = f"model.layers.{number}."

        def bind(block: str, names: Sequence[str], prefix: str = prefix) -> Linears:
            bases = [_base(model.get_submodule(f"{prefix}{block}.{name}")) for name in names]
            low = [adapter.layers.get(f"{prefix}{block}.{name}") if adapter else None for name in names]
            linears.append(Linears(bases, low, adapter))
            linears[-1].stack()
            return linears[-1]

        _replace_attention(layer.self_attn, bind, shape)
        _replace_mlp(layer.mlp, bind)
        return_freed_memory()  # of the weights that lie elsewhere now, before the next layer's are copied
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            _replace_norm(module)
    _read_target_rows_only(layers[-1])
    model.config._attn_implementation = NO_MASKS
    return linears


def add_noise(hidden: torch.Tensor, lengths: torch.Tensor, alpha: float) -> torch.Tensor:
    """NEFTune (Jain et al. 2023): (B, T, H) embeddings plus noise uniform in +-alpha / sqrt(L H), L (B,) tokens."""
    size = alpha * (lengths.float() * hidden.shape[-1]).rsqrt()
    noise = torch.empty(hidden.shape, dtype=torch.float32, device=hidden.device).uniform_(-1.0, 1.0)
    return hidden + (noise * size[:, None, None]).to(hidden.dtype)


def _base(module: Any) -> nn.Module:
    """The layer itself, without peft's around it."""
    return getattr(module, "base_layer", module)  # type: ignore[no-any-return]


def _replace_attention(attention: Any, bind: Callable[..., Linears], shape: ModelShape) -> None:
    attention._inputs = bind("self_attn", ("q_proj", "k_proj", "v_proj"))
    attention._output = bind("self_attn", ("o_proj" if hasattr(attention, "o_proj") else "dense",))
    # Phi-2's scores overflow float16 (and autocast would cast them back)
    attention._wide = shape.model_type == "phi"
    norms = ("q_norm", "k_norm") if hasattr(attention, "q_norm") else ("q_layernorm", "k_layernorm")
    has_window = hasattr(attention, "sliding_window")
    attention._window = attention.sliding_window if has_window else shape.sliding_window
    attention._reads_rows = False
    attention._head_norms = tuple(getattr(attention, name, None) for name in norms)
    attention.forward = MethodType(_attention, attention)


def _attention(
    self: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    attention_mask: torch.Tensor | None = None,
    past_key_values: Any = None,
    cache: Any = None,
    target_rows_only: torch.Tensor | None = None,
    beginning: Beginning | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """As in transformers; in the last layer only the flat rows `target_rows_only` (N,) of it, where given: (N, H).

    With `beginning` the hidden states are (1, M, H), those of joined rows. `cache` is what transformers before 5.24
    calls `past_key_values`.
    """
    cache = past_key_values if cache is None else cache
    heads = (*hidden_states.shape[:-1], -1, self.head_dim)
    query_norm, key_norm = self._head_norms
    if self._inputs.is_joined and query_norm is None:
        both = self._inputs.joined(hidden_states).view(heads)
        queries, keys = (base.out_features // self.head_dim for base in self._inputs.bases[:2])
        value = both[:, :, queries + keys :]
        query, key = rotate(both[:, :, : queries + keys], *position_embeddings).split([queries, keys], 2)
    else:
        query, key, value = (part.view(heads) for part in self._inputs(hidden_states))
        if query_norm is not None:
            query, key = query_norm(query), key_norm(key)
        query, key = rotate(query, *position_embeddings), rotate(key, *position_embeddings)
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    dtype = query.dtype
    if self._wide and dtype == torch.float16:
        query, key, value = query.float(), key.float(), value.float()
    if beginning is not None:
        out = joined_attention(query, key, value, self.scaling, beginning, self._window)
    else:
        out = causal_attention(query, key, value, self.scaling, attention_mask, self._window)
    out = out.to(dtype)
    if self._reads_rows and target_rows_only is not None:
        out = target_rows(out, target_rows_only)
    return self._output(out)[0], None


def _replace_mlp(mlp: Any, bind: Callable[..., Linears]) -> None:
    if hasattr(mlp, "gate_proj"):
        mlp._inputs, mlp._output = bind("mlp", ("gate_proj", "up_proj")), bind("mlp", ("down_proj",))
        mlp._activation = mlp.act_fn
    else:
        mlp._inputs, mlp._output = bind("mlp", ("fc1",)), bind("mlp", ("fc2",))
        mlp._activation = mlp.activation_fn
    mlp._kind = ACTIVATION_KINDS.get(type(mlp._activation).__name__)
    mlp.forward = MethodType(_mlp, mlp)


def _mlp(self: Any, x: torch.Tensor) -> torch.Tensor:
    """linear(activation(inner) * up), or Phi's without `up`."""
    inner, up = (*self._inputs(x), None)[:2]
    output: Linears = self._output
    if self._kind is None:
        activated = self._activation(inner)
        return output(activated if up is None else activated * up)[0]
    if not torch.is_grad_enabled() or not inner.requires_grad:
        return output(gate(self._kind, inner, up)[0])[0]
    return _GatedLinear.apply(inner, up, output, self._kind, output.dropout, *output.trained())  # type: ignore[no-any-return]


class _GatedLinear(torch.autograd.Function):
    """linear(activation(inner) * up): what the layer reads is computed again for the backward pass, not kept."""

    @staticmethod
    def forward(
        ctx: Any,
        inner: torch.Tensor,
        up: torch.Tensor | None,
        linears: Linears,
        kind: str,
        dropout: float,
        *_: torch.Tensor,
    ) -> torch.Tensor:
        hidden = gate(kind, inner, up)[0]
        kept, mask = None, None
        if dropout:
            kept, mask = torch.native_dropout(hidden.reshape(-1, hidden.shape[-1]), dropout, True)
        outputs, low = linears.forward(hidden, kept)
        ctx.save_for_backward(inner, up, low, mask)
        ctx.linears, ctx.kind, ctx.dropout = linears, kind, dropout
        return outputs[0]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        inner, up, low, mask = ctx.saved_tensors
        linears: Linears = ctx.linears
        hidden, activated = gate(ctx.kind, inner, up)
        grad_hidden, matrices = linears.backward([grad], hidden, low, mask, ctx.dropout, True)
        assert grad_hidden is not None
        grad_inner, grad_up = gate_backward(ctx.kind, grad_hidden, inner, up, activated)
        return (grad_inner, grad_up, None, None, None, *matrices)


def _replace_norm(norm: Any) -> None:
    """RMSNorm; Gemma's multiplies by 1 + weight."""
    gemma = type(norm).__name__.startswith("Gemma")
    weight = 1.0 + norm.weight.float() if gemma else norm.weight
    epsilon = norm.eps if gemma else norm.variance_epsilon

    def forward(hidden_states: torch.Tensor) -> torch.Tensor:
        return rms_norm(hidden_states, weight, epsilon)

    norm.forward = forward


def _read_target_rows_only(layer: Any) -> None:
    """Let the last layer take `target_rows_only`; a subclass, so that gradient checkpointing still finds it."""
    layer.self_attn._reads_rows = True
    own = type(layer)
    body = _sequential_layer if hasattr(layer, "post_attention_layernorm") else _parallel_layer

    def forward(self: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if kwargs.get("target_rows_only") is None:
            return own.forward(self, hidden_states, *args, **kwargs)  # type: ignore[no-any-return]
        return body(self, hidden_states, *args, **kwargs)

    layer.__class__ = type(f"Last{own.__name__}", (own,), {"forward": forward})


def _sequential_layer(self: Any, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    """Llama's layer, from (B, T, H) to the target rows (N, H)."""
    attended, _ = self.self_attn(self.input_layernorm(hidden_states), **kwargs)
    residual = target_rows(hidden_states, kwargs["target_rows_only"]) + attended
    return residual + self.mlp(self.post_attention_layernorm(residual))  # type: ignore[no-any-return]


def _parallel_layer(self: Any, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    """Phi's layer, from (B, T, H) to the target rows (N, H)."""
    rows = kwargs["target_rows_only"]
    normed = self.input_layernorm(hidden_states)
    attended, _ = self.self_attn(normed, **kwargs)
    return target_rows(hidden_states, rows) + attended + self.mlp(target_rows(normed, rows))  # type: ignore[no-any-return]
