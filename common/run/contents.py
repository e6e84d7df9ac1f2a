"""A run directory as it is found: each file read for itself, whatever is missing or damaged noted and not fatal.

A run may have been killed half-way, never evaluated, or be the folder of an `eval --out` without a training log.
Knows the layout of a run directory; knows nothing of what the values mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.config import load_yaml
from common.errors import CheckpointError, ConfigError
from common.run.directory import RunDirectory, read_metrics
from common.run.predictions import PredictionRow, read_predictions
from common.text.amounts import mapping


@dataclass(frozen=True)
class RunFiles:
    """What a run directory holds. Empty values stand for files that are not there; `notes` says why.

    predictions   of the fine-tuned model, in file order
    others        predictions of further systems (`predictions-base.csv`), by system name
    state         where training ended, from finished.json; empty while it has not
    """

    path: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    predictions: tuple[PredictionRow, ...]
    others: Mapping[str, tuple[PredictionRow, ...]]
    results: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.path)

    @property
    def name(self) -> str:
        own, home = self.path.resolve(), self.directory.home.resolve()
        return own.name if own == home else f"{home.name}, {own.name}"

    @property
    def main_system(self) -> str:
        """The system under test: `tuned`, or `base` where only the untuned model was evaluated."""
        systems = mapping(self.results.get("systems"))
        return "base" if systems and "tuned" not in systems and "base" in systems else "tuned"

    def setting(self, path: str, default: Any = None) -> Any:
        """A setting by its dotted path, `default` where the run has none."""
        group, _, name = path.partition(".")
        values = self.config.get(group)
        return values.get(name, default) if isinstance(values, Mapping) else default


def read_run(path: Path) -> RunFiles:
    """Read a run directory, or an evaluation of a run in RUN/evaluations, which shares the run's settings and log.

    Raises CheckpointError when it does not exist or holds none of a run's files, DataError when a prediction stands
    beside another document than the one it was made from.
    """
    run = RunDirectory(path)
    home = RunDirectory(run.home)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such run directory; give the folder that train or eval wrote")
    told = (run.config, run.environment, run.metrics, run.predictions, run.results)
    if not any(file.is_file() for file in told):
        names = ", ".join(file.name for file in told)
        raise CheckpointError(f"{path}: not a run directory, it holds none of {names}")
    predictions, notes = read_predictions(run.predictions)
    others = {}
    for system, file in run.other_predictions().items():
        others[system], wrong = read_predictions(file)
        notes += wrong
    metrics, wrong = read_metrics(home.metrics)
    return RunFiles(
        path=path,
        config=_read_config(home.config, notes),
        environment=_read_object(home.environment, notes, "versions and device unknown"),
        metrics=metrics,
        predictions=predictions,
        others=others,
        results=_read_object(run.results, notes, "the run has not been evaluated"),
        state=mapping(_read_object(home.finished_marker, notes).get("state")),
        notes=(*notes, *wrong),
    )


def _read_config(path: Path, notes: list[str]) -> Mapping[str, Any]:
    if not path.is_file():
        notes.append(f"{path.name} is missing: the settings are not known.")
        return {}
    try:
        return load_yaml(path)
    except ConfigError as error:
        notes.append(str(error))
        return {}


def _read_object(path: Path, notes: list[str], when_missing: str = "") -> Mapping[str, Any]:
    """The object of a JSON file; `when_missing` is what it means that the file is not there, empty for nothing."""
    if not path.is_file():
        if when_missing:
            notes.append(f"{path.name} is missing: {when_missing}.")
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"{path.name} cannot be read as JSON ({error}).")
        return {}
    if not isinstance(value, dict):
        notes.append(f"{path.name} must hold a JSON object, not {type(value).__name__}.")
        return {}
    return value
