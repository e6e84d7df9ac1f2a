"""LoRA's product and the gated activation as functions that keep little for the backward pass, in a fixed order.

MLX orders a graph's work by itself: weight gradients, which nothing waits for, can be left to the end and hold the
activations of many layers until then. Here a linear layer's input gradient waits for the gradients of its small
matrices, so that what a layer kept is free when the layer below begins. Knows no modules. The torch engine's file
of this name has its own functions for what MLX has fused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn


def lora_product(
    base: Callable[[mx.array], mx.array],
    x: mx.array,
    low: mx.array,
    up: mx.array,
    scale: float,
    kept: mx.array | None = None,
    kept_scale: float = 1.0,
) -> mx.array:
    """base(x) + scale * up (low x). x (..., in), low (r, in) and up (out, r) in float32 -> (..., out).

    The small matrices are cast to the dtype of x, never the activations. With dropout, `kept` (the shape of x, bool)
    says which inputs the small matrices see, times `kept_scale`.
    """

    def thin(x: mx.array) -> mx.array:
        return x if kept is None else mx.where(kept, x * kept_scale, mx.array(0, x.dtype))

    def forward(x: mx.array, inner: mx.array, low: mx.array, up: mx.array) -> mx.array:
        return mx.addmm(base(x), inner, up.astype(x.dtype).T)

    def backward(primals: list[mx.array], above: mx.array, output: mx.array) -> tuple[mx.array, ...]:
        x, inner, low, up = primals
        up_gradient = _rows(above).T @ _rows(inner)
        below = scale * (above @ up.astype(x.dtype))
        low_gradient = _rows(below).T @ _rows(thin(x))
        above, below = mx.depends([above, below], [up_gradient, low_gradient])
        _, (gradient,) = mx.vjp(base, [x], [above])
        if kept is None:
            gradient = mx.addmm(gradient, below, low.astype(x.dtype))
        else:
            gradient = gradient + thin(below @ low.astype(x.dtype))
        return gradient, mx.zeros_like(inner), low_gradient.astype(mx.float32), up_gradient.astype(mx.float32)

    # Apart from the product, so that a layer that runs again for its gradients needs not make the product again.
    inner = mx.stop_gradient(scale * (thin(x) @ low.astype(x.dtype).T))
    product: Any = mx.custom_function(forward)
    product.vjp(backward)
    out: mx.array = product(x, inner, low, up)
    return out


def _rows(x: mx.array) -> mx.array:
    """(..., n) -> (all others, n)."""
    return x.reshape(-1, x.shape[-1])


def gated_silu(gate: mx.array, up: mx.array) -> mx.array:
    """silu(gate) * up, of which only the two inputs are kept."""
    return _gated_silu(gate, up)  # type: ignore[no-any-return]


def gated_gelu(gate: mx.array, up: mx.array) -> mx.array:
    """gelu(gate) * up in the tanh approximation (Gemma's), of which only the two inputs are kept."""
    return _gated_gelu(gate, up)  # type: ignore[no-any-return]


def gelu(x: mx.array) -> mx.array:
    """gelu(x) in the tanh approximation (Phi's), of which only x is kept."""
    return _gelu(x)  # type: ignore[no-any-return]


def _silu_times(gate: mx.array, up: mx.array) -> mx.array:
    return gate * mx.sigmoid(gate) * up


def _gelu_times(gate: mx.array, up: mx.array) -> mx.array:
    return nn.gelu_approx(gate) * up


def _silu_times_backward(gate: mx.array, up: mx.array, above: mx.array) -> tuple[mx.array, mx.array]:
    chance = mx.sigmoid(gate)
    return above * up * chance * (1 + gate * (1 - chance)), above * (gate * chance)


def _gelu_times_backward(gate: mx.array, up: mx.array, above: mx.array) -> tuple[mx.array, mx.array]:
    return _gelu_slope(gate) * (above * up), above * nn.gelu_approx(gate)


def _gelu_slope(x: mx.array) -> mx.array:
    """Derivative of x/2 * (1 + tanh(c * (x + a * x^3))) (Hendrycks and Gimpel 2016)."""
    constant, cubic = (2 / math.pi) ** 0.5, 0.044715
    curve = mx.tanh(constant * (x + cubic * x**3))
    return 0.5 * (1 + curve + x * (1 - curve * curve) * constant * (1 + 3 * cubic * (x * x)))


def _gelu_backward(x: mx.array, above: mx.array) -> mx.array:
    return _gelu_slope(x) * above


def _after(above: mx.array, gate: mx.array, up: mx.array) -> tuple[mx.array, mx.array]:
    """gate and up, not to be computed with before `above` is there."""
    first, second = mx.depends([gate, up], [above])
    return first, second


_gated_silu: Any = mx.custom_function(_silu_times)
_gated_silu.vjp(lambda inputs, above, _: _silu_times_backward(*_after(above, *inputs), above))
_gated_gelu: Any = mx.custom_function(_gelu_times)
_gated_gelu.vjp(lambda inputs, above, _: _gelu_times_backward(*_after(above, *inputs), above))
_gelu: Any = mx.custom_function(nn.gelu_approx)
_gelu.vjp(lambda x, above, _: _gelu_backward(x, above))
