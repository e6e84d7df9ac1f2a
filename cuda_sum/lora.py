"""LoRA (Hu et al. 2021) through peft's layers, with a forward and backward of its own in place of theirs.

peft makes the layers and their names; here all matrices live in one flat float32 buffer (and their gradients in
another), so that norm, clipping, optimizer and sums over ranks are a few operations. Activations are never copied
to float32: the small matrices are cast instead, once a step. Knows nothing of losses, optimizers or model classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from common.adapter import adapted_linears, check_adapter, initial_adapter, lora_a_name, lora_b_name
from common.architecture import ModelShape
from common.engine import LoraSpec
from cuda_sum.model import dense_weight

PEFT_ADAPTER = "default"


@dataclass
class LowRank:
    """The adapter's part of one linear layer. `a_now` (r, in) and `b_now` (out, r), which holds the scale, are what
    activations meet: copies in the compute dtype of the float32 parameters `a` and `b` that are trained."""

    a: nn.Parameter
    b: nn.Parameter
    a_now: torch.Tensor
    b_now: torch.Tensor


@dataclass
class Adapter:
    """All adapter matrices of a model: A matrices in model order, then B matrices, in one buffer each.

    values     (P,) float32, what is trained; the parameters of peft's layers are views of it
    gradients  (P,) float32, their gradients
    now        (P,) in the compute dtype, with the scale in the B part
    """

    shape: ModelShape
    spec: LoraSpec
    values: torch.Tensor
    gradients: torch.Tensor
    now: torch.Tensor
    scaled_from: int
    layers: dict[str, LowRank] = field(default_factory=dict)
    enabled: bool = True

    def refresh(self) -> None:
        """Bring what activations meet up to date with `values`."""
        self.now.copy_(self.values)
        self.now[self.scaled_from :] = (self.values[self.scaled_from :] * self.spec.scale).to(self.now.dtype)

    def weights(self) -> dict[str, np.ndarray]:
        """Float32 copies of the matrices by PEFT name."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._named().items()}

    def gradient_arrays(self) -> dict[str, np.ndarray]:
        """Float32 copies of the gradients by PEFT name."""
        return {name: tensor.grad.cpu().numpy().copy() for name, tensor in self._named().items()}  # type: ignore[union-attr]

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replace all matrices. Raises AdapterError when names or shapes differ from the adapter's own."""
        check_adapter(weights, self.shape, self.spec)
        with torch.no_grad():
            for name, tensor in self._named().items():
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(weights[name], np.float32)))
        self.refresh()

    def _named(self) -> dict[str, nn.Parameter]:
        named = {}
        for path, layer in self.layers.items():
            named[lora_a_name(path)], named[lora_b_name(path)] = layer.a, layer.b
        return named


def attach_adapter(model: nn.Module, shape: ModelShape, spec: LoraSpec, dtype: torch.dtype) -> Adapter:
    """Put peft's LoRA layers into a frozen model in place, with the starting weights both engines share.

    Raises AdapterError for target modules that do not exist or may not be adapted.
    """
    linears = adapted_linears(shape, spec)
    start = initial_adapter(shape, spec)
    _inject(model, [linear.path for linear in linears], spec)
    model.requires_grad_(False)
    names = [lora_a_name(linear.path) for linear in linears] + [lora_b_name(linear.path) for linear in linears]
    device = next(model.parameters()).device
    size = sum(start[name].size for name in names)
    values, gradients = (torch.zeros(size, dtype=torch.float32, device=device) for _ in range(2))
    now = torch.zeros(size, dtype=dtype, device=device)
    views: dict[str, tuple[torch.Tensor, ...]] = {}
    offset = 0
    for name in names:
        length = start[name].size
        views[name] = tuple(part[offset : offset + length].view(start[name].shape) for part in (values, gradients, now))
        offset += length
    scaled_from = sum(start[lora_a_name(linear.path)].size for linear in linears)
    adapter = Adapter(shape, spec, values, gradients, now, scaled_from)
    for linear in linears:
        module: Any = model.get_submodule(linear.path)
        matrices = []
        for holder, name in ((module.lora_A, lora_a_name(linear.path)), (module.lora_B, lora_b_name(linear.path))):
            value, gradient, current = views[name]
            parameter = holder[PEFT_ADAPTER].weight
            parameter.data, parameter.requires_grad = value, True
            parameter.grad = gradient
            matrices.append((parameter, current))
        (a, a_now), (b, b_now) = matrices
        adapter.layers[linear.path] = LowRank(a, b, a_now, b_now)
    adapter.load(start)
    return adapter


def _inject(model: nn.Module, paths: list[str], spec: LoraSpec) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]
        lora_dropout=spec.dropout,
        target_modules=paths,
        use_rslora=spec.rank_stabilised,
        init_lora_weights=False,
        bias="none",
    )
    with warnings.catch_warnings():  # of names that peft still uses and transformers has renamed
        warnings.simplefilter("ignore", FutureWarning)
        inject_adapter_in_model(config, model, adapter_name=PEFT_ADAPTER)


