"""Train, then evaluate, then report: what an order comes to, and what it prints."""

from __future__ import annotations

import dataclasses
import gc
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.budget.run_compute import run_compute, run_compute_text
from common.evaluation.evaluation_results import score_table
from common.evaluation.run_evaluation import EvalOptions, NothingHeldOutError, evaluate_run
from common.order import Order
from common.process.rank import process_rank
from common.progress import note
from common.run.directory import RunDirectory
from common.run.loaded_run import load_run
from common.run.predictions import read_predictions
from common.safe_text import one_line
from common.settings import RunConfig
from common.train.loop import RunStopped
from common.train.task import SUMMARIES, Task
from common.train.training import Finished, find_state, train_run


@dataclass(frozen=True)
class Outcome:
    """What to print and how to exit. `summary` is the JSON form."""

    exit_code: int
    text: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


def run_and_print(order: Order, task: Task = SUMMARIES) -> int:
    """Train and evaluate (or what else is ordered) in this process and print the outcome; returns the exit status."""
    import click

    if order.work == "score":
        outcome = evaluate_only(order)
    elif order.work == "curve":
        outcome = train_curve(order)
    else:
        outcome = train_and_evaluate(order, task)
    if outcome.exit_code or not outcome.summary:
        return outcome.exit_code
    if order.samples:
        outcome = with_samples(outcome, order.samples)
    if order.prints == "json":
        click.echo(json.dumps(outcome.summary))
    elif order.prints == "text":
        click.echo(outcome.text)
    return 0


def train_and_evaluate(order: Order, task: Task = SUMMARIES) -> Outcome:
    """Train into the run directory; unless switched off, score the kept adapter and write the report.

    A run that started from another one is scored beside it.
    """
    config = order.settings
    try:
        finished = train_run(config, order.path, order.resume, config.output.engine, order.adapt, task=task)
    except RunStopped as stop:
        return _stopped(order, stop)
    if process_rank() != 0:  # rank 0 scores and reports
        return Outcome(0)
    gc.collect()
    outcome = outcome_of(finished, _results(config, finished, task))
    started = {"start": task.start} if task.start else {}
    return dataclasses.replace(outcome, summary={**started, **outcome.summary})


def stored_outcome(path: Path) -> Outcome:
    """What `train_and_evaluate` gives for a finished run. Raises CheckpointError where it is not finished."""
    run = RunDirectory(path)
    return outcome_of(Finished(run, find_state(run), trained_now=False), _stored_results(run))


def outcome_of(finished: Finished, results: dict[str, Any] | None) -> Outcome:
    """A finished run's scores, steps, times and what its compute would buy."""
    path, state = finished.run.path, finished.state
    compute = compute_of(finished)
    lines = [f"run directory: {path}", f"steps: {state.step}, training time {state.seconds:.0f} s"]
    if compute:
        lines.append(run_compute_text(compute))
    if results:
        lines = [score_table(results), *lines, f"report: {RunDirectory(path).report}"]
    summary = {
        "run": str(path),
        "steps": state.step,
        "seconds": round(state.seconds, 2),
        "best_step": state.best_step,
        "trained_now": finished.trained_now,
        "compute": compute,
        "results": results,
    }
    return Outcome(0, "\n".join(lines), summary)


def train_curve(order: Order) -> Outcome:
    """Train on nested subsets of growing size and project what more examples would bring."""
    from common.budget.curve_file import read_curves
    from common.budget.curve_report import curve_answers, curve_text
    from common.train.learning_curve import train_learning_curve

    path = order.path
    try:
        points = train_learning_curve(order.settings, path, order.resume, order.adapt)
    except RunStopped as stop:
        return _stopped(order, stop)
    answers = curve_answers(read_curves(path), [], None)
    text = f"{curve_text(answers)}\n\nrun directory: {path}\nfor other sizes: sumkit budget --curve {path} --at N"
    rows = [{"examples": size, "dev_loss": loss} for size, loss in points]
    return Outcome(0, text, {"run": str(path), "points": rows, "curves": answers})


def _stopped(order: Order, stop: RunStopped) -> Outcome:
    note(f"saved at step {stop.step}. Continue with: {order.command}")
    return Outcome(128 + stop.signal_number)


def compute_of(finished: Finished) -> dict[str, Any] | None:
    """The run's FLOPs and what they would buy in pre-training; None where no step was taken or facts are missing."""
    rows = finished.run.read_metrics()
    if not rows or not finished.run.environment.is_file():
        return None
    facts = json.loads(finished.run.environment.read_text(encoding="utf-8"))
    if "flops_per_epoch" not in facts or not rows[-1].get("epoch"):
        return None
    return run_compute(facts["flops_per_epoch"], rows[-1]["epoch"], facts["parameters"], finished.state.tokens)


def evaluate_only(order: Order) -> Outcome:
    """Score the run as `train` would at its end, without training. Raises CheckpointError where there is none."""
    path, config = order.path, order.settings
    loaded = load_run(path, config.output.engine)
    options = EvalOptions(limit=config.output.test_limit, base_template=config.output.base_template)
    results, place = evaluate_run(loaded, options)
    from common.report.write import write_report

    report = write_report(place)
    summary = {"run": str(path), "evaluation": str(place), "trained_now": False, "results": results}
    return Outcome(0, "\n".join([score_table(results), f"report: {report}"]), summary)


def with_samples(outcome: Outcome, count: int) -> Outcome:
    """The outcome with the first `count` scored documents, their references and summaries."""
    file = RunDirectory(Path(outcome.summary.get("evaluation") or outcome.summary["run"])).predictions
    if not file.is_file():
        note("no samples: the run was not scored")
        return outcome
    samples = [
        {name: getattr(row, name) for name in ("id", "document", "reference", "prediction", "stop_reason")}
        for row in read_predictions(file)[0][:count]
    ]
    shown = [
        f"[{one_line(row['id'], 60)}] {one_line(row['document'], 200)}\n"
        f"  reference: {one_line(row['reference'], 400)}\n"
        f"  summary:   {one_line(row['prediction'], 400) or '(empty)'}"
        for row in samples
    ]
    summary = {**outcome.summary, "samples": samples}
    return dataclasses.replace(outcome, text="\n".join([outcome.text, "", *shown]), summary=summary)


def _results(config: RunConfig, finished: Finished, task: Task) -> dict[str, Any] | None:
    """Results of the final evaluation, made now unless they are there already."""
    run = finished.run
    from common.report.write import write_report

    stored = None if finished.trained_now else _stored_results(run)
    if stored:
        if not run.report.is_file():  # the process ended between the two
            write_report(run.path)
        return stored
    results = None
    if config.output.final_eval:
        loaded = load_run(run.path, config.output.engine)
        if loaded.config.generation != config.generation:  # a retry after out of memory has smaller batches
            loaded = dataclasses.replace(
                loaded, config=dataclasses.replace(loaded.config, generation=config.generation)
            )
        beside = (Path(task.start),) if task.start else ()
        options = EvalOptions(limit=config.output.test_limit, base_template=config.output.base_template, beside=beside)
        try:
            results, _ = evaluate_run(loaded, options)
        except NothingHeldOutError as reason:
            note(f"not scored: {reason}")
    write_report(run.path)
    return results


def _stored_results(run: RunDirectory) -> dict[str, Any] | None:
    return json.loads(run.results.read_text(encoding="utf-8")) if run.results.is_file() else None
