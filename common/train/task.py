"""What a run learns: the sequences that its steps are planned from, and what is minimized over them.

Ordinary training learns summaries (`LearnSummaries`); `common.align.alignment` learns preferences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from common.data.batching import evaluation_batches
from common.engine import Engine
from common.run.directory import RunDirectory
from common.run.preparation import Prepared, prepare
from common.settings import RunConfig
from common.train.objective import Likelihood, Objective
from common.types import EncodedExample


@dataclass(frozen=True)
class Goal:
    """What the steps of a run are made of. `dev_examples` counts what the objective is measured on."""

    examples: Sequence[EncodedExample]
    dev_examples: int
    objective: Objective


class Task(Protocol):
    """What `train_run` asks of a task, in this order."""

    @property
    def start(self) -> str:
        """The run whose adapter training starts from and that the result is scored beside; empty for none."""

    def prepare(self, config: RunConfig) -> Prepared:
        """Model, prompt and data; `train_set` has the lengths that memory is planned for.

        Raises DataError, ModelError, ConfigError or CheckpointError for what could not be trained.
        """

    def begin(self, engine: Engine) -> None:
        """Put a new engine where training starts from. Raises ConfigError where the task can't run on it."""

    def goal(self, engine: Engine, prepared: Prepared, config: RunConfig, run: RunDirectory) -> Goal:
        """What to train on. Called once, with the adapter as `begin` left it, before a checkpoint is restored."""


@dataclass(frozen=True)
class LearnSummaries:
    """Ordinary training: the likelihood of the training examples' summaries, from a new adapter."""

    start: str = ""

    def prepare(self, config: RunConfig) -> Prepared:
        return prepare(config)

    def begin(self, engine: Engine) -> None:
        pass

    def goal(self, engine: Engine, prepared: Prepared, config: RunConfig, run: RunDirectory) -> Goal:
        budget, pad_id = config.training.micro_batch_tokens, prepared.tokenizer.pad_id
        dev = evaluation_batches(prepared.dev_set, budget, pad_id)
        return Goal(prepared.train_set, len(prepared.dev_set), Likelihood(dev))


SUMMARIES = LearnSummaries()
