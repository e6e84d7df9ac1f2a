"""From prepared data to a finished run: engine, checkpoint to go on from, the loop, and the chosen adapter.

This is what `sumkit train` and `sumkit align` call; what is learned is a task's to say (`common.train.task`).
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.budget.run_compute import epoch_flops
from common.config import read_config, to_dict
from common.data.step_plan import StepPlan
from common.engine import (
    Engine,
    EngineName,
    LoraSpec,
    choose_engine,
    load_engine,
    refuse_lacking,
)
from common.errors import CheckpointError
from common.files import finish_interrupted, free_bytes, remove, write_atomically, write_json
from common.model.adapter import count_trainable, write_adapter
from common.order import resume_command
from common.process.rank import process_rank
from common.process.signals import SignalCatcher
from common.progress import detail, note
from common.run.checkpoint import checkpoint_bytes, find_checkpoint, restore_engine, set_damaged_aside
from common.run.directory import RunDirectory, write_environment, write_settings
from common.run.lock import RunLock
from common.run.preparation import Prepared, engine_spec, generation_spec, lora_spec
from common.settings import RunConfig
from common.text.amounts import bytes_text, duration
from common.train.loop import Hooks, TrainingLoop
from common.train.task import SUMMARIES, Task
from common.types import TrainState

# Settings that may differ between a run and its resumption without changing what the finished steps mean.
HARMLESS = (
    "output.",
    "training.epochs",
    "training.steps",
    "training.micro_batch_tokens",
    "evaluation.patience",
    "evaluation.preview",
    "generation.generation_batch_tokens",
)


@dataclass(frozen=True)
class Finished:
    """What a finished (or paused, or already finished) run left behind."""

    run: RunDirectory
    state: TrainState
    trained_now: bool


AtEnd = Callable[[Engine, Prepared, TrainingLoop], None]


def train_run(
    config: RunConfig,
    path: Path,
    resume: bool,
    requested_engine: str = "auto",
    adapt: bool = False,
    share: float = 1.0,
    at_end: AtEnd | None = None,
    task: Task = SUMMARIES,
) -> Finished:
    """Train into `path`. With `resume` continue from its newest good checkpoint, or start when there is none.

    Says so beforehand where the run would not fit the device; with `adapt`, trains with what the plan would change.
    `share` below 1 pauses the run after that share of its steps, saved, under the schedule of the whole run.
    `at_end(engine, prepared, loop)` is called before that with the chosen adapter loaded.
    `task` is what is learned.

    Raises CheckpointError when the directory holds another run, is in use, or differs in data or settings.
    """
    run = RunDirectory(path)
    run.refuse_links_out()
    goes_on = False  # although it had ended, early perhaps
    if run.finished_marker.is_file() and resume:
        state = find_state(run)
        epochs = max((row.get("epoch", 0.0) for row in run.read_metrics()), default=0.0)
        if not asks_for_more(config, read_config(run.config), state.step, epochs):
            note(f"{path} is finished; nothing to do")
            return Finished(run, state, trained_now=False)
        note(f"{path} was finished after step {state.step}; more is asked for now, so training goes on")
        goes_on = True
    if run.config.is_file() and resume and not task.start:
        refuse_aligned(path, read_config(run.config).align.start)
    leads = process_rank() == 0
    if leads and run.config.is_file() and not resume:
        raise CheckpointError(f"{path} already holds a run; add --resume to continue it, or choose another --run")
    name, why = choose_engine(requested_engine)
    refuse_lacking(name, config.training.optimizer, config.generation.beams)
    prepared = task.prepare(config)
    from common.budget.planner import check_before_training

    config, said = check_before_training(pinned(config, prepared, name), prepared, name, adapt)
    for line in said:
        note(line)
    fit = _Fit(run, prepared, config, task, name, why, goes_on)
    if not leads:  # rank 0 holds the lock, compares and writes
        return fit.train(share, at_end)
    with RunLock(run):
        finish_interrupted(run.path)
        finish_interrupted(run.checkpoints)
        if run.config.is_file():
            if not resume:
                raise CheckpointError(f"{path} was just made a run by another process; choose another --run")
            refuse_changes(read_config(run.config), config, run, prepared.data_fingerprint)
            remove(run.finished_marker)
            remove(run.results)
        write_settings(run, config, prepared.template)
        return fit.train(share, at_end)


def refuse_aligned(path: Path, start: str) -> None:
    """Raise CheckpointError for a run that alignment made: ordinary training would not go on with its objective."""
    if start:
        raise CheckpointError(
            f"{path} is aligned, from {start}; go on with `{resume_command(path, start)}`, or choose another --run"
        )


def asks_for_more(given: RunConfig, stored: RunConfig, finished_steps: int, finished_epochs: float) -> bool:
    """Whether a finished run is to go on: more steps than were made, or more epochs than were asked for (or made,
    where steps were asked for)."""
    if given.training.steps:
        return given.training.steps > max(finished_steps, stored.training.steps)
    return given.training.epochs > (finished_epochs if stored.training.steps else stored.training.epochs)


def pinned(config: RunConfig, prepared: Prepared, engine: EngineName) -> RunConfig:
    """The settings with `auto` values replaced by what was chosen, as they are stored with the run."""
    return dataclasses.replace(
        config,
        prompt=dataclasses.replace(config.prompt, template=prepared.template.name),
        output=dataclasses.replace(config.output, engine=engine),
    )


def refuse_changes(stored: RunConfig, given: RunConfig, run: RunDirectory, fingerprint: str) -> None:
    """Raise CheckpointError listing every setting, and the data, that differ from the run to be resumed."""
    import json

    old, new = to_dict(stored), to_dict(given)
    differences = [
        f"  {group}.{name}: {old[group][name]!r} before, {new[group][name]!r} now"
        for group in new
        for name in new[group]
        if old[group][name] != new[group][name]
        and (f"{group}.{name}" == "output.engine" or not f"{group}.{name}".startswith(HARMLESS))
    ]
    if run.environment.is_file():
        before = json.loads(run.environment.read_text(encoding="utf-8")).get("data_fingerprint")
        if before and before != fingerprint:
            differences.append("  the training or dev examples themselves")
    if differences:
        raise CheckpointError(
            f"{run.path} cannot be resumed, these differ:\n"
            + "\n".join(differences)
            + "\nresume with the run's own settings, or start a new --run"
        )


@dataclass(frozen=True)
class _Fit:
    """A run whose directory is locked and whose settings are written. `goes_on`: it had ended before."""

    run: RunDirectory
    prepared: Prepared
    config: RunConfig
    task: Task
    engine_name: EngineName
    why: str
    goes_on: bool

    def train(self, share: float, at_end: AtEnd | None) -> Finished:
        """From loading the model to the chosen adapter in its place."""
        run, prepared, config = self.run, self.prepared, self.config
        lora = lora_spec(config, prepared.tokenizer)
        engine = self._engine(lora)
        self.task.begin(engine)
        goal = self.task.goal(engine, prepared, config, run)
        for line in without_effect(config, goal.dev_examples):
            note(f"warning: {line}")
        state, best = restore_newest(run, engine)
        if self.goes_on:
            state = dataclasses.replace(state, evaluations_without_gain=0)
        plan = StepPlan(goal.examples, config)
        plan.announce(state.step, run.path)
        with SignalCatcher() as signals:
            hooks = make_hooks(engine, prepared, config, run, signals)
            data = (goal.examples, goal.objective, prepared.tokenizer.pad_id)
            stop_after = math.ceil(share * plan.total_steps) if share < 1 else 0
            loop = TrainingLoop(engine, run, config, lora, *data, state, best, hooks, stop_after)
            state, chosen = loop.run_all()
        if at_end:
            engine.load_adapter(chosen)
            at_end(engine, prepared, loop)
        if engine.rank == 0 and not loop.paused:
            write_atomically(run.adapter, lambda aside: write_adapter(aside, chosen, lora, prepared.model.source))
            write_json(run.finished_marker, {"state": dataclasses.asdict(state)})
        return Finished(run, state, trained_now=True)

    def _engine(self, lora: LoraSpec) -> Engine:
        """The engine with its model loaded; what is trained on it is said, and written to environment.json."""
        run, prepared, config = self.run, self.prepared, self.config
        encoded = prepared.report.lines() if prepared.report.examples else []
        for line in [*prepared.splits.report.lines(), *encoded]:
            note(f"data: {line}")
        detail(f"model: {prepared.model.source} in {prepared.model.directory}")
        detail(f"template: {prepared.template.name}, {prepared.prompt_format.overhead} tokens beside the document")
        began = time.monotonic()
        engine = load_engine(self.engine_name, engine_spec(config, prepared.model, lora))
        shape = prepared.model.shape
        trainable = count_trainable(shape, lora)
        note(
            f"engine {self.engine_name} ({self.why}): {engine.device.name}, {engine.device.compute_dtype}, base "
            f"{config.model.quantize}; {trainable:,} trainable parameters ({100 * trainable / shape.parameters:.2f} % "
            f"of {shape.parameters:,}); ready in {duration(time.monotonic() - began)}"
        )
        if engine.rank == 0:
            facts = environment_of(engine, prepared, trainable)
            if not self.task.start:  # an aligned run's passes are other than one forward and one backward an example
                checkpointing = config.model.gradient_checkpointing
                facts["flops_per_epoch"] = epoch_flops(shape, lora, checkpointing, prepared.train_set)
            write_environment(run, facts)
            warn_of_little_room(run, trainable, config)
        return engine


def without_effect(config: RunConfig, dev_examples: int) -> list[str]:
    """What is asked for and will not happen, each with its reason."""
    evaluation, lines = config.evaluation, []
    by = evaluation.keep_best_by
    unmeasured = "there are no dev examples" if not dev_examples else ""
    if by == "rouge" and not evaluation.eval_rouge:
        unmeasured = unmeasured or "no dev documents are summarized: give --eval-rouge a number of them"
    if unmeasured and by == "rouge":
        lines.append(f"--keep-best-by rouge keeps the last adapter, since {unmeasured}")
    if by == "last":
        unmeasured = "--keep-best-by last compares no evaluations"
    if evaluation.patience and unmeasured:
        lines.append(f"--patience does not stop this run, since {unmeasured}")
    return lines


def warn_of_little_room(run: RunDirectory, trainable: int, config: RunConfig) -> None:
    """Say before the first step when the checkpoints that are kept, and the one being written, may not fit."""
    needed = checkpoint_bytes(trainable) * (config.output.keep_checkpoints + 1) + 4 * trainable
    free = free_bytes(run.config)
    if free is not None and free < needed:
        note(f"warning: {run.path}: checkpoints may take {bytes_text(needed)}, {bytes_text(free)} are free there")


def environment_of(engine: Engine, prepared: Prepared, trainable: int) -> dict[str, Any]:
    """Facts for environment.json that only a built engine and prepared data know."""
    return {
        "engine": engine.name,
        "device": dataclasses.asdict(engine.device),
        "world_size": engine.world_size,
        "model_source": prepared.model.source,
        "parameters": prepared.model.shape.parameters,
        "trainable_parameters": trainable,
        "data_fingerprint": prepared.data_fingerprint,
        "training_data": dataclasses.asdict(prepared.report),
    }


def restore_newest(run: RunDirectory, engine: Engine) -> tuple[TrainState, dict[str, Any] | None]:
    """Put the newest good checkpoint, if any, into the engine: the state to continue from and the best adapter."""
    checkpoint, problems = find_checkpoint(run.checkpoints)
    for problem in problems:
        note(f"warning: {problem}")
    step = checkpoint.state.step if checkpoint else 0
    if engine.rank == 0:
        set_damaged_aside(run.checkpoints, step)
        run.drop_rows_after(step)
    if checkpoint is None:
        if problems:
            note("warning: no undamaged checkpoint is left; training starts again from step 0")
        return TrainState(), None
    restore_engine(engine, checkpoint)
    note(f"resuming from {checkpoint.directory}")
    return checkpoint.state, checkpoint.best


def find_state(run: RunDirectory) -> TrainState:
    """The state of a finished run."""
    import json

    try:
        return TrainState(**json.loads(run.finished_marker.read_text(encoding="utf-8"))["state"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{run.finished_marker}: damaged ({error}); delete it, and --resume goes on from the last checkpoint"
        ) from None


def make_hooks(
    engine: Engine, prepared: Prepared, config: RunConfig, run: RunDirectory, signals: SignalCatcher
) -> Hooks:
    """What the settings ask for beside steps: generated ROUGE on a dev sample, previews, a tracker."""
    from common.train.previews import dev_rouge_hook, preview_hook
    from common.train.tracking import tracker_hook

    spec = generation_spec(config, prepared.prompt_format.eos_ids)
    return Hooks(
        dev_rouge=dev_rouge_hook(engine, prepared.prompt_format, prepared.dev_examples, config, spec),
        preview=preview_hook(engine, prepared.prompt_format, prepared.dev_examples, config, spec, run),
        track=tracker_hook(config, run),
        stop_signal=lambda: signals.received,
    )
