"""Optimizer and random state on disk, as safetensors. Atomicity, hashes and the adapter belong to `common`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from common.errors import CheckpointError
from common.files import disk_error

FILE_NAME = "engine_cuda.safetensors"


def save_state(directory: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write tensors by name into an existing directory. Raises CheckpointError when it cannot be written."""
    path = directory / FILE_NAME
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}
    try:
        save_file(copies, str(path))
    except (OSError, SafetensorError) as error:
        raise disk_error(path, error, sum(value.nbytes for value in state.values())) from None


def read_state(directory: Path, expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `save_state` wrote, on the CPU, with exactly the names, shapes and dtypes of `expected`.

    Raises CheckpointError when the file is missing, damaged or belongs to another model, adapter or optimizer.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: this checkpoint was not written by the cuda engine")
    try:
        state: dict[str, torch.Tensor] = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); delete this checkpoint and resume again") from None
    for name, wanted in expected.items():
        found = state.get(name)
        if found is None or found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise CheckpointError(
                f"{path}: {name} is {'missing' if found is None else f'{found.dtype} {tuple(found.shape)}'}, this run "
                f"needs {wanted.dtype} {tuple(wanted.shape)}; resume with the model, adapter and optimizer settings "
                "the run was started with"
            )
    extra = sorted(state.keys() - expected.keys())
    if extra:
        raise CheckpointError(f"{path}: {extra[0]} does not belong to this run's optimizer")
    return state
