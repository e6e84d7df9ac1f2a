"""The chunked loss equals the plain one and never holds all logits."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlx_sum.loss import loss_sum, negative_log_likelihood, training_loss

VOCABULARY, WIDTH, ROWS = 500, 24, 70


@pytest.fixture(params=["plain", "bias", "quantized"])
def head(request: pytest.FixtureRequest) -> Callable[[mx.array], mx.array]:
    mx.random.seed(0)
    linear = nn.Linear(64 if request.param == "quantized" else WIDTH, VOCABULARY, bias=request.param == "bias")
    linear.weight = linear.weight * 10  # so that probabilities are far from uniform
    if request.param == "quantized":
        return nn.QuantizedLinear.from_linear(linear, group_size=64, bits=4)
    return linear


def case(head: nn.Module) -> tuple[mx.array, mx.array, mx.array]:
    mx.random.seed(1)
    width = 64 if isinstance(head, nn.QuantizedLinear) else WIDTH
    weights = mx.random.uniform(shape=(ROWS,))
    weights[-6:] = 0
    return mx.random.normal((ROWS, width)), mx.random.randint(0, VOCABULARY, (ROWS,)), weights


@pytest.mark.parametrize("rows", [16, 32, 512])
def test_loss_and_gradient_equal_the_plain_computation(head: nn.Module, rows: int) -> None:
    hidden, targets, weights = case(head)

    def plain(hidden: mx.array) -> mx.array:
        return 3.0 * (weights * negative_log_likelihood(head(hidden), targets)).sum()

    def chunked(hidden: mx.array) -> tuple[mx.array, mx.array]:
        objective, raw = training_loss(head, hidden, targets, weights, rows)
        return 3.0 * objective, raw

    expected, expected_gradient = mx.value_and_grad(plain)(hidden)
    (objective, raw), gradient = mx.value_and_grad(chunked)(hidden)

    raw_expected = negative_log_likelihood(head(hidden), targets)[:-6].sum().item()
    assert objective.item() == pytest.approx(expected.item(), rel=1e-6)
    assert raw.item() == pytest.approx(raw_expected, rel=1e-6)
    assert loss_sum(head, hidden, targets, weights, rows).item() == pytest.approx(raw_expected, rel=1e-6)
    largest = mx.abs(expected_gradient).max().item()
    assert largest > 0.1
    assert mx.abs(gradient - expected_gradient).max().item() < 1e-5 * largest


def test_very_unlikely_targets_keep_a_finite_loss() -> None:
    head = nn.Linear(1, 3, bias=False)
    head.weight = mx.array([[0.0], [-500.0], [400.0]])
    nll, _ = training_loss(head, mx.array([[1.0]]), mx.array([1]), mx.array([1.0]), 16)
    assert nll.item() == pytest.approx(900.0)  # log(e^400 + 1 + e^-500) + 500


def test_only_a_few_chunks_of_logits_exist_at_once() -> None:
    rows, count, vocabulary = 16, 16 * 40, 2000
    mx.random.seed(2)
    weight = mx.random.normal((vocabulary, 8))
    hidden, targets = mx.random.normal((count, 8)), mx.random.randint(0, vocabulary, (count,))
    weights = mx.ones((count,))
    mx.eval(weight, hidden, targets, weights)

    def peak(loss: Callable[[mx.array], mx.array]) -> int:
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(mx.grad(loss)(hidden))
        return mx.get_peak_memory() - before

    def head(x: mx.array) -> mx.array:
        return x @ weight.T

    all_logits = count * vocabulary * 4
    assert peak(lambda x: (weights * negative_log_likelihood(head(x), targets)).sum()) > all_logits
    assert peak(lambda x: training_loss(head, x, targets, weights, rows)[0]) < 0.25 * all_logits
