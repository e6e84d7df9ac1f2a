"""Run a sweep: trials round by round, the best going on, and what comes of it in one directory.

    DIR/sweep.yaml        what is swept: base settings, trials, rounds, measure (a resumed sweep must be the same)
    DIR/trials/NAME/      one run directory a trial
    DIR/results.json      the table with intervals, and the chosen setting
    DIR/best.yaml         the chosen settings, ready for `sumkit train --config`
    DIR/plots/sweep.png

Knows nothing of how a trial is trained, nor of the command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import config as configuration
from common.errors import CheckpointError, ConfigError, SumkitError
from common.files import write_json, write_text
from common.order import Order
from common.process.supervise import supervise_order
from common.progress import note
from common.run.directory import RunDirectory, environment_facts
from common.run.lock import RunLock
from common.settings import RunConfig
from common.sweep.halving import Round, rounds, total_share
from common.sweep.ranking import Measure, rank, sentence
from common.sweep.space import Trial
from common.sweep.trial import Launch, TrialScores, read_scores

DEFINITION = "sweep.yaml"
SIGNALS = (130, 143)


class SweepStopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """A signal ended a trial; it is saved. `status` is the exit status to leave with."""

    def __init__(self, status: int) -> None:
        super().__init__(f"stopped with status {status}")
        self.status = status


class SweepFailedError(SumkitError):
    """Every trial of a sweep failed."""


@dataclass(frozen=True)
class SweepPlan:
    """What is swept. `base` holds the settings that all trials share; `halving` 0 trains every trial to its end."""

    base: RunConfig
    trials: Sequence[Trial]
    halving: int
    measure: Measure

    @property
    def rounds(self) -> list[Round]:
        return rounds(len(self.trials), self.halving)

    def definition(self) -> dict[str, Any]:
        """Everything that must be equal when a sweep is resumed, as plain values."""
        base = configuration.to_dict(self.base)
        base["output"] = {"engine": self.base.output.engine}
        return {
            "base": base,
            "trials": {trial.name: dict(trial.flags) for trial in self.trials},
            "halving": self.halving,
            "measure": self.measure,
        }


def run_sweep(plan: SweepPlan, path: Path, resume: bool, launch: Launch = supervise_order) -> dict[str, Any]:
    """Run or continue the sweep in `path`, write its files, and return the content of results.json.

    A failed trial is counted, shown and left out of the ranking. Raises CheckpointError when the directory holds
    another sweep, SweepFailedError when no trial succeeds, SweepStopped after a signal.
    """
    with RunLock(RunDirectory(path)):
        _claim(plan, path, resume)
        planned = plan.rounds
        note(
            f"sweep: {len(plan.trials)} trials in {len(planned)} rounds, "
            f"as much training as {total_share(planned):.3g} whole runs; directory {path}"
        )
        latest: dict[str, TrialScores] = {}
        going_on, failed = list(plan.trials), list[str]()
        for number, step in enumerate(planned, 1):
            reached = {}
            for place, trial in enumerate(going_on, 1):
                label = f"round {number} of {len(planned)}, trial {place} of {len(going_on)}: {trial.label()}"
                scores = _scores(plan, path, trial, step.share, launch, label)
                if scores is None:
                    failed.append(trial.name)
                else:
                    reached[trial.name] = latest[trial.name] = scores
            if not reached:
                raise SweepFailedError(f"{path}: every trial failed; the reasons are above")
            order = [ranked.name for ranked in rank(reached, plan.measure, plan.base.training.seed)]
            keep = planned[number].trials if number < len(planned) else len(order)
            going_on = [trial for trial in plan.trials if trial.name in order[:keep]]
        results = _results(plan, path, latest, going_on, failed)
        _write(plan, path, results)
        return results


def trial_config(base: RunConfig, trial: Trial, path: Path) -> RunConfig:
    """A trial's settings: the base with its own values, in its own directory, scored by the sweep alone."""
    merged = configuration.merge(configuration.to_dict(base), configuration.from_flags(trial.flags))
    resolved = configuration.resolve(merged, f"trial {trial.name}")
    output = dataclasses.replace(
        resolved.output, run=str(path / "trials" / trial.name), final_eval=False, keep_checkpoints=1
    )
    evaluation = resolved.evaluation
    if evaluation.keep_best_by != "rouge":  # the sweep's own ROUGE is scored once a round, not at each evaluation
        evaluation = dataclasses.replace(evaluation, eval_rouge=0)
    return dataclasses.replace(resolved, output=output, evaluation=evaluation)


