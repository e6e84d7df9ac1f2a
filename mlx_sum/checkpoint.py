"""Optimizer and random state on disk, as safetensors. Atomicity, hashes and the adapter belong to `common`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx

from common.errors import CheckpointError
from common.files import disk_error

FILE_NAME = "engine_mlx.safetensors"


def save_state(directory: Path, state: Mapping[str, mx.array]) -> None:
    """Write arrays by name into an existing directory. Raises CheckpointError when it cannot be written."""
    path = directory / FILE_NAME
    try:
        mx.save_safetensors(str(path), dict(state))
    except (RuntimeError, OSError) as error:
        raise disk_error(path, error, sum(value.nbytes for value in state.values())) from None


def read_state(directory: Path, expected: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """What `save_state` wrote, with exactly the names, shapes and dtypes of `expected`.

    Raises CheckpointError when the file is missing, damaged or belongs to another model, adapter or optimizer.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: this checkpoint was not written by the mlx engine")
    try:
        state = dict(mx.load(str(path)))  # type: ignore[arg-type]
        mx.eval(state)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); delete this checkpoint and resume again") from None
    for name, wanted in expected.items():
        found = state.get(name)
        if found is None or found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise CheckpointError(
                f"{path}: {name} is {'missing' if found is None else f'{found.dtype} {found.shape}'}, this run needs "
                f"{wanted.dtype} {wanted.shape}; resume with the model and adapter settings the run was started with"
            )
    extra = sorted(state.keys() - expected.keys())
    if extra:
        raise CheckpointError(f"{path}: {extra[0]} does not belong to this run's optimizer")
    return state
