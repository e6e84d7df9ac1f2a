"""An engine's state, optimizer and step count, on disk as safetensors. Atomicity and hashes belong to `common.run`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import CheckpointError
from common.files import disk_error


def state_file(directory: Path, engine: str) -> Path:
    """The file of an engine's state in a checkpoint."""
    return directory / f"engine_{engine}.safetensors"


def save_state(directory: Path, engine: str, state: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name into an existing directory. Raises CheckpointError when it cannot be written."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = state_file(directory, engine)
    try:
        save_file({name: np.ascontiguousarray(value).reshape(value.shape) for name, value in state.items()}, path)
    except (OSError, SafetensorError) as error:
        raise disk_error(path, error, sum(value.nbytes for value in state.values())) from None


def read_state(
    directory: Path, engine: str, expected: Mapping[str, Any], former: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """What `save_state` wrote, with the names, shapes and dtypes of `expected`, arrays of any library.

    `former` are names that earlier versions wrote; they are left out. Raises CheckpointError when the file is missing,
    damaged or belongs to another model, adapter or optimizer.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = state_file(directory, engine)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: this checkpoint was not written by the {engine} engine")
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); delete this checkpoint and resume again") from None
    for name, wanted in expected.items():
        found = state.get(name)
        if found is None or _kind(found) != _kind(wanted):
            raise CheckpointError(
                f"{path}: {name} is {'missing' if found is None else _kind(found)}, this run needs {_kind(wanted)}; "
                "resume with the model, adapter and optimizer settings the run was started with"
            )
    extra = sorted(state.keys() - expected.keys() - set(former))
    if extra:
        raise CheckpointError(f"{path}: {extra[0]} does not belong to this run's optimizer")
    return {name: state[name] for name in expected}


def _kind(value: Any) -> str:
    """`float32 (16, 64)` of a numpy, torch or mlx array."""
    return f"{str(value.dtype).rsplit('.', 1)[-1]} {tuple(value.shape)}"
