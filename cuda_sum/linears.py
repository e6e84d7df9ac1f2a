"""Frozen linear layers with a common input and their LoRA matrices as one function, forward and backward.

Activations are never copied to float32: the small matrices are cast instead, once a step. Frozen weights have no
gradient, and quantized ones are dequantized again for the backward pass, not kept. No twin in the MLX engine,
where the adapted layer and the graph do this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cuda_sum.lora import Adapter, LowRank
from cuda_sum.model import dense_weight
from cuda_sum.packed import pack, packed_linear


@dataclass
class _Dense:
    """Weights (out of all layers + R, in) whose last R rows are the A matrices, their bias (out + R,), and the B
    matrices (out, R) as blocks of one; without A matrices R is 0 and there is no `up`. A packed weight is opaque."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    up: torch.Tensor | None
    packed: bool

    def product(self, x: torch.Tensor, bias: bool) -> torch.Tensor:
        """(M, in) -> (M, out + R), the bias added if wanted."""
        linear = packed_linear if self.packed else nn.functional.linear
        return linear(x, self.weight, self.bias if bias else None)


class Linears:
    """One or several linear layers with the same input, adapted or not, as one function of that input.

    The A matrices of the adapted ones lie next to each other in the adapter's buffer and act as one matrix.
    """

    def __init__(self, bases: Sequence[nn.Module], low: Sequence[LowRank | None], adapter: Adapter | None) -> None:
        self.bases: tuple[Any, ...] = tuple(bases)
        self.low = tuple(low)
        self.adapter = adapter
        adapted = [part for part in low if part is not None]
        self.parameters = [matrix for part in adapted for matrix in part.trained]
        self.stacked_a: torch.Tensor | None = None
        if adapted:
            first, rows = adapted[0].a_now, sum(len(part.a_now) for part in adapted)
            self.stacked_a = first.as_strided((rows, first.shape[1]), first.stride())
        self.outputs = sum(base.out_features for base in self.bases)
        self._stack: torch.Tensor | None = None
        self.alone = [Linears([b], [p], adapter) for b, p in zip(bases, low, strict=True)] if len(bases) > 1 else []
        self._dense: _Dense | None = None
        self._merged = False

    @property
    def active(self) -> bool:
        """Whether the adapter adds to the outputs now."""
        return self.stacked_a is not None and self.adapter is not None and self.adapter.enabled and not self._merged

    @property
    def stretched(self) -> bool:
        """Whether outputs, before their bias, are multiplied by DoRA's ratios now."""
        return self.active and self.adapter is not None and self.adapter.spec.dora

    @property
    def dropout(self) -> float:
        """Share of the adapter's inputs dropped now."""
        return self.adapter.spec.dropout if self.active and self.adapter and self.bases[0].training else 0.0

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(..., in) -> one (..., out) for each layer. With dropout, each drops inputs of its own, as in peft."""
        if self._dense is not None:
            return self.joined(x).split([base.out_features for base in self.bases], -1)
        if self.alone and self.dropout:
            return tuple(single(x)[0] for single in self.alone)
        if torch.is_grad_enabled() and (x.requires_grad or self.active):
            return _Linears.apply(x, self, self.dropout, *self.trained())  # type: ignore[no-any-return]
        return self.forward(x, None)[0]

    def joined(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) -> the outputs of all layers side by side, after `join` or `densify`. Has no gradient."""
        assert self._dense is not None
        up = self._dense.up
        whole = self._dense.product(x.reshape(-1, x.shape[-1]), bias=not self.stretched)
        out = whole[:, : self.outputs]
        if up is not None:
            out.addmm_(whole[:, self.outputs :], up.t())
        if self.stretched:
            self._stretch(out.split([base.out_features for base in self.bases], -1))
        return out.view(*x.shape[:-1], -1)

    @property
    def is_joined(self) -> bool:
        """Whether `joined` can be called."""
        return self._dense is not None

    def trained(self) -> list[nn.Parameter]:
        """What has gradients now: a, b (and m), a, b, ... of the adapted layers."""
        return self.parameters if self.active else []

    def stack(self) -> None:
        """Let the weights lie in one matrix, with room for the A matrices below them, if they are not quantized."""
        weights = [base.weight for base in self.bases]
        if any(type(base) is not nn.Linear or base.weight.dtype != weights[0].dtype for base in self.bases):
            return
        ranks = 0 if self.stacked_a is None else len(self.stacked_a)
        self._stack = weights[0].new_empty(self.outputs + ranks, weights[0].shape[1])
        row = 0
        for weight in weights:
            rows = self._stack[row : row + len(weight)]
            rows.copy_(weight.data)
            weight.data = rows
            row += len(weight)

    def join(self, packed: bool = False) -> None:
        """Compute as one matrix, A matrices included, until `release`, if the weights lie in one: takes no memory
        unless they are packed (see packed.py)."""
        if self._stack is not None and all(_inside(base.weight, self._stack) for base in self.bases):
            self._hold(self._stack, packed)

    def densify(self, dtype: torch.dtype, merge: bool, packed: bool = False) -> None:
        """Compute with dequantized weights as one matrix, the adapter added to them if `merge`, until `release`."""
        weights = [self._weight(index, dtype) for index in range(len(self.bases))]
        if not (merge and self.active):
            below = [] if self.stacked_a is None else [self.stacked_a]
            self._hold(torch.cat([*weights, *below]), packed)
            return
        dense = torch.cat(weights)
        start = 0
        for weight, part in zip(weights, self.low, strict=True):
            if part is not None:
                rows = dense[start : start + len(weight)].addmm_(part.b_now, part.a_now)
                if part.stretch is not None:
                    rows.mul_(part.stretch[:, None])
            start += len(weight)
        self._merged = True
        self._hold(dense, packed)

    def _hold(self, dense: torch.Tensor, packed: bool) -> None:
        biases = [base.bias for base in self.bases]
        bias, up = (None if biases[0] is None else torch.cat(biases)), None
        if self.active:
            assert self.stacked_a is not None
            dense[self.outputs :] = self.stacked_a
            up = dense.new_zeros(self.outputs, len(self.stacked_a))
            row = column = 0
            for base, part in zip(self.bases, self.low, strict=True):
                if part is not None:
                    rank = part.b_now.shape[1]
                    up[row : row + base.out_features, column : column + rank] = part.b_now
                    column += rank
                row += base.out_features
            if bias is not None:
                bias = torch.cat([bias, bias.new_zeros(len(self.stacked_a))])
        else:
            dense = dense[: self.outputs]
        copy = pack(dense) if packed else None
        self._dense = _Dense(dense if copy is None else copy, bias, up, copy is not None)

    def release(self) -> None:
        """Forget what `join` or `densify` made."""
        self._dense, self._merged = None, False

    def _weight(self, index: int, dtype: torch.dtype) -> torch.Tensor:
        return dense_weight(self.bases[index], dtype)

    def forward(
        self, x: torch.Tensor, kept: torch.Tensor | None
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        """Outputs, and the adapted layers' low-rank values (M, sum of ranks). `kept` (M, in) is x after dropout."""
        flat = x.reshape(-1, x.shape[-1])
        late_bias = self.stretched
        weights = (self._weight(index, x.dtype) for index in range(len(self.bases)))
        biases = [None if late_bias else base.bias for base in self.bases]
        outputs = [nn.functional.linear(flat, w, bias) for w, bias in zip(weights, biases, strict=True)]
        low, column = None, 0
        if self.active:
            assert self.stacked_a is not None
            low = (flat if kept is None else kept) @ self.stacked_a.t()
            for out, part in zip(outputs, self.low, strict=True):
                if part is not None:
                    rank = part.b_now.shape[1]
                    out.addmm_(low[:, column : column + rank], part.b_now.t())
                    column += rank
        if late_bias:
            self._stretch(outputs)
        return tuple(out.view(*x.shape[:-1], -1) for out in outputs), low

    def _stretch(self, outputs: Sequence[torch.Tensor]) -> None:
        """Multiply outputs without bias by DoRA's ratios and add the biases, in place."""
        for out, part, base in zip(outputs, self.low, self.bases, strict=True):
            if part is not None and part.stretch is not None:
                out.mul_(part.stretch)
            if base.bias is not None:
                out.add_(base.bias)

    def backward(
        self,
        grads: Sequence[torch.Tensor],
        x: torch.Tensor,
        low: torch.Tensor | None,
        mask: torch.Tensor | None,
        dropout: float,
        wants_input: bool,
    ) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """Gradient of the input (None unless wanted) and of a, b (and m), a, b, ... of the adapted layers."""
        flat = x.reshape(-1, x.shape[-1])
        flat_grads = [grad.reshape(-1, grad.shape[-1]) for grad in grads]
        grads_m = self._stretch_gradients(flat_grads, flat, low) if self.stretched else []
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
            if grads_m:
                matrices.append(grads_m.pop(0))
            row += rank
        if grad_x is not None:
            if mask is None:
                grad_x.addmm_(grad_low, self.stacked_a)
            else:
                grad_x += _masked(grad_low @ self.stacked_a, mask, dropout)
        return (None if grad_x is None else grad_x.view(x.shape)), matrices

    def _stretch_gradients(
        self, grads: list[torch.Tensor], flat: torch.Tensor, low: torch.Tensor | None
    ) -> list[torch.Tensor]:
        """Gradients of DoRA's row lengths; `grads` become those of the outputs before they are stretched.

        The unstretched outputs are computed again, not kept from the forward pass.
        """
        assert low is not None
        found, column = [], 0
        for index, part in enumerate(self.low):
            if part is None:
                continue
            assert part.stretch is not None
            assert part.lengths is not None
            rank = part.b_now.shape[1]
            before = flat @ self._weight(index, flat.dtype).t()
            before.addmm_(low[:, column : column + rank], part.b_now.t())
            found.append((grads[index].float() * before.float()).sum(0) / part.lengths)
            grads[index] = grads[index] * part.stretch
            column += rank
        return found


def _inside(part: torch.Tensor, whole: torch.Tensor) -> bool:
    return part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


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
