"""The batches a run will make: sizes of every micro-batch of an epoch, and of the largest generation batch.

Uses the very functions that build the batches in training, on examples that have lengths only. Knows nothing of
bytes or seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.budget.activations import MicroBatch
from common.budget.workload import Workload, stand_ins
from common.data.batching import pad_length, split_by_tokens
from common.data.step_plan import StepPlan
from common.generation.queue import rows_within
from common.run.preparation import generation_spec
from common.settings import RunConfig

PROBED_EPOCH = 0


@dataclass(frozen=True)
class RunShape:
    """Micro-batches of each optimizer step of one epoch, and how often what happens.

    evaluations  dev evaluations in all; `dev_batches` is what each goes through
    """

    steps: tuple[tuple[MicroBatch, ...], ...]
    total_steps: int
    evaluations: int
    dev_batches: tuple[MicroBatch, ...]
    generation: MicroBatch | None

    @property
    def micro_batches(self) -> set[MicroBatch]:
        """The distinct micro-batches of the epoch."""
        return {batch for step in self.steps for batch in step}

    @property
    def epochs(self) -> float:
        return self.total_steps / len(self.steps)


def find_run_shape(config: RunConfig, workload: Workload) -> RunShape:
    """Batches of the first epoch under these settings; later epochs differ in order only."""
    lengths = workload.lengths
    if workload.basis == "assumed":
        lengths *= config.training.batch_size  # a whole step of them, or the micro-batch would look too small
    plan = StepPlan(stand_ins(lengths), config)
    budget, shared = config.training.micro_batch_tokens, workload.shared_tokens
    in_training = shared if joins_rows(config) else 0
    steps = []
    for indices in plan.epoch_plan(PROBED_EPOCH):
        steps.append(_micro_batches([lengths[i] for i in indices], budget, in_training))
    every = config.evaluation.eval_every or max(1, -(-plan.total_steps // 4))
    dev = _micro_batches(list(workload.dev_lengths), budget, shared)
    return RunShape(
        steps=tuple(steps),
        total_steps=plan.total_steps,
        evaluations=math.ceil(plan.total_steps / every) if dev else 0,
        dev_batches=dev,
        generation=generation_batch(config, workload.longest_prompt),
    )


def joins_rows(config: RunConfig) -> bool:
    """Whether training runs the common beginning of a micro-batch's rows once: not where each row draws for itself."""
    return not (config.lora.dropout or config.training.neftune_alpha)


def _micro_batches(lengths: list[tuple[int, int]], budget: int, shared: int) -> tuple[MicroBatch, ...]:
    """One step's examples as micro-batches, with the padding that training would add."""
    batches = []
    for group in split_by_tokens([tokens for tokens, _ in lengths], budget):
        width = pad_length(max(lengths[i][0] for i in group))
        targets = pad_length(sum(lengths[i][1] for i in group))
        batches.append(MicroBatch(len(group), width, targets, shared if len(group) > 1 else 0))
    return tuple(batches)


def generation_batch(config: RunConfig, longest_prompt: int) -> MicroBatch | None:
    """The largest batch of prompts that evaluation and previews generate for; None where nothing is generated."""
    evaluation = config.evaluation
    if not (config.output.final_eval or evaluation.eval_rouge or evaluation.preview_every):
        return None
    width = longest_prompt + config.generation.max_new_tokens
    rows = rows_within(width, generation_spec(config, ()))
    return MicroBatch(rows * config.generation.beams, width, rows)
