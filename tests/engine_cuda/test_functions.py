"""Each hand-written forward and backward against the plain computation through autograd, in float64 and bfloat16."""

from __future__ import annotations

import shutil

import pytest
import torch

from cuda_sum.functions import (
    activate,
    attention_by_groups,
    causal_attention,
    compile_functions,
    gate,
    gate_backward,
    rms_norm,
    rotate,
)
from cuda_sum.loss import loss_sum, target_rows, training_loss


def both(ours: torch.Tensor, plain: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of x through both, for the same random upstream gradient."""
    upstream = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1), dtype=plain.dtype)
    (from_ours,) = torch.autograd.grad(ours, x, upstream, retain_graph=True)
    (from_plain,) = torch.autograd.grad(plain, x, upstream, retain_graph=True)
    return from_ours, from_plain


def test_rms_norm_is_the_formula_and_has_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 16, generator=generator, requires_grad=True)
    weight = torch.randn(16, generator=generator)
    plain = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight
    ours = rms_norm(x, weight, 1e-5)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(*both(ours, plain, x))


def test_rms_norm_of_bfloat16_is_computed_in_float32() -> None:
    x = (100 * torch.randn(4, 512, generator=torch.Generator().manual_seed(0))).bfloat16()
    weight = torch.ones(512, dtype=torch.bfloat16)
    ours = rms_norm(x, weight, 1e-6)
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, rms_norm(x.float(), weight.float(), 1e-6).bfloat16())


@pytest.mark.parametrize("width", [16, 6], ids=["all channels", "partial"])
def test_rotation_equals_rotate_half_and_its_gradient_turns_back(width: int) -> None:
    x = torch.randn(2, 7, 3, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    angles = torch.arange(7.0)[None, :, None] * 50000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.cat([angles, angles], -1)
    cosine, sine = angles.cos(), angles.sin()
    turned, passed = x[..., :width], x[..., width:]
    half = torch.cat([-turned[..., width // 2 :], turned[..., : width // 2]], -1)
    plain = torch.cat([turned * cosine[:, :, None] + half * sine[:, :, None], passed], -1)
    ours = rotate(x, cosine, sine)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(*both(ours, plain, x))
    torch.testing.assert_close(ours.norm(dim=-1), x.norm(dim=-1))


@pytest.mark.parametrize("kind", ["silu", "gelu_tanh"])
def test_a_gates_gradients_are_those_of_autograd(kind: str) -> None:
    x = torch.linspace(-5, 5, 101, requires_grad=True)
    up = torch.linspace(-2, 3, 101, requires_grad=True)
    upstream = torch.linspace(1, 2, 101)
    with torch.no_grad():
        product, activated = gate(kind, x, up)
        ours = gate_backward(kind, upstream, x, up, activated)
    plain = activate(kind, x) * up
    torch.testing.assert_close(product, plain)
    for one, other in zip(ours, torch.autograd.grad(plain, [x, up], upstream), strict=True):
        torch.testing.assert_close(one, other)


def naive_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = (query @ key.transpose(2, 3) * 0.25).masked_fill(~allowed, -torch.inf)
    out = scores.softmax(-1) @ value
    return out.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("queries", [9, 5, 1])
@pytest.mark.parametrize("window", [None, 4])
def test_attention_is_causal_shares_keys_among_heads_and_keeps_to_its_window(window: int | None, queries: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 6, queries, 16, generator=generator, requires_grad=True)
    key, value = (torch.randn(2, 2, 9, 16, generator=generator, requires_grad=True) for _ in range(2))
    distance = torch.arange(9 - queries, 9)[:, None] - torch.arange(9)[None]
    allowed = (distance >= 0) & (distance < (window or 9))
    ours, plain = causal_attention(query, key, value, 0.25, window=window), naive_attention(query, key, value, allowed)
    torch.testing.assert_close(ours, plain)
    for tensor in (query, key, value):
        torch.testing.assert_close(*both(ours, plain, tensor), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_a_call_for_each_group_of_heads_is_attention_with_shared_keys(masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 6, 9, 16, generator=generator, requires_grad=True)
    key, value = (torch.randn(2, 2, 9, 16, generator=generator, requires_grad=True) for _ in range(2))
    allowed = torch.ones(9, 9).tril().bool()
    mask = (allowed & (torch.arange(9) > 2) | torch.eye(9).bool())[None, None] if masked else None
    ours = attention_by_groups(query, key, value, 0.25, mask, not masked).transpose(1, 2).flatten(2)
    plain = naive_attention(query, key, value, allowed if mask is None else mask)
    torch.testing.assert_close(ours, plain)
    for tensor in (query, key, value):
        torch.testing.assert_close(*both(ours, plain, tensor), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [None, 4])
def test_one_query_a_row_sees_its_own_keys_only(window: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 6, 1, 16, generator=generator)
    key, value = (torch.randn(3, 2, 9, 16, generator=generator) for _ in range(2))
    ends = torch.tensor([9, 6, 3])
    mask = (torch.arange(9) < ends[:, None])[:, None, None]
    ours = causal_attention(query, key, value, 0.25, mask, window)
    for row, end in enumerate(ends.tolist()):
        first = max(0, end - window) if window else 0
        own = slice(row, row + 1), slice(None), slice(first, end)
        alone = naive_attention(query[row : row + 1], key[own], value[own], torch.ones(1, end - first).bool())
        torch.testing.assert_close(ours[row : row + 1], alone)


@pytest.mark.parametrize("chunk", [16, 5, 1], ids=["one chunk", "several chunks", "row by row"])
def test_the_loss_and_its_gradient_are_those_of_full_logits(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(8, 50).requires_grad_(False)
    hidden = torch.randn(2, 9, 8, generator=generator, requires_grad=True)
    rows = torch.tensor([1, 3, 4, 8, 9, 12, 17, 17])
    targets = torch.randint(0, 50, (8,), generator=generator)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1, 0.0])  # the last row only rounds the count up

    weighted, total = training_loss(head, target_rows(hidden, rows), targets, weights, chunk)
    nll = torch.nn.functional.cross_entropy(head(hidden).view(18, 50)[rows], targets, reduction="none")
    torch.testing.assert_close(weighted, (weights * nll).sum())
    torch.testing.assert_close(total, nll[:7].sum())
    torch.testing.assert_close(loss_sum(head, target_rows(hidden, rows), targets, weights, chunk), total)
    ours, plain = torch.autograd.grad(weighted, hidden)[0], torch.autograd.grad((weights * nll).sum(), hidden)[0]
    torch.testing.assert_close(ours, plain)
    assert ours.abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_functions_compute_the_same() -> None:
    compile_functions(True)
    try:
        test_rms_norm_is_the_formula_and_has_its_gradient()
        for width in (16, 6):
            test_rotation_equals_rotate_half_and_its_gradient_turns_back(width)
        for kind in ("silu", "gelu_tanh"):
            test_a_gates_gradients_are_those_of_autograd(kind)
    finally:
        compile_functions(False)
