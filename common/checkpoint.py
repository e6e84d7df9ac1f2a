"""Checkpoints: complete or absent, checked by hash, newest good one found, old ones pruned last.

A checkpoint directory `step-N` holds the adapter in PEFT layout, the best adapter so far, the engine's own state
(optimizer, random numbers), `state.json` and `manifest.json` with size and SHA-256 of every file. Knows nothing
of what the engine writes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.adapter import read_adapter, write_adapter
from common.engine import Engine, LoraSpec
from common.errors import AdapterError, CheckpointError
from common.files import remove, sha256_file, write_atomically, write_json
from common.types import TrainState

MANIFEST = "manifest.json"
_NAME = re.compile(r"^step-(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files were read and match their manifest. `best` is None where no adapter was chosen yet."""

    directory: Path
    state: TrainState
    adapter: dict[str, np.ndarray]
    best: dict[str, np.ndarray] | None


def save_checkpoint(
    folder: Path,
    state: TrainState,
    engine: Engine,
    lora: LoraSpec,
    base_model: str,
    best: Mapping[str, np.ndarray] | None,
    keep: int,
) -> Path:
    """Write `folder/step-N` atomically, then prune all but the newest `keep`. Raises CheckpointError."""
    target = folder / f"step-{state.step}"

    def write(directory: Path) -> None:
        directory.mkdir()
        write_adapter(directory / "adapter", engine.adapter(), lora, base_model)
        if best is not None:
            write_adapter(directory / "best", best, lora, base_model)
        engine.save(directory)
        write_json(directory / "state.json", dataclasses.asdict(state))
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        manifest = {
            str(path.relative_to(directory)): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for path in files
        }
        write_json(directory / MANIFEST, {"step": state.step, "files": manifest})

    write_atomically(target, write)
    for _, old in _numbered(folder)[:-keep]:
        remove(old)
    return target


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoint directories by rising step."""
    if not folder.is_dir():
        return []
    matches = [(match, path) for path in folder.iterdir() if (match := _NAME.match(path.name)) and path.is_dir()]
    return sorted((int(match.group(1)), path) for match, path in matches)


def find_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest undamaged checkpoint, and one line for each damaged one that was passed over."""
    problems: list[str] = []
    for _, directory in reversed(_numbered(folder)):
        try:
            return load_checkpoint(directory), problems
        except CheckpointError as error:
            problems.append(f"{error}; the one before it is used")
    return None, problems


def load_checkpoint(directory: Path) -> Checkpoint:
    """Read and verify a checkpoint. Raises CheckpointError naming the damaged file."""
    verify_manifest(directory)
    try:
        values = json.loads((directory / "state.json").read_text(encoding="utf-8"))
        state = TrainState(**values)
        adapter = read_adapter(directory / "adapter").weights
        best = read_adapter(directory / "best").weights if (directory / "best").is_dir() else None
    except (OSError, ValueError, TypeError, AdapterError) as error:
        raise CheckpointError(f"{directory}: damaged checkpoint ({error})") from None
    return Checkpoint(directory, state, adapter, best)


def verify_manifest(directory: Path) -> None:
    """Compare every file with the manifest. Raises CheckpointError naming the first that differs."""
    path = directory / MANIFEST
    try:
        files: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["files"]
        entries = [(name, int(entry["bytes"]), str(entry["sha256"])) for name, entry in files.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged manifest ({error})") from None
    for name, size, digest in entries:
        file = directory / name
        if ".." in Path(name).parts or Path(name).is_absolute() or not file.is_file():
            raise CheckpointError(f"{file}: missing from the checkpoint")
        if file.stat().st_size != size or sha256_file(file) != digest:
            raise CheckpointError(f"{file}: damaged, its bytes differ from the manifest")


def restore_engine(engine: Engine, checkpoint: Checkpoint) -> None:
    """Put adapter, optimizer and random state of a checkpoint into the engine."""
    engine.load_adapter(checkpoint.adapter)
    engine.restore(checkpoint.directory)
