"""Checkpoints: complete or absent, checked by hash, newest good one found, old ones pruned last.

A checkpoint directory `step-N` holds the adapter in PEFT layout, the best adapter so far, the engine's own state
(optimizer, random numbers), `state.json` and `manifest.json` with size and SHA-256 of every file. Knows nothing
of what the engine writes.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.engine import Engine, LoraSpec
from common.errors import AdapterError, CheckpointError, NonFiniteError
from common.files import PARTIAL, remove, sha256_file, write_atomically, write_json
from common.model.adapter import CONFIG_NAME, WEIGHTS_NAME, read_adapter, write_adapter
from common.progress import note
from common.types import TrainState

MANIFEST = "manifest.json"
VISIBLE_SECONDS = 60
_NAME = re.compile(r"^step-(\d+)$", re.ASCII)
_DAMAGED = re.compile(r"^damaged-step-(\d+)$", re.ASCII)
_REQUIRED = ("state.json", f"adapter/{CONFIG_NAME}", f"adapter/{WEIGHTS_NAME}")


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
    """Write `folder/step-N` atomically, then prune all but the newest `keep`.

    Raises CheckpointError when it cannot be written (older checkpoints stay as they are), NonFiniteError for an
    adapter that holds NaN or infinite values.
    """
    if not folder.parent.is_dir():
        raise CheckpointError(
            f"{folder.parent} has vanished (deleted, or its drive was unmounted); bring it back, then continue the run "
            "with --resume"
        )
    target = folder / f"step-{state.step}"
    adapter = engine.adapter()
    spoiled = [name for name, value in adapter.items() if not np.isfinite(value).all()]
    if spoiled:
        raise NonFiniteError(
            f"step {state.step}: the adapter holds NaN or infinite values ({spoiled[0]}) and is not saved; "
            "the checkpoints before it stay"
        )

    def write(directory: Path) -> None:
        directory.mkdir()
        write_adapter(directory / "adapter", adapter, lora, base_model)
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

    write_atomically(target, write, checkpoint_bytes(engine.trainable_parameters, best is not None))
    _wait_until_visible(target / MANIFEST)
    _prune(folder, state.step, keep)
    return target


def checkpoint_bytes(trainable_parameters: int, with_best: bool = True) -> int:
    """About how large a checkpoint is: float32 adapter, AdamW's two moments, the best adapter, and small files."""
    return 4 * trainable_parameters * (4 if with_best else 3) + 65536


def _wait_until_visible(path: Path) -> None:
    """Network drives may show a renamed directory late; nothing older may be removed before it is there."""
    for _ in range(VISIBLE_SECONDS * 10):
        if path.is_file():
            return
        time.sleep(0.1)
    raise CheckpointError(
        f"{path} was written and renamed but cannot be seen after {VISIBLE_SECONDS} s; "
        "choose a --run directory on another drive"
    )


def _prune(folder: Path, step: int, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and damaged ones that are now replaced. Never fatal."""
    damaged = [path for number, path in _numbered(folder, _DAMAGED) if number <= step]
    for path in [*(path for _, path in _numbered(folder)[:-keep]), *damaged]:
        hidden = path.with_name(f".{path.name}{PARTIAL}")  # a half-removed one must not be taken for a checkpoint
        try:
            path.rename(hidden)
            remove(hidden)
        except OSError as error:
            note(f"warning: {path}: an old checkpoint cannot be removed ({error.strerror}); remove it by hand")


def set_damaged_aside(folder: Path, step: int) -> None:
    """Rename checkpoints past `step`, the newest undamaged one, to `damaged-step-N`: they are not to count as kept."""
    for number, path in _numbered(folder):
        if number > step:
            aside = path.with_name(f"damaged-{path.name}")
            remove(aside)
            path.rename(aside)
            note(f"{path} is damaged and was renamed to {aside.name}; it is removed when training has passed it")


def _numbered(folder: Path, pattern: re.Pattern[str] = _NAME) -> list[tuple[int, Path]]:
    """Checkpoint directories by rising step."""
    if not folder.is_dir():
        return []
    matches = [(match, path) for path in folder.iterdir() if (match := pattern.match(path.name)) and path.is_dir()]
    return sorted((int(match.group(1)), path) for match, path in matches)


def find_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest undamaged checkpoint, and one line for each damaged one that was passed over."""
    problems: list[str] = []
    for _, directory in reversed(_numbered(folder)):
        try:
            return load_checkpoint(directory), problems
        except CheckpointError as error:
            problems.append(f"{error}; it is passed over")
    return None, problems


def load_checkpoint(directory: Path) -> Checkpoint:
    """Read and verify a checkpoint. Raises CheckpointError naming the damaged file."""
    verify_manifest(directory)
    try:
        values = json.loads((directory / "state.json").read_text(encoding="utf-8"))
        state = _checked(TrainState(**values))
        adapter = read_adapter(directory / "adapter").weights
        best = read_adapter(directory / "best").weights if (directory / "best").is_dir() else None
    except (OSError, ValueError, TypeError, AdapterError) as error:
        raise CheckpointError(f"{directory}: damaged checkpoint ({error})") from None
    return Checkpoint(directory, state, adapter, best)


def _checked(state: TrainState) -> TrainState:
    """The state as it is. Raises ValueError where a value has another type than training writes."""
    for field in dataclasses.fields(TrainState):
        value = getattr(state, field.name)
        if field.name == "best_value":
            good = value is None or type(value) in (int, float)
        elif field.name == "unlogged":
            good = type(value) is dict and all(type(part) in (int, float) for part in value.values())
        elif field.name == "seconds":
            good = type(value) in (int, float) and value >= 0
        else:
            good = type(value) is int and value >= 0
        if not good:
            raise ValueError(f"state.json: {field.name} is {value!r}")
    return state


def verify_manifest(directory: Path) -> None:
    """Compare every file with the manifest. Raises CheckpointError naming the first that differs."""
    path = directory / MANIFEST
    try:
        files: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["files"]
        entries = [(name, int(entry["bytes"]), str(entry["sha256"])) for name, entry in files.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged manifest ({error})") from None
    unlisted = [name for name in _REQUIRED if name not in files]
    if unlisted:
        raise CheckpointError(f"{path}: damaged manifest ({unlisted[0]} is not listed)")
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