def _claim(plan: SweepPlan, path: Path, resume: bool) -> None:
    """Write the definition, or compare it with the one that is there."""
    file, wanted = path / DEFINITION, plan.definition()
    if not file.is_file():
        write_text(file, _yaml(wanted))
        return
    if not resume:
        raise CheckpointError(f"{path} already holds a sweep; add --resume to continue it, or choose another --run")
    stored = stored_plan(path).definition()  # settings that have come since have their defaults in it
    different = [key for key in wanted if key != "base" and stored[key] != wanted[key]]
    different += [
        f"{group}.{name}"
        for group, values in wanted["base"].items()
        for name, value in values.items()
        if stored["base"][group][name] != value
    ]
    if different:
        raise CheckpointError(
            f"{path} cannot be resumed, it was started with other {', '.join(different)}; "
            f"`sumkit sweep --run {path} --resume` alone continues it as it was"
        )


def stored_plan(path: Path) -> SweepPlan:
    """The sweep that a directory holds. Raises CheckpointError where it holds none."""
    if not (path / DEFINITION).is_file():
        raise CheckpointError(f"{path} holds no sweep ({DEFINITION} is missing); give --vary to start one")
    stored = configuration.load_yaml(path / DEFINITION)
    try:
        base = configuration.resolve(stored["base"], str(path / DEFINITION))
        trials = [Trial(name, flags) for name, flags in stored["trials"].items()]
        return SweepPlan(base, trials, stored["halving"], stored["measure"])
    except (KeyError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path / DEFINITION}: is damaged ({error!r}); start the sweep again elsewhere") from None


def _yaml(values: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))


def _scores(plan: SweepPlan, path: Path, trial: Trial, share: float, launch: Launch, label: str) -> TrialScores | None:
    """The trial's scores at `share`, trained now unless it was before; None when it failed."""
    config = trial_config(plan.base, trial, path)
    run = Path(config.output.run)
    scores = read_scores(run, share)
    if scores is None:
        note(label)
        rouge = None if plan.measure == "dev_loss" else plan.base.evaluation.eval_rouge
        status = launch(Order(config, "trial", resume=True, share=share, rouge=rouge))
        if status in SIGNALS:
            raise SweepStopped(status)
        scores = read_scores(run, share)
        if status or scores is None:
            note(f"warning: trial {trial.name} failed (exit status {status}) and is left out")
            return None
    return scores


def _results(
    plan: SweepPlan, path: Path, latest: Mapping[str, TrialScores], last: Sequence[Trial], failed: Sequence[str]
) -> dict[str, Any]:
    seed = plan.base.training.seed
    ranked = rank({trial.name: latest[trial.name] for trial in last}, plan.measure, seed)
    by_name = {item.name: item for item in ranked}
    stopped = [trial.name for trial in plan.trials if trial.name in latest and trial.name not in by_name]
    for name in stopped:  # each for itself: shares of different rounds do not compare
        by_name[name] = dataclasses.replace(rank({name: latest[name]}, plan.measure, seed)[0], best_share=0.0)
    stopped.sort(key=lambda name: (-latest[name].share, _key(plan, by_name[name])))
    labels = {trial.name: trial.label() for trial in plan.trials}
    flags = {trial.name: trial.flags for trial in plan.trials}
    rows = []
    for name in [*(item.name for item in ranked), *stopped, *failed]:
        row: dict[str, Any] = {"name": name, "settings": flags[name], "run": str(path / "trials" / name)}
        if name in failed:
            rows.append({**row, "status": "failed"})
            continue
        scores, item = latest[name], by_name[name]
        row |= {
            "status": "finished" if name not in stopped else "stopped",
            "steps": scores.steps,
            "total_steps": scores.total_steps,
            "seconds": scores.seconds,
            plan.measure: dataclasses.asdict(item.score),
            "best_share": item.best_share,
        }
        if item.behind is not None:
            row["behind"] = dataclasses.asdict(item.behind)
        rows.append(row)
    documents = len(next(iter(latest.values())).losses if plan.measure == "dev_loss" else latest[ranked[0].name].rouge)
    best = ranked[0]
    return {
        "sweep": str(path),
        "data": plan.base.data.data,
        "model": plan.base.model.model,
        "measure": plan.measure,
        "documents": documents,
        "halving": plan.halving,
        "rounds": [dataclasses.asdict(step) for step in plan.rounds],
        "trials": rows,
        "best": {
            "name": best.name,
            "settings": flags[best.name],
            "run": str(path / "trials" / best.name),
            "best_share": best.best_share,
            "distinguishable": len(ranked) > 1 and ranked[1].behind is not None and ranked[1].behind.low > 0,
            "sentence": sentence(ranked, labels, documents, plan.measure),
        },
        "environment": environment_facts(),
    }


def _key(plan: SweepPlan, item: Any) -> float:
    return float(item.score.mean if plan.measure == "dev_loss" else -item.score.mean)


def _write(plan: SweepPlan, path: Path, results: dict[str, Any]) -> None:
    from common.sweep.plot import save_plot

    write_json(RunDirectory(path).results, results)
    best = next(trial for trial in plan.trials if trial.name == results["best"]["name"])
    values = configuration.to_dict(trial_config(plan.base, best, path))
    del values["output"]
    write_text(path / "best.yaml", _yaml(values))
    save_plot(results, path / "plots" / "sweep.png")
