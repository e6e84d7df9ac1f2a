"""AdamW, gradient clipping and loss scaling on one flat buffer of values. Knows no models, schedules or batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from common.engine import OptimizerSpec
from common.errors import CheckpointError, EngineError, NonFiniteError

FIRST_SCALE = 2.0**15
SMALLEST_SCALE = 2.0**-6
GROWTH_STEPS = 1000
PAGED_NAME = "paged-adamw-8bit"


class AdamW:
    """AdamW (Loshchilov and Hutter 2019), decoupled decay and bias correction, over one flat float32 buffer.

    torch's fused kernel, or bitsandbytes' blockwise 8-bit moments (Dettmers et al. 2022), paged ones too. Its state
    exists from the start, so that what a checkpoint must hold is known before the first step.
    """

    def __init__(
        self, spec: OptimizerSpec, values: torch.Tensor, gradients: torch.Tensor, faster_from: int = 0
    ) -> None:
        """`faster_from` is where the values begin whose learning rate `lora_plus_ratio` multiplies."""
        self.spec = spec
        whole = [(values, gradients, 1.0)]
        if spec.lora_plus_ratio != 1.0:
            first, rest = slice(0, faster_from), slice(faster_from, None)
            whole = [(values[first], gradients[first], 1.0), (values[rest], gradients[rest], spec.lora_plus_ratio)]
        self._gradients = gradients
        self._rates = [rate for _, _, rate in whole]
        self._parameters = [torch.nn.Parameter(part) for part, _, _ in whole]
        for parameter, (_, gradient, _) in zip(self._parameters, whole, strict=True):
            parameter.grad = gradient
        settings: dict[str, Any] = {
            "lr": 0.0,
            "betas": (spec.beta1, spec.beta2),
            "eps": spec.epsilon,
            "weight_decay": spec.weight_decay,
        }
        self._optimizer: Any
        if spec.name == "adamw":
            self._optimizer = torch.optim.AdamW(self._groups(), fused=True, **settings)
            for parameter in self._parameters:
                self._optimizer.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=values.device),
                    "exp_avg": torch.zeros_like(parameter.data),
                    "exp_avg_sq": torch.zeros_like(parameter.data),
                }
        else:
            self._optimizer = _eight_bit(spec.name, self._groups(), settings)
            for index, parameter in enumerate(self._parameters):
                self._optimizer.init_state(self._optimizer.param_groups[index], parameter, index, 0)
            self._optimizer.initialized = True

    def _groups(self) -> list[dict[str, Any]]:
        return [{"params": [parameter]} for parameter in self._parameters]

    def update(self, learning_rate: float, factor: float) -> None:
        """One step with gradients * factor."""
        if factor != 1.0:
            self._gradients.mul_(factor)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = learning_rate * rate
        self._optimizer.step()

    def state(self) -> dict[str, torch.Tensor]:
        """Everything `load_state` needs, by name."""
        return {
            f"{prefix}{name}": value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=torch.int64)
            for prefix, own in self._states()
            for name, value in own.items()
        }

    def _states(self) -> list[tuple[str, dict[str, Any]]]:
        """State of each group, under a prefix that only further ones have."""
        return [
            (f"{index}." if index else "", self._optimizer.state[parameter])
            for index, parameter in enumerate(self._parameters)
        ]

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `state` returned. Raises CheckpointError for paged state, which cannot be resumed."""
        for prefix, own in self._states():
            if getattr(own.get("state1"), "is_paged", False):
                raise CheckpointError(
                    f"the state of {PAGED_NAME} on a GPU cannot be resumed; train with --optimizer adamw or adamw-8bit "
                    "where runs may be interrupted"
                )
            for name, value in own.items():
                if isinstance(value, torch.Tensor):
                    value.copy_(state[f"{prefix}{name}"])
                else:
                    own[name] = int(state[f"{prefix}{name}"])


def _eight_bit(name: str, parameters: list[dict[str, Any]], settings: dict[str, Any]) -> Any:
    try:
        from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit
    except ImportError:
        raise EngineError(
            f"the optimizer {name} needs bitsandbytes: pip install bitsandbytes, or use --optimizer adamw"
        ) from None
    on_gpu = parameters[0]["params"][0].is_cuda  # elsewhere bitsandbytes takes the plain one too, with a warning each
    return (PagedAdamW8bit if name == PAGED_NAME and on_gpu else AdamW8bit)(parameters, **settings)


class LossScaler:
    """Dynamic loss scaling for float16 (Micikevicius et al. 2018): halved on overflow, doubled after many good steps.

    `scale` 1 and never changing where it is not `enabled`. Always a power of two, so that it costs no precision.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.scale = FIRST_SCALE if enabled else 1.0
        self.good_steps = 0

    def overflowed(self) -> None:
        """Scale down after a step whose gradients were not finite.

        Raises NonFiniteError when the scale is already so low that the gradients themselves must be at fault.
        """
        if self.scale <= SMALLEST_SCALE:
            raise NonFiniteError(
                f"gradients are not finite even at a loss scale of {self.scale}; weights are unchanged. "
                "Try a lower --learning-rate, or --dtype float32"
            )
        self.scale *= 0.5
        self.good_steps = 0

    def succeeded(self) -> None:
        """Count a good step, and scale up when there were enough of them."""
        self.good_steps += 1
        if self.enabled and self.good_steps >= GROWTH_STEPS:
            self.scale *= 2.0
            self.good_steps = 0

    def state(self) -> dict[str, torch.Tensor]:
        return {
            "loss_scale": torch.tensor(self.scale, dtype=torch.float64),
            "good_steps": torch.tensor(self.good_steps, dtype=torch.int64),
        }

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        self.scale, self.good_steps = float(state["loss_scale"]), int(state["good_steps"])
