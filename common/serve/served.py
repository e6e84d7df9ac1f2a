"""The models a server offers, by the names that clients use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.run.directory import RunDirectory
from common.run.loaded_run import LoadedRun, load_run
from common.serve.worker import Served
from common.summarize.summarizer import Quantize, Summarizer

UNTUNED = "-untuned"


def load_runs(runs: Sequence[str | Path], engine: str = "auto", untuned: bool = True) -> dict[str, Served]:
    """Runs by directory name. A single one is joined by its base model, untuned, to compare with (if `untuned`).

    Raises ConfigError for a run given twice, else as `load_run`.
    """
    names = model_names(runs)
    loaded = {name: load_run(run, engine) for name, run in zip(names, runs, strict=True)}
    models: dict[str, Served] = {name: Summarizer.from_loaded(each) for name, each in loaded.items()}
    if len(loaded) == 1 and untuned:
        name, only = next(iter(loaded.items()))
        models[name + UNTUNED] = untuned_summarizer(only)
    return models


def untuned_summarizer(loaded: LoadedRun) -> Summarizer:
    """The run's base model under the template that did best for it in the run's evaluation, else under the run's."""
    tuned = Summarizer.from_loaded(loaded)
    return tuned.untuned(_best_base_template(loaded.run), loaded.format_for)


def load_zero_shot(model: str, engine: str = "auto", quantize: Quantize = "4bit") -> dict[str, Served]:
    """An untuned model under its own name."""
    return {model: Summarizer.load(model=model, engine=engine, quantize=quantize)}


def model_names(runs: Sequence[str | Path]) -> list[str]:
    """Directory names, or whole paths where two runs share a name."""
    paths = [Path(run).resolve() for run in runs]
    if len(set(paths)) < len(paths):
        raise ConfigError("the same run is given twice; give --run with another one to compare")
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def _best_base_template(run: RunDirectory) -> str | None:
    try:
        results: dict[str, Any] = json.loads(run.results.read_text(encoding="utf-8"))
        name = results.get("base_template")
    except (OSError, ValueError, AttributeError):
        return None  # not evaluated yet
    return str(name) if name else None
