"""Which examples each optimizer step sees."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from common.data.batching import plan_epoch
from common.progress import note
from common.settings import RunConfig
from common.types import EncodedExample


class StepPlan:
    """Which examples each optimizer step sees, as a pure function of the data, the seed and the batch size."""

    def __init__(self, encoded: Sequence[EncodedExample], config: RunConfig) -> None:
        self._encoded = encoded
        self._training = config.training
        self._epochs: dict[int, list[list[int]]] = {}
        self._starts = [0]
        if config.training.steps:
            self.total_steps = config.training.steps
            self.locate(self.total_steps - 1)  # so that every epoch's start is known before batches are made aside
        else:
            whole = int(config.training.epochs)
            part = config.training.epochs - whole
            begun = math.ceil(round(part * self._steps_in(whole), 6)) if part else 0  # 2.1 - 2 is a little over 0.1
            self.total_steps = self._start(whole) + begun

    def announce(self, start: int, where: Path) -> None:
        """Say how many steps there are, and what is odd about them."""
        note(f"{self.total_steps} steps in all, starting after step {start}; run directory {where}")
        if 0 < self.total_steps <= self._training.warmup_steps:
            note(
                f"warning: --warmup-steps {self._training.warmup_steps} leaves no step after the warm-up: the learning "
                "rate only rises"
            )

    def epoch_plan(self, epoch: int) -> list[list[int]]:
        plan = self._epochs.get(epoch)
        if plan is None:
            settings = self._training
            plan = plan_epoch(self._encoded, settings.batch_size, settings.seed, epoch, settings.batch_target_tokens)
            before = {epoch - 1: self._epochs[epoch - 1]} if epoch - 1 in self._epochs else {}
            self._epochs = {**before, epoch: plan}  # no more than two are kept
        return plan

    def locate(self, step: int) -> tuple[int, int]:
        """(epoch, index within it) of a 0-based step."""
        if not self._training.batch_target_tokens:
            return divmod(step, self._steps_in(0))
        while step >= self._starts[-1]:
            self._start(len(self._starts))
        epoch = bisect_right(self._starts, step) - 1
        return epoch, step - self._starts[epoch]

    def _start(self, epoch: int) -> int:
        """The first step of an epoch."""
        if not self._training.batch_target_tokens:
            return epoch * self._steps_in(0)
        while len(self._starts) <= epoch:
            self._starts.append(self._starts[-1] + self._steps_in(len(self._starts) - 1))
        return self._starts[epoch]

    def _steps_in(self, epoch: int) -> int:
        if self._training.batch_target_tokens:
            return len(self.epoch_plan(epoch))
        return -(-len(self._encoded) // self._training.batch_size)

    def examples(self, step: int) -> list[EncodedExample]:
        epoch, index = self.locate(step)
        return [self._encoded[i] for i in self.epoch_plan(epoch)[index]]

    def epochs_after(self, steps: int) -> float:
        """Passes over the data that `steps` finished steps make."""
        if steps == 0:
            return 0.0
        epoch, index = self.locate(steps - 1)
        return epoch + (index + 1) / self._steps_in(epoch)
