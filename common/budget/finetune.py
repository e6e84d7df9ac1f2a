"""What a fine-tuning run costs in FLOPs: per token, per epoch and in all, beside a full fine-tune.

Puts a workload and the counting of `common.budget.flops` together. Knows nothing of how it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.budget.flops import FlopCount, StepCounter, full_finetune_flops
from common.budget.workload import Workload
from common.engine import LoraSpec
from common.model.adapter import count_trainable
from common.model.architecture import ModelShape


@dataclass(frozen=True)
class FinetuneCost:
    """FLOPs of one epoch by part, and what they are set against."""

    parameters: int
    trainable_parameters: int
    examples: int
    tokens: int
    target_tokens: int
    epochs: float
    epoch: FlopCount
    full_epoch: float

    @property
    def share_of_full(self) -> float:
        """The part of a full fine-tune's 6 N D that this run spends."""
        return self.epoch.total / self.full_epoch

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "parameters": self.parameters,
            "trainable_parameters": self.trainable_parameters,
            "examples": self.examples,
            "tokens": self.tokens,
            "target_tokens": self.target_tokens,
            "epochs": self.epochs,
            "flops_per_token": self.epoch.scaled(1 / self.tokens).as_dict(),
            "flops_per_epoch": self.epoch.as_dict(),
            "flops_per_run": self.epoch.total * self.epochs,
            "full_finetune_flops_per_run": self.full_epoch * self.epochs,
            "share_of_full_finetune": self.share_of_full,
        }


def finetune_cost(
    shape: ModelShape, lora: LoraSpec, workload: Workload, epochs: float, gradient_checkpointing: bool
) -> FinetuneCost:
    """Count a run. Raises AdapterError when the adapter's targets do not exist in the model."""
    counter = StepCounter(shape, lora, gradient_checkpointing)
    return FinetuneCost(
        parameters=shape.parameters,
        trainable_parameters=count_trainable(shape, lora),
        examples=len(workload.lengths),
        tokens=workload.tokens,
        target_tokens=workload.target_tokens,
        epochs=epochs,
        epoch=counter.examples(workload.lengths),
        full_epoch=full_finetune_flops(shape, workload.tokens),
    )
