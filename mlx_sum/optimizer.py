"""AdamW and gradient clipping on flat dictionaries of arrays. Knows no models, schedules or batches."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np

from common.engine import OptimizerSpec

Arrays = dict[str, mx.array]


def global_norm(gradients: Mapping[str, mx.array]) -> mx.array:
    """L2 norm over all gradients together, float32."""
    return mx.sqrt(sum((mx.square(gradient).sum() for gradient in gradients.values()), start=mx.array(0.0)))


class AdamW:
    """AdamW (Loshchilov and Hutter 2019): decoupled decay, both moments float32 and corrected for their start at 0.

    mlx's own has the correction off by default and computes it in float32, where 1 - 0.999 is already off by 3e-5.
    """

    def __init__(self, spec: OptimizerSpec, weights: Mapping[str, mx.array]) -> None:
        self.spec = spec
        self.steps = 0
        self.first = {name: mx.zeros(value.shape) for name, value in weights.items()}
        self.second = {name: mx.zeros(value.shape) for name, value in weights.items()}

    def update(
        self, weights: Mapping[str, mx.array], gradients: Mapping[str, mx.array], learning_rate: float, factor: float
    ) -> Arrays:
        """New weights after a step with gradients * factor; moments and step count advance."""
        spec = self.spec
        self.steps += 1
        correction = 1.0 / (1.0 - spec.beta1**self.steps)
        root = (1.0 - spec.beta2**self.steps) ** -0.5
        updated = {}
        for name, weight in weights.items():
            own = learning_rate if ".lora_A." in name else learning_rate * spec.lora_plus_ratio
            rate, decay = own * correction, 1.0 - own * spec.weight_decay
            gradient = gradients[name] * factor
            first = spec.beta1 * self.first[name] + (1.0 - spec.beta1) * gradient
            second = spec.beta2 * self.second[name] + (1.0 - spec.beta2) * mx.square(gradient)
            self.first[name], self.second[name] = first, second
            updated[name] = weight * decay - rate * first / (mx.sqrt(second) * root + spec.epsilon)
        return updated

    def state(self) -> Arrays:
        """Everything `load_state` needs, by name."""
        moments = {f"first.{name}": value for name, value in self.first.items()}
        moments |= {f"second.{name}": value for name, value in self.second.items()}
        return moments | {"steps": mx.array(self.steps, mx.int64)}

    def load_state(self, state: Mapping[str, mx.array]) -> None:
        """Continue from what `state` returned."""
        self.steps = int(np.array(state["steps"]))
        self.first = {name: state[f"first.{name}"] for name in self.first}
        self.second = {name: state[f"second.{name}"] for name in self.second}
