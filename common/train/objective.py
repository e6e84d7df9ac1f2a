"""What a training step minimises, as the loop sees it: which sequences a step holds, and how their tokens weigh.

An engine minimises a weighted sum of negative log-likelihoods; an objective gives the weights. Knows nothing of
schedules or run directories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from common.engine import Engine
from common.types import Batch, EncodedExample


class Objective(Protocol):
    """What `common.train.loop` asks of an objective."""

    def sequences(self, items: Sequence[EncodedExample]) -> Sequence[EncodedExample]:
        """The sequences that go through the model for a step's items."""

    def weigh(self, engine: Engine, batches: list[Batch], step: int) -> tuple[list[Batch], dict[str, float]]:
        """The micro-batches to train on in the 0-based step, weights and all, and sums (over the step) for the log."""

    def evaluate(self, engine: Engine) -> dict[str, float]:
        """Values on dev data by name, `dev_loss` among them; empty where there is no dev data."""

    def row(self, sums: Mapping[str, float]) -> dict[str, Any]:
        """Fields of a metrics row from the sums of the steps since the last one."""


@dataclass(frozen=True)
class Likelihood:
    """Plain maximum likelihood: the weights that batching computed, dev loss over all dev target tokens."""

    dev_batches: Sequence[Batch]

    def sequences(self, items: Sequence[EncodedExample]) -> Sequence[EncodedExample]:
        return items

    def weigh(self, engine: Engine, batches: list[Batch], step: int) -> tuple[list[Batch], dict[str, float]]:
        return batches, {}

    def evaluate(self, engine: Engine) -> dict[str, float]:
        return {"dev_loss": engine.evaluate(self.dev_batches).loss} if self.dev_batches else {}

    def row(self, sums: Mapping[str, float]) -> dict[str, Any]:
        return {}
