"""Align, then evaluate beside the run it started from, then report."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

from common.align.run import align_run
from common.evaluation.evaluation_results import score_table
from common.evaluation.run_evaluation import EvalOptions, NothingHeldOutError, evaluate_run
from common.order import Order
from common.progress import note
from common.run.directory import RunDirectory
from common.run.loaded_run import load_run
from common.settings import RunConfig
from common.train.loop import RunStopped
from common.train.training import Finished


def align_and_print(order: Order) -> int:
    """Align in this process and print the outcome on stdout."""
    import click

    config, path = order.settings, order.path
    try:
        finished = align_run(config, path, order.resume)
    except RunStopped as stop:
        note(f"saved at step {stop.step}. Continue with: {order.command}")
        return 128 + stop.signal_number
    gc.collect()
    results = _results(config, finished)
    if order.prints == "json":
        summary = {"run": str(path), "start": config.align.start, "steps": finished.state.step, "results": results}
        click.echo(json.dumps(summary))
        return 0
    lines = [f"run directory: {path}", f"steps: {finished.state.step}, training time {finished.state.seconds:.0f} s"]
    if results:
        lines = [score_table(results), *lines, f"report: {RunDirectory(path).report}"]
    click.echo("\n".join(lines))
    return 0


def _results(config: RunConfig, finished: Finished) -> dict[str, Any] | None:
    """Results of the evaluation beside the starting run, made now unless they are there already."""
    from common.report.write import write_report

    run = finished.run
    if not finished.trained_now and run.results.is_file():
        stored: dict[str, Any] = json.loads(run.results.read_text(encoding="utf-8"))
        return stored
    results = None
    if config.output.final_eval:
        options = EvalOptions(
            limit=config.output.test_limit,
            base_template=config.output.base_template,
            beside=(Path(config.align.start),),
        )
        try:
            results, _ = evaluate_run(load_run(run.path, config.output.engine), options)
        except NothingHeldOutError as reason:
            note(f"not scored: {reason}")
    write_report(run.path)
    return results
