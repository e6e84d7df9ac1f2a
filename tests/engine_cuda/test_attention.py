"""Attention in blocks against the plain computation and against torch's fused kernel, outputs and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cuda_sum.attention
from cuda_sum.attention import blockwise_attention

SCALE = 0.3


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    batch, heads, length, width = query.shape
    key, value = (part.repeat_interleave(heads // key.shape[1], 1) for part in (key, value))
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = (SCALE * query @ key.transpose(2, 3)).masked_fill(later, float("-inf")).softmax(-1)
    return (weights @ value).transpose(1, 2).reshape(batch, length, heads * width)


def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    out = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=SCALE, enable_gqa=True)
    return out.transpose(1, 2).flatten(2)


def own(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return blockwise_attention(query, key, value, SCALE)


def inputs(batch: int, length: int, heads: int, groups: int, width: int = 16) -> list[torch.Tensor]:
    """Query, key and value as views of (B, T, heads, D), and the gradient from above; float64."""
    draw = torch.Generator().manual_seed(length)
    shapes = [(batch, length, count, width) for count in (heads, groups, groups)]
    parts = [1.5 * torch.randn(shape, generator=draw, dtype=torch.float64).transpose(1, 2) for shape in shapes]
    return [*parts, torch.randn(batch, length, heads * width, generator=draw, dtype=torch.float64)]


def results(function: object, values: list[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """Output and the gradients of query, key and value, in float64."""
    *parts, upstream = (value.to(dtype) for value in values)
    parts = [part.requires_grad_() for part in parts]
    out = function(*parts)  # type: ignore[operator]
    return [out.detach().double(), *(part.double() for part in torch.autograd.grad(out, parts, upstream))]


@pytest.mark.parametrize("length", [2, 95, 96, 97, 300])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (3, 1)])
def test_outputs_and_gradients_are_those_of_the_plain_computation(length: int, heads: int, groups: int) -> None:
    values = inputs(3, length, heads, groups)
    for ours, theirs in zip(results(own, values, torch.float64), results(plain, values, torch.float64), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_sequences_are_split_among_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = inputs(5, 150, 4, 2)
    whole = results(own, values, torch.float64)
    monkeypatch.setattr(cuda_sum.attention, "CPU_SCORES", 1)
    monkeypatch.setattr(cuda_sum.attention, "CPU_QUERIES", 40)
    for ours, theirs in zip(results(own, values, torch.float64), whole, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_bfloat16_gradients_are_nearer_to_the_exact_ones_than_the_fused_kernels() -> None:
    values = [value.bfloat16().double() for value in inputs(2, 300, 6, 2, width=64)]
    exact = results(plain, values, torch.float64)
    errors = [
        [((value - true).norm() / true.norm()).item() for value, true in zip(found, exact, strict=True)]
        for found in (results(own, values, torch.bfloat16), results(fused, values, torch.bfloat16))
    ]
    assert max(errors[0]) < 0.005
    assert sum(errors[0][1:]) < sum(errors[1][1:])


def test_what_stands_in_the_padding_changes_nothing_before_it() -> None:
    values = inputs(2, 120, 4, 2)
    changed = [value.clone() for value in values[:3]] + [values[3].clone()]
    for part in changed[:3]:
        part[:, :, 100:] = 7.0
    for value in (values[3], changed[3]):
        value[:, 100:] = 0.0
    first, second = results(own, values, torch.float64), results(own, changed, torch.float64)
    torch.testing.assert_close(first[0][:, :100], second[0][:, :100])
    for ours, theirs in zip(first[1:], second[1:], strict=True):
        torch.testing.assert_close(ours[:, :, :100], theirs[:, :, :100])
