"""The one training loop. An engine gives it steps, evaluations and summaries; everything else is decided here:
schedule, order, accumulation, evaluation cadence, the adapter that is kept, checkpoints, resuming and logging.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from common.data.batching import BoundaryLoss, build_step
from common.data.step_plan import StepPlan
from common.engine import Engine, LoraSpec
from common.errors import NonFiniteError
from common.files import write_json
from common.progress import Progress, note
from common.run.checkpoint import save_checkpoint
from common.run.directory import RunDirectory
from common.settings import RunConfig
from common.train.objective import Objective
from common.train.schedule import Schedule
from common.types import Batch, EncodedExample, StepStats, TrainState


class RunStopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """A signal asked to stop; the state is saved. `signal_number` decides the exit status."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.signal_number = signal_number
        self.step = step


@dataclass(frozen=True)
class Hooks:
    """What a run does beside stepping; each may be absent.

    dev_rouge   adapter as it stands -> {"rouge1": …, …} on the dev sample
    preview     step -> shows summaries of fixed documents
    track       one metrics row -> an external tracker
    stop_signal () -> number of a signal received, or 0
    """

    dev_rouge: Callable[[], dict[str, float]] | None = None
    preview: Callable[[int], None] | None = None
    track: Callable[[dict[str, Any]], None] | None = None
    stop_signal: Callable[[], int] = lambda: 0


