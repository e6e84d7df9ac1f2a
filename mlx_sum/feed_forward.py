"""Feed-forward layers that keep less for the backward pass in training than mlx-lm's own; the result is the same.

Put over an mlx-lm model's layers in place. Knows no adapters, losses or generation.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_sum.functions import gated_gelu, gated_silu, gelu


class _FrugalInTraining:
    """Mixed into the class of an mlx-lm feed-forward layer: the same layer, by our functions in training."""

    training: bool

    def __call__(self, x: mx.array) -> mx.array:
        layer: Any = self
        if not layer.training:
            out: mx.array = super().__call__(x)  # type: ignore[misc]
            return out
        if "fc1" in layer:
            wide = gelu(layer.fc1(x))
        else:
            function = gated_gelu if layer.gate_is_gelu else gated_silu
            wide = function(layer.gate_proj(x), layer.up_proj(x))
        result: mx.array = layer.fc2(wide) if "fc2" in layer else layer.down_proj(wide)
        return result


def use_frugal_feed_forward(model: nn.Module) -> None:
    """Let every feed-forward layer of this mlx-lm model (and of no other) keep only its products in training."""
    for layer in model.model.layers:
        base = type(layer.mlp)
        members = {"gate_is_gelu": model.model_type == "gemma"}
        layer.mlp.__class__ = type(f"Frugal{base.__name__}", (_FrugalInTraining, base), members)
