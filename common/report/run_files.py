"""A run directory as it is found: each file read for itself, whatever is missing or damaged noted and not fatal.

A run may have been killed half-way, never evaluated, or be the folder of an `eval --out` without a training log.
Knows the layout of a run directory; knows nothing of what the values mean.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import CheckpointError, ConfigError, DataError
from common.files import sha256_text

FILES = ("config.yaml", "environment.json", "metrics.jsonl", "predictions.csv", "results.json")
TEXT_COLUMNS = ("id", "document", "reference", "prediction", "stop_reason", "document_sha256")
LONGEST_CELL = 2**31 - 1  # csv refuses cells over 128 kB by default; documents may be longer


@dataclass(frozen=True)
class PredictionRow:
    """One row of predictions.csv; `scores` in percent by measure, only those that are finite numbers.

    references   every accepted summary, of which `reference` was scored; empty where the file does not say
    """

    id: str
    document: str
    reference: str
    prediction: str
    stop_reason: str = ""
    document_sha256: str = ""
    references: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Id and document hash: what rows of two systems or runs are paired by."""
        return self.id, self.document_sha256


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
    def name(self) -> str:
        return self.path.resolve().name

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
    """Read a run directory.

    Raises CheckpointError when it does not exist or holds none of a run's files, DataError when a prediction stands
    beside another document than the one it was made from.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such run directory; give the folder that train or eval wrote")
    if not any((path / name).is_file() for name in FILES):
        raise CheckpointError(f"{path}: not a run directory, it holds none of {', '.join(FILES)}")
    notes: list[str] = []
    predictions = _read_predictions(path / "predictions.csv", notes)
    others = {
        file.stem.removeprefix("predictions-"): _read_predictions(file, notes)
        for file in sorted(path.glob("predictions-*.csv"))
    }
    return RunFiles(
        path=path,
        config=_read_config(path / "config.yaml", notes),
        environment=_read_object(path / "environment.json", notes),
        metrics=_read_metrics(path / "metrics.jsonl", notes),
        predictions=predictions,
        others=others,
        results=_read_object(path / "results.json", notes),
        state=_read_state(path / "finished.json", notes),
        notes=tuple(notes),
    )


def finite(value: Any) -> float | None:
    """`value` as a float when it is a finite number, else None (also for booleans)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` when it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _read_config(path: Path, notes: list[str]) -> Mapping[str, Any]:
    from common.config import load_yaml

    if not path.is_file():
        notes.append(f"{path.name} is missing: the settings are not known.")
        return {}
    try:
        return load_yaml(path)
    except ConfigError as error:
        notes.append(str(error))
        return {}


def _read_object(path: Path, notes: list[str]) -> Mapping[str, Any]:
    if not path.is_file():
        meaning = "the run has not been evaluated" if path.name == "results.json" else "versions and device unknown"
        notes.append(f"{path.name} is missing: {meaning}.")
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


def _read_state(path: Path, notes: list[str]) -> Mapping[str, Any]:
    return mapping(_read_object(path, notes).get("state")) if path.is_file() else {}


def _read_metrics(path: Path, notes: list[str]) -> tuple[Mapping[str, Any], ...]:
    if not path.is_file():
        notes.append(f"{path.name} is missing: there is no training log here.")
        return ()
    rows: list[Mapping[str, Any]] = []
    damaged: list[int] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and finite(row.get("step")) is not None:
            rows.append(row)
        else:
            damaged.append(number)
    if damaged:
        notes.append(f"{path.name}: {len(damaged)} damaged rows left out, the first at line {damaged[0]}.")
    return tuple(sorted(rows, key=lambda row: row["step"]))


def _read_predictions(path: Path, notes: list[str]) -> tuple[PredictionRow, ...]:
    if not path.is_file():
        notes.append(f"{path.name} is missing: no examples can be shown.")
        return ()
    csv.field_size_limit(LONGEST_CELL)
    rows: list[PredictionRow] = []
    damaged = 0
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in ("id", "prediction") if name not in (reader.fieldnames or ())]:
                notes.append(f"{path.name}: has no column {' or '.join(missing)}, so no examples can be shown.")
                return ()
            for cells in reader:
                if any(cells[name] is None for name in reader.fieldnames or ()) or None in cells:
                    damaged += 1
                else:
                    rows.append(_prediction_row(cells))
    except (OSError, csv.Error) as error:
        notes.append(f"{path.name}: cannot be read to its end ({error}).")
    if damaged:
        notes.append(f"{path.name}: {damaged} rows with too few or too many columns left out.")
    _check_documents(path, rows)
    return tuple(rows)


def _check_documents(path: Path, rows: Sequence[PredictionRow]) -> None:
    """Raise DataError where a document is not the one whose hash its row holds."""
    changed = [row.id for row in rows if row.document and row.document_sha256 and not _is_hashed(row)]
    if changed:
        raise DataError(
            f"{path}: {len(changed)} of {len(rows)} predictions stand beside another document than they were made "
            f"from (its document_sha256 differs), the first is {changed[0]!r}; the file was changed: evaluate the run "
            "again"
        )


def _is_hashed(row: PredictionRow) -> bool:
    """Whether the hash is the document's; not known of one whose characters no CSV can hold (they became U+FFFD)."""
    return row.document_sha256 == sha256_text(row.document) or "\ufffd" in row.document


def _prediction_row(cells: Mapping[str, str]) -> PredictionRow:
    texts = {name: cells.get(name) or "" for name in TEXT_COLUMNS}
    scores = {
        name: number
        for name, text in cells.items()
        if name not in TEXT_COLUMNS and (number := _number(text)) is not None
    }
    return PredictionRow(**texts, references=_references(cells.get("references") or ""), scores=scores)


def _references(cell: str) -> tuple[str, ...]:
    try:
        found = json.loads(cell) if cell else []
    except (ValueError, RecursionError):
        return ()
    return tuple(text for text in found if isinstance(text, str)) if isinstance(found, list) else ()


def _number(text: str) -> float | None:
    try:
        return finite(float(text))
    except ValueError:
        return None
