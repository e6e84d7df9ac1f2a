"""Train, then evaluate, then report: one outcome for `sumkit train` and for the demo."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.evaluate import score_table
from common.loaded_run import load_run
from common.loop import RunStopped
from common.progress import note
from common.run_evaluation import EvalOptions, evaluate_run
from common.settings import RunConfig
from common.training import Finished, default_run_path, train_run


@dataclass(frozen=True)
class Outcome:
    """What to print and how to exit. `summary` is the JSON form."""

    exit_code: int
    text: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


def train_and_evaluate(config: RunConfig, resume: bool = False) -> Outcome:
    """Train into the run directory; unless switched off, score the kept adapter and write the report."""
    path = Path(config.output.run) if config.output.run else default_run_path(config)
    try:
        finished = train_run(config, path, resume, config.output.engine)
    except RunStopped as stop:
        note(f"saved at step {stop.step}. Continue with: sumkit train --run {path} --resume")
        return Outcome(128 + stop.signal_number)
    gc.collect()
    results = _results(config, finished)
    state = finished.state
    lines = [f"run directory: {path}", f"steps: {state.step}, training time {state.seconds:.0f} s"]
    if results:
        lines = [score_table(results), *lines, f"report: {path / 'report.html'}"]
    summary = {
        "run": str(path),
        "steps": state.step,
        "seconds": round(state.seconds, 2),
        "best_step": state.best_step,
        "trained_now": finished.trained_now,
        "results": results,
    }
    return Outcome(0, "\n".join(lines), summary)


def _results(config: RunConfig, finished: Finished) -> dict[str, Any] | None:
    """Results of the final evaluation, made now unless they are there already."""
    run = finished.run
    if not finished.trained_now and run.results.is_file():
        stored: dict[str, Any] = json.loads(run.results.read_text(encoding="utf-8"))
        return stored
    from common.report.write import write_report

    results = None
    if config.output.final_eval:
        loaded = load_run(run.path, config.output.engine)
        results = evaluate_run(loaded, EvalOptions(limit=config.output.test_limit))
    write_report(run.path)
    return results