class Linears:
    """One or several linear layers with the same input, adapted or not, as one function of that input.

    The A matrices of the adapted ones lie next to each other in the adapter's buffer and act as one matrix.
    """

    def __init__(self, bases: Sequence[nn.Module], low: Sequence[LowRank | None], adapter: Adapter | None) -> None:
        self.bases: tuple[Any, ...] = tuple(bases)
        self.low = tuple(low)
        self.adapter = adapter
        adapted = [part for part in low if part is not None]
        self.parameters = [matrix for part in adapted for matrix in (part.a, part.b)]
        self.stacked_a: torch.Tensor | None = None
        if adapted:
            first, rows = adapted[0].a_now, sum(len(part.a_now) for part in adapted)
            self.stacked_a = first.as_strided((rows, first.shape[1]), first.stride())
        self.alone = [Linears([b], [p], adapter) for b, p in zip(bases, low, strict=True)] if len(bases) > 1 else []
        self._dense: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self._merged = False

    @property
    def active(self) -> bool:
        """Whether the adapter adds to the outputs now."""
        return self.stacked_a is not None and self.adapter is not None and self.adapter.enabled and not self._merged

    @property
    def dropout(self) -> float:
        """Share of the adapter's inputs dropped now."""
        return self.adapter.spec.dropout if self.active and self.adapter and self.bases[0].training else 0.0

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(..., in) -> one (..., out) for each layer. With dropout, each drops inputs of its own, as in peft."""
        if self.alone and self.dropout:
            return tuple(single(x)[0] for single in self.alone)
        if torch.is_grad_enabled() and (x.requires_grad or self.active):
            return _Linears.apply(x, self, self.dropout, *self.trained())  # type: ignore[no-any-return]
        return self.forward(x, None)[0]

    def trained(self) -> list[nn.Parameter]:
        """What has gradients now: a, b, a, b, ... of the adapted layers."""
        return self.parameters if self.active else []

    def densify(self, dtype: torch.dtype, merge: bool) -> None:
        """Hold dequantized weights, with the adapter added to them if `merge`, as one matrix until `release`."""
        weights = [self._weight(index, dtype) for index in range(len(self.bases))]
        dense = torch.cat(weights)
        if merge and self.active:
            start = 0
            for weight, part in zip(weights, self.low, strict=True):
                if part is not None:
                    dense[start : start + len(weight)].addmm_(part.b_now, part.a_now)
                start += len(weight)
            self._merged = True
        biases = [base.bias for base in self.bases]
        self._dense = dense, (None if biases[0] is None else torch.cat(biases))

    def release(self) -> None:
        """Forget what `densify` made."""
        self._dense, self._merged = None, False

    def _weight(self, index: int, dtype: torch.dtype) -> torch.Tensor:
        return dense_weight(self.bases[index], dtype)

    def forward(
        self, x: torch.Tensor, kept: torch.Tensor | None
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        """Outputs, and the adapted layers' low-rank values (M, sum of ranks). `kept` (M, in) is x after dropout."""
        flat = x.reshape(-1, x.shape[-1])
        if self._dense is not None:
            whole = nn.functional.linear(flat, *self._dense)
            outputs = list(whole.split([base.out_features for base in self.bases], -1))
        else:
            weights = (self._weight(index, x.dtype) for index in range(len(self.bases)))
            outputs = [nn.functional.linear(flat, w, base.bias) for w, base in zip(weights, self.bases, strict=True)]
        low, column = None, 0
        if self.active:
            assert self.stacked_a is not None
            low = (flat if kept is None else kept) @ self.stacked_a.t()
            for out, part in zip(outputs, self.low, strict=True):
                if part is not None:
                    rank = part.b_now.shape[1]
                    out.addmm_(low[:, column : column + rank], part.b_now.t())
                    column += rank
        return tuple(out.view(*x.shape[:-1], -1) for out in outputs), low

    def backward(
        self,
        grads: Sequence[torch.Tensor],
        x: torch.Tensor,
        low: torch.Tensor | None,
        mask: torch.Tensor | None,
        dropout: float,
        wants_input: bool,
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """Gradient of the input (None unless wanted) and of a, b, a, b, ... of the adapted layers."""
        flat = x.reshape(-1, x.shape[-1])
        flat_grads = [grad.reshape(-1, grad.shape[-1]) for grad in grads]
        grad_x = None
        if wants_input:
            for index, grad in enumerate(flat_grads):
                weight = self._weight(index, x.dtype)
                grad_x = grad @ weight if grad_x is None else grad_x.addmm_(grad, weight)
        if low is None:
            return (None if grad_x is None else grad_x.view(x.shape)), []
        assert self.stacked_a is not None
        assert self.adapter is not None
        adapted = [(grad, part) for grad, part in zip(flat_grads, self.low, strict=True) if part is not None]
        grad_low = torch.cat([grad @ part.b_now for grad, part in adapted], 1)
        kept = flat if mask is None else _masked(flat, mask, dropout)
        grad_a = (grad_low.t() @ kept).float()
        matrices, row = [], 0
        for grad, part in adapted:
            rank = part.b_now.shape[1]
            grad_b = grad.t() @ low[:, row : row + rank]
            matrices += [grad_a[row : row + rank], grad_b.float() * self.adapter.spec.scale]
            row += rank
        if grad_x is not None:
            if mask is None:
                grad_x.addmm_(grad_low, self.stacked_a)
            else:
                grad_x += _masked(grad_low @ self.stacked_a, mask, dropout)
        return (None if grad_x is None else grad_x.view(x.shape)), matrices


def _masked(x: torch.Tensor, mask: torch.Tensor, dropout: float) -> torch.Tensor:
    return x * mask * (1.0 / (1.0 - dropout))


class _Linears(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, linears: Linears, dropout: float, *_: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        kept, mask = None, None
        if dropout:
            kept, mask = torch.native_dropout(x.reshape(-1, x.shape[-1]), dropout, True)
        outputs, low = linears.forward(x, kept)
        ctx.save_for_backward(x, low, mask)
        ctx.linears, ctx.dropout = linears, dropout
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        x, low, mask = ctx.saved_tensors
        linears: Linears = ctx.linears
        grad_x, matrices = linears.backward(grads, x, low, mask, ctx.dropout, ctx.needs_input_grad[0])
        return (grad_x, None, None, *matrices)