@dataclass
class TrainingLoop:
    """One run of the steps that are left after `state`. `best` is the adapter with the best value so far, if any.

    `stop_after` (0: never) pauses the run at that step, evaluated and saved; the schedule stays that of the whole run.
    """

    engine: Engine
    run: RunDirectory
    config: RunConfig
    lora: LoraSpec
    train_set: Sequence[EncodedExample]
    objective: Objective
    pad_id: int
    state: TrainState
    best: dict[str, np.ndarray] | None
    hooks: Hooks
    stop_after: int = 0

    def __post_init__(self) -> None:
        config = self.config
        self.plan = StepPlan(self.train_set, config)
        total, settings = self.plan.total_steps, config.training
        self.schedule = Schedule(
            peak=settings.learning_rate,
            total_steps=total,
            warmup_steps=settings.warmup_steps or round(settings.warmup_fraction * total),
            kind=settings.schedule,
            final=settings.learning_rate * settings.final_learning_rate_fraction,
        )
        self.eval_every = config.evaluation.eval_every or max(1, -(-total // 4))
        self.save_every = config.output.save_every or self.eval_every
        self.is_main = self.engine.rank == 0

    def run_all(self) -> tuple[TrainState, dict[str, np.ndarray]]:
        """Train to the end; returns the last state and the chosen adapter.

        Raises NonFiniteError (the batch is written to nonfinite.json), RunStopped (after saving), CheckpointError.
        """
        end = min(self.stop_after or self.plan.total_steps, self.plan.total_steps)
        if self.out_of_patience():  # it stopped early, and was killed before that was written down
            end = self.state.step
        with Progress(end, "training", start=self.state.step) as progress:
            for step, batches, examples in self._prefetched(end):
                stats, sums = self._step(step, batches)
                self._account(stats, examples, sums)
                row = self._row(stats) if self._due(self.config.output.log_every) else None
                if self._due(self.eval_every):
                    row = {**(row or self._row(stats)), **self._evaluate()}
                if row and self.is_main:
                    self._log(row)
                progress.advance(1, loss=stats.loss, lr=self.schedule.at(step))
                self._preview_and_save()
                if self.out_of_patience():
                    patience = self.config.evaluation.patience
                    note(f"stopped early at step {self.state.step}: no gain in {patience} evaluations")
                    break
        chosen = self.best
        if chosen is None or self.config.evaluation.keep_best_by == "last":
            chosen = self.engine.adapter()
        return self.state, chosen

    def _prefetched(self, total: int) -> Iterator[tuple[int, list[Batch], list[EncodedExample]]]:
        """Steps with their micro-batches, the next one being built while this one runs."""

        def build(step: int) -> tuple[list[Batch], list[EncodedExample]]:
            examples = self.plan.examples(step)
            settings = self.config.training
            boundary = BoundaryLoss(
                settings.boundary_loss_weight, settings.boundary_position_weight, settings.boundary_window
            )
            engine = self.engine
            batches = build_step(
                self.objective.sequences(examples),
                settings.micro_batch_tokens,
                self.pad_id,
                boundary,
                engine.rank,
                engine.world_size,
            )
            return batches, examples

        with ThreadPoolExecutor(1, "batches") as pool:
            upcoming: Future[tuple[list[Batch], list[EncodedExample]]] | None = None
            for step in range(self.state.step, total):
                batches, examples = upcoming.result() if upcoming else build(step)
                upcoming = pool.submit(build, step + 1) if step + 1 < total else None
                yield step, batches, examples

    def _step(self, step: int, batches: list[Batch]) -> tuple[StepStats, dict[str, float]]:
        learning_rate = self.schedule.at(step)
        began = time.perf_counter()
        try:
            batches, sums = self.objective.weigh(self.engine, batches, step)
            before = time.perf_counter() - began
            stats = self.engine.step(batches, learning_rate)
            return dataclasses.replace(stats, seconds=stats.seconds + before), sums
        except NonFiniteError as error:
            self._stop_non_finite(str(error), step + 1, [i for batch in batches for i in batch.ids])

    def _stop_non_finite(self, problem: str, step: int, ids: list[str]) -> NoReturn:
        """Write nonfinite.json and raise: nothing after the last checkpoint is kept, the checkpoint itself is."""
        learning_rate = self.schedule.at(max(0, step - 1))
        record = self.run.non_finite
        if self.is_main:
            write_json(record, {"step": step, "learning_rate": learning_rate, "ids": ids, "problem": problem})
        shown = f" The examples are named in {record} (first: {', '.join(ids[:3])})." if ids else ""
        raise NonFiniteError(
            f"step {step}: {problem}. Training stopped there; the checkpoints in {self.run.checkpoints} stay.{shown} "
            f"--resume would meet the same step again: start a new --run with a lower --learning-rate (now "
            f"{learning_rate:.2g}) or --dtype float32, or without those documents"
        )

    def _account(self, stats: StepStats, examples: Sequence[EncodedExample], sums: dict[str, float]) -> None:
        gained = {
            "loss_sum": stats.loss_sum,
            "targets": stats.target_tokens,
            "tokens": sum(len(item) for item in examples),
            "seconds": stats.seconds,
            **sums,
        }
        self.state = dataclasses.replace(
            self.state,
            step=self.state.step + 1,
            tokens=self.state.tokens + int(gained["tokens"]),
            target_tokens=self.state.target_tokens + stats.target_tokens,
            skipped_steps=self.state.skipped_steps + int(stats.skipped),
            seconds=self.state.seconds + stats.seconds,
            unlogged={name: self.state.unlogged.get(name, 0.0) + value for name, value in gained.items()},
        )

    def _due(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step in (self.plan.total_steps, self.stop_after)

    def _row(self, stats: StepStats) -> dict[str, Any]:
        """A metrics row over the steps since the last one."""
        sums = self.state.unlogged
        self.state = dataclasses.replace(self.state, unlogged={})
        return {
            "step": self.state.step,
            "epoch": round(self.plan.epochs_after(self.state.step), 4),
            "loss": sums["loss_sum"] / max(1, sums["targets"]),
            "learning_rate": self.schedule.at(self.state.step - 1),
            "grad_norm": stats.grad_norm,
            "target_tokens": int(sums["targets"]),
            "tokens": int(sums["tokens"]),
            "tokens_per_second": sums["tokens"] / max(sums["seconds"], 1e-9),
            "peak_memory_bytes": self.engine.peak_memory_bytes(),
            "skipped_steps": self.state.skipped_steps,
            **self.objective.row(sums),
        }

    def _evaluate(self) -> dict[str, float]:
        """Dev loss, and ROUGE if asked; keeps the adapter when the chosen measure improved."""
        began = time.monotonic()
        values: dict[str, float] = {}
        values.update(self.objective.evaluate(self.engine))
        loss = values.get("dev_loss", 0.0)
        if not math.isfinite(loss):
            self._stop_non_finite(f"the dev loss after step {self.state.step} is {loss}", self.state.step, [])
        if self.hooks.dev_rouge:
            values.update(self.hooks.dev_rouge())
        by = self.config.evaluation.keep_best_by
        measure = {"dev_loss": values.get("dev_loss"), "rouge": values.get("rougeL")}.get(by)
        if measure is not None:
            lower = by == "dev_loss"
            previous = self.state.best_value
            gained = previous is None or (measure < previous if lower else measure > previous)
            if gained:
                self.best = self.engine.adapter()
                self.state = dataclasses.replace(
                    self.state, best_step=self.state.step, best_value=measure, evaluations_without_gain=0
                )
            else:
                waited = self.state.evaluations_without_gain + 1
                self.state = dataclasses.replace(self.state, evaluations_without_gain=waited)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        if self.is_main and shown:
            note(f"step {self.state.step}: {shown}")
        values["eval_seconds"] = time.monotonic() - began
        return values

    def _log(self, row: dict[str, Any]) -> None:
        self.run.append_metrics(row)
        if self.hooks.track:
            self.hooks.track(row)

    def _preview_and_save(self) -> None:
        every = self.config.evaluation.preview_every
        if every and self._due(every) and self.hooks.preview and self.is_main:
            self.hooks.preview(self.state.step)
        signal_number = self.hooks.stop_signal()
        if self._due(self.save_every) or signal_number:
            self.save()
        if signal_number:
            raise RunStopped(signal_number, self.state.step)

    def save(self) -> None:
        if self.is_main:
            self.run.sync_metrics()
            model, keep = self.config.model.model, self.config.output.keep_checkpoints
            save_checkpoint(self.run.checkpoints, self.state, self.engine, self.lora, model, self.best, keep)

    @property
    def paused(self) -> bool:
        """Whether steps are left that only `stop_after` kept from being taken."""
        return self.state.step < self.plan.total_steps and not self.out_of_patience()

    def out_of_patience(self) -> bool:
        """Whether the run ended early for lack of gain on dev."""
        patience = self.config.evaluation.patience
        return bool(patience) and self.state.evaluations_without_gain >= patience
