"""Functions with their own backward pass equal plain differentiation, and keep less."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlx_sum.functions import gated_gelu, gated_silu, gelu, lora_product


def normal(*shapes: tuple[int, ...]) -> list[mx.array]:
    return [mx.random.normal(shape, key=mx.random.key(number)) for number, shape in enumerate(shapes)]


def assert_same_gradients(
    ours: Callable[..., mx.array], plain: Callable[..., mx.array], inputs: list[mx.array], tolerance: float = 2e-5
) -> None:
    assert mx.abs(ours(*inputs) - plain(*inputs)).max().item() < tolerance
    above = mx.random.normal(plain(*inputs).shape, key=mx.random.key(99))
    places = tuple(range(len(inputs)))
    for mine, expected in zip(
        mx.grad(lambda *a: (ours(*a) * above).sum(), places)(*inputs),
        mx.grad(lambda *a: (plain(*a) * above).sum(), places)(*inputs),
        strict=True,
    ):
        assert mx.abs(expected).max().item() > 0.1
        assert mx.abs(mine - expected).max().item() < tolerance


@pytest.mark.parametrize("bits", [0, 4])
@pytest.mark.parametrize("dropout", [False, True])
def test_the_product_with_lora_equals_its_formula(bits: int, dropout: bool) -> None:
    base: nn.Module = nn.Linear(64, 48)
    base = nn.QuantizedLinear.from_linear(base, 64, bits) if bits else base
    x, low, up = normal((2, 5, 64), (4, 64), (48, 4))
    kept = mx.random.bernoulli(0.7, x.shape, key=mx.random.key(7)) if dropout else None

    def ours(x: mx.array, low: mx.array, up: mx.array) -> mx.array:
        return lora_product(base, x, low, up, 0.5, kept, 1 / 0.7)

    def plain(x: mx.array, low: mx.array, up: mx.array) -> mx.array:
        seen = x if kept is None else mx.where(kept, x / 0.7, 0.0)
        return base(x) + 0.5 * (seen @ low.T) @ up.T

    assert_same_gradients(ours, plain, [x, low, up], 2e-4)


def test_activations_equal_plain_ones_over_their_whole_range() -> None:
    gate, up = normal((40, 50), (40, 50))
    assert_same_gradients(gated_silu, lambda gate, up: nn.silu(gate) * up, [gate * 5, up])
    assert_same_gradients(gated_gelu, lambda gate, up: nn.gelu_approx(gate) * up, [gate * 5, up])
    assert_same_gradients(gelu, nn.gelu_approx, [gate * 5])


def test_an_activation_keeps_its_inputs_only() -> None:
    gate, up = normal((256, 4096), (256, 4096))
    mx.eval(gate, up)

    def peak(function: Callable[..., mx.array]) -> float:
        """Peak of sixteen activations, one after the other, in sizes of the input."""
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()

        def chain(gate: mx.array, up: mx.array) -> mx.array:
            for _ in range(16):
                gate = function(gate, up)
            return gate.sum()

        mx.eval(mx.grad(chain)(gate, up))
        return (mx.get_peak_memory() - before) / gate.nbytes

    plain = peak(lambda gate, up: gate * mx.sigmoid(gate) * up)
    assert plain - peak(gated_silu) > 0.8 * 16, "each keeps one of three sizes less"
