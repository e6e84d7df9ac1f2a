"""Train, then evaluate, then report: one outcome for `sumkit train` and for the demo.

`launch` runs it in a supervised child process (`python -m common.cli.worker`), so that running out of memory, which
can end a process without an exception, leads to a retry.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.budget.run_compute import run_compute, run_compute_text
from common.evaluation.evaluation_results import score_table
from common.evaluation.run_evaluation import EvalOptions, NothingHeldOutError, evaluate_run
from common.process.rank import process_rank
from common.process.supervise import should_supervise, supervise
from common.progress import note
from common.run.directory import RunDirectory
from common.run.loaded_run import load_run
from common.run.predictions import read_predictions
from common.safe_text import one_line
from common.settings import RunConfig
from common.train.loop import RunStopped
from common.train.training import Finished, default_run_path, train_run

Style = Literal["text", "json", "demo"]


@dataclass(frozen=True)
class Outcome:
    """What to print and how to exit. `summary` is the JSON form."""

    exit_code: int
    text: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


def launch(
    config: RunConfig,
    resume: bool,
    style: Style,
    adapt: bool = False,
    curve: bool = False,
    eval_only: bool = False,
    samples: int = 0,
) -> int:
    """Train, evaluate and print, in a supervised child where that helps; returns the exit status.

    `adapt`: take the plan's settings where the run would not fit. `curve`: train on nested subsets instead.
    `eval_only`: score the run that is there. `samples`: also print so many summaries.
    """
    from common.config import to_dict

    path = Path(config.output.run) if config.output.run else default_run_path(config)
    config = dataclasses.replace(config, output=dataclasses.replace(config.output, run=str(path)))
    if not should_supervise():
        return run_and_print(config, resume, style, adapt, curve, eval_only, samples)
    wishes = {"adapt": adapt, "curve": curve, "eval_only": eval_only, "samples": samples}
    order = json.dumps({"config": to_dict(config), "resume": resume, "style": style, **wishes})
    return supervise([sys.executable, "-m", "common.cli.worker", order], path)


def run_and_print(
    config: RunConfig,
    resume: bool,
    style: Style,
    adapt: bool = False,
    curve: bool = False,
    eval_only: bool = False,
    samples: int = 0,
) -> int:
    """Train and evaluate in this process and print the outcome, with `samples` summaries, on stdout."""
    import click

    from common.corpus.demo import before_and_after, next_commands

    if eval_only:
        outcome = evaluate_only(config)
    else:
        outcome = (train_curve if curve else train_and_evaluate)(config, resume, adapt)
    if outcome.exit_code or not outcome.summary:
        return outcome.exit_code
    if samples:
        outcome = with_samples(outcome, samples)
    if style == "json":
        click.echo(json.dumps(outcome.summary))
        return 0
    run = Path(outcome.summary["run"])
    if style == "demo":
        click.echo(f"{before_and_after(run)}\n")
    click.echo(outcome.text)
    if style == "demo":
        click.echo(f"\n{next_commands(run)}")
    return 0


def train_and_evaluate(config: RunConfig, resume: bool = False, adapt: bool = False) -> Outcome:
    """Train into the run directory; unless switched off, score the kept adapter and write the report."""
    path = Path(config.output.run) if config.output.run else default_run_path(config)
    try:
        finished = train_run(config, path, resume, config.output.engine, adapt)
    except RunStopped as stop:
        note(f"saved at step {stop.step}. Continue with: sumkit train --run {path} --resume")
        return Outcome(128 + stop.signal_number)
    if process_rank() != 0:  # rank 0 scores and reports
        return Outcome(0)
    gc.collect()
    results = _results(config, finished)
    state = finished.state
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


def train_curve(config: RunConfig, resume: bool = False, adapt: bool = False) -> Outcome:
    """Train on nested subsets of growing size and project what more examples would bring."""
    from common.budget.curve_file import read_curves
    from common.budget.curve_report import curve_answers, curve_text
    from common.train.learning_curve import train_learning_curve

    path = Path(config.output.run) if config.output.run else default_run_path(config)
    try:
        points = train_learning_curve(config, path, resume, adapt)
    except RunStopped as stop:
        note(f"saved at step {stop.step}. Continue with: sumkit train --run {path} --resume")
        return Outcome(128 + stop.signal_number)
    answers = curve_answers(read_curves(path), [], None)
    text = f"{curve_text(answers)}\n\nrun directory: {path}\nfor other sizes: sumkit budget --curve {path} --at N"
    rows = [{"examples": size, "dev_loss": loss} for size, loss in points]
    return Outcome(0, text, {"run": str(path), "points": rows, "curves": answers})


def compute_of(finished: Finished) -> dict[str, Any] | None:
    """The run's FLOPs and what they would buy in pre-training; None where no step was taken or facts are missing."""
    rows = finished.run.read_metrics()
    if not rows or not finished.run.environment.is_file():
        return None
    facts = json.loads(finished.run.environment.read_text(encoding="utf-8"))
    if "flops_per_epoch" not in facts or not rows[-1].get("epoch"):
        return None
    return run_compute(facts["flops_per_epoch"], rows[-1]["epoch"], facts["parameters"], finished.state.tokens)


def evaluate_only(config: RunConfig) -> Outcome:
    """Score the run in --run as `train` would at its end, without training. CheckpointError where there is none."""
    path = Path(config.output.run)
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


def _results(config: RunConfig, finished: Finished) -> dict[str, Any] | None:
    """Results of the final evaluation, made now unless they are there already."""
    run = finished.run
    from common.report.write import write_report

    if not finished.trained_now and run.results.is_file():
        stored: dict[str, Any] = json.loads(run.results.read_text(encoding="utf-8"))
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
        options = EvalOptions(limit=config.output.test_limit, base_template=config.output.base_template)
        try:
            results, _ = evaluate_run(loaded, options)
        except NothingHeldOutError as reason:
            note(f"not scored: {reason}")
    write_report(run.path)
    return results
