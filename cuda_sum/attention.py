"""Causal attention on a CPU as products of whole blocks, with its own backward pass.

torch's fused kernel reaches a tenth of a CPU's rate there; the products here run at the library's. A block is some
queries of all heads of some sequences with the keys that they may see. Its scores are computed again in the
backward pass, in float32 both times; what else is rounded, the fused kernel rounds too. GPUs keep torch's kernel.
Knows no modules, and no masks but the causal one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from common.engine_base.sizes import CPU_QUERIES, CPU_SCORES


def blockwise_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """softmax(scale * query key^T) value, each query with the keys up to its own position.

    (B, heads, T, D) with keys and values (B, kv heads, S, D) -> (B, T, heads * D), contiguous, of the same dtype;
    S >= T, and the queries are the last T positions. Equal to `scaled_dot_product_attention(is_causal=True)` within
    rounding where S is T, gradients included.
    """
    return _Blockwise.apply(query, key, value, scale)  # type: ignore[no-any-return]


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        batch, heads, length, width = query.shape
        out = query.new_empty(batch, length, heads * width)
        for block in _blocks(query, key, value):
            weights = block.weights(scale).to(out.dtype)
            block.write(out, torch.bmm(weights, block.value))
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        query, key, value = ctx.saved_tensors
        batch, heads, length, width = query.shape
        grad = grad.view(batch, length, heads, width).transpose(1, 2)
        grad_query = grad.new_empty(batch, length, heads * width)
        wide = torch.promote_types(grad.dtype, torch.float32)
        grad_key = torch.zeros(key.shape, dtype=wide)
        grad_value = torch.zeros(value.shape, dtype=wide)
        for block in _blocks(query, key, value):
            weights, upstream = block.weights(ctx.scale), block.of(grad)
            block.add(grad_value, torch.bmm(weights.to(grad.dtype).transpose(1, 2), upstream), 1.0)
            upstream = torch.bmm(upstream, block.value.transpose(1, 2)).to(wide)
            inner = torch.ops.aten._softmax_backward_data(upstream, weights, -1, wide).to(grad.dtype)
            block.write(grad_query, torch.bmm(inner, block.key).mul_(ctx.scale))
            block.add(grad_key, torch.bmm(inner.transpose(1, 2), block.query), ctx.scale)
        grad_query = grad_query.view(batch, length, heads, width).transpose(1, 2)
        return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype), None


class _Block:
    """Queries `start` to `stop` of the sequences `rows`, and the keys that the last of them sees.

    The queries of a group's heads are rows of one matrix: (sequences * kv heads, heads of a group * queries, D).
    """

    def __init__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: slice, start: int, stop: int
    ) -> None:
        self.rows, self.start, self.stop = rows, start, stop
        self.keys = key.shape[2] - query.shape[2] + stop
        self.groups = key.shape[1]
        self.query = self.of(query)
        self.key = key[rows, :, : self.keys].flatten(0, 1)
        self.value = value[rows, :, : self.keys].flatten(0, 1)

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """This block's part of (B, heads, T, D)."""
        part = values[self.rows, :, self.start : self.stop]
        count, heads, length, width = part.shape
        return part.reshape(count * self.groups, heads // self.groups * length, width)

    def weights(self, scale: float) -> torch.Tensor:
        """Attention weights, (sequences * kv heads, heads of a group * queries, keys), at least float32."""
        length = self.stop - self.start
        wide = torch.promote_types(self.query.dtype, torch.float32)
        scores = torch.bmm(self.query.to(wide) * scale, self.key.to(wide).transpose(1, 2))
        later = torch.full((length, length), float("-inf")).triu_(1)
        scores.view(-1, length, self.keys)[:, :, -length:] += later
        return torch.softmax(scores, -1)

    def write(self, out: torch.Tensor, values: torch.Tensor) -> None:
        """Put (sequences * kv heads, heads of a group * queries, D) into its place in (B, T, heads * D)."""
        length, width = self.stop - self.start, values.shape[-1]
        part = out[self.rows, self.start : self.stop]
        part.view(len(part), length, -1, width).copy_(values.view(len(part), -1, length, width).transpose(1, 2))

    def add(self, out: torch.Tensor, values: torch.Tensor, scale: float) -> None:
        """Add scale times (sequences * kv heads, keys, D) to (B, kv heads, T, D)."""
        part = out[self.rows, :, : self.keys]
        part.add_(values.view(part.shape), alpha=scale)


def _blocks(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Iterator[_Block]:
    batch, heads, length, _ = query.shape
    size = -(-length // -(-length // CPU_QUERIES))  # blocks of nearly equal size
    for start in range(0, length, size):
        stop = min(start + size, length)
        keys = key.shape[2] - length + stop
        count = max(1, CPU_SCORES // (heads * (stop - start) * keys))
        for first in range(0, batch, count):
            yield _Block(query, key, value, slice(first, first + count), start, stop)
