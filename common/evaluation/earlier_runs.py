"""Summaries of an earlier run on the documents that another one is scored on: read where they are there, else made.

Summaries are taken from the run's predictions.csv only where it holds every document, by id and hash, and is not
older than the run's adapter. Knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from common.errors import ConfigError
from common.files import sha256_text
from common.progress import note
from common.run.directory import RunDirectory
from common.run.predictions import PredictionRow, read_predictions
from common.types import Example, Prediction, StopReason

RESERVED = ("tuned", "base", "lead1", "lead3", "random", "oracle")
STOP_REASONS = ("eos", "length", "error")


def name_runs(paths: Sequence[Path], own: Path) -> dict[str, Path]:
    """Earlier runs under the names that they have in results: those of their folders.

    Raises ConfigError where two share a name, one has that of another system, or one is the run itself.
    """
    named: dict[str, Path] = {}
    for path in paths:
        name = path.resolve().name
        if path.resolve() == own.resolve():
            raise ConfigError(f"--beside {path}: that is the run being scored; name another one")
        if name in named or name in RESERVED:
            taken = f"like {named[name]}" if name in named else "like a system that is scored anyway"
            raise ConfigError(f"--beside {path}: its folder is named {name!r}, {taken}; rename the folder")
        if not path.is_dir():
            raise ConfigError(f"--beside {path}: no such run directory")
        named[name] = path
    return named


def earlier_predictions(path: Path, examples: Sequence[Example], engine: str = "auto") -> list[Prediction]:
    """The summaries by the run at `path` of these examples, in order.

    Generated again, with the run's own prompt and limits, where its predictions.csv does not serve. Raises
    CheckpointError, ModelError, AdapterError or EngineError where the run cannot be loaded.
    """
    stored = stored_predictions(path, examples)
    if stored is not None:
        note(f"{path}: summaries of these documents taken from its predictions.csv")
        return stored
    from common.evaluation.evaluate import generate_predictions
    from common.run.loaded_run import load_run
    from common.run.preparation import generation_spec

    loaded = load_run(path, engine)
    spec = generation_spec(loaded.config, loaded.prompt_format.eos_ids)
    return generate_predictions(loaded.engine, loaded.prompt_format, examples, spec, f"summaries ({path.name})")


def stored_predictions(path: Path, examples: Sequence[Example]) -> list[Prediction] | None:
    """Summaries from predictions.csv where it holds all of these documents and the adapter is not newer; else None."""
    file, adapter = RunDirectory(path).predictions, RunDirectory(path).adapter / "adapter_model.safetensors"
    if not file.is_file() or (adapter.is_file() and adapter.stat().st_mtime > file.stat().st_mtime):
        return None
    rows: dict[str, PredictionRow] = {row.id: row for row in read_predictions(file)[0]}
    found = []
    for example in examples:
        row = rows.get(example.id)
        if row is None or row.document_sha256 != sha256_text(example.document) or row.stop_reason not in STOP_REASONS:
            return None
        reason = cast(StopReason, row.stop_reason)
        found.append(Prediction(example.id, row.document_sha256, row.prediction, reason))
    return found
