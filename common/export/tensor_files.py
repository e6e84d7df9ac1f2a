"""Safetensors files read and written one tensor at a time, so that a 7B model needs the memory of one tensor.

The safetensors package's numpy side has no bfloat16; here a bfloat16 tensor is its 16-bit patterns (uint16), turned
into float32 by a shift. Knows the file format and dtypes, nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import ModelError

INDEX_NAME = "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself
_NUMPY_TYPES: dict[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "|b1",
}  # fmt: skip
STORED_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: file, byte offset, safetensors dtype (`F16`, `BF16`, …) and shape."""

    file: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * np.dtype(_NUMPY_TYPES[self.dtype]).itemsize

    def raw(self) -> np.ndarray:
        """The values as stored (bfloat16 as uint16 bit patterns), read into memory."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.bytes)
        if len(data) != self.bytes:
            raise ModelError(f"{self.file} ends too early; it is damaged, download or copy it again")
        return np.frombuffer(data, _NUMPY_TYPES[self.dtype]).reshape(self.shape)

    def float32(self) -> np.ndarray:
        """The values as float32. Exact for every 16-bit type."""
        return to_float32(self.raw(), self.dtype)


def find_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Every tensor of a model directory by name. Raises ModelError when a file is missing or damaged."""
    index = directory / INDEX_NAME
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{index} cannot be read ({error!r})") from None
        files = [directory / str(name) for name in names]
    else:
        files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{directory} holds no .safetensors weights")
    found: dict[str, StoredTensor] = {}
    for file in files:
        found.update(read_header(file))
    return found


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file by name. Raises ModelError when it is missing or damaged."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
                raise ValueError(f"its header would be {length} bytes long")
            header = json.loads(file.read(length))
        found = {
            str(name): _stored(path, 8 + length, size, entry)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except FileNotFoundError:
        raise ModelError(f"{path} is missing, though the model's index names it; download the model again") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not a readable safetensors file ({error})") from None
    return found


def _stored(path: Path, start: int, size: int, entry: Mapping[str, Any]) -> StoredTensor:
    begin, end = (int(value) for value in entry["data_offsets"])
    tensor = StoredTensor(path, start + begin, str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
    if tensor.dtype not in _NUMPY_TYPES:
        raise ValueError(f"dtype {tensor.dtype} is not supported")
    if begin < 0 or end - begin != tensor.bytes or start + end > size:
        raise ValueError("its header does not agree with its length")
    return tensor


def to_float32(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Stored values as float32; `BF16` bit patterns become the upper half of a float32."""
    if dtype == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32)


def from_float32(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float32 rounded to the nearest (ties to even) `F32`, `F16` or `BF16` value, as stored.

    Raises ModelError where a finite value would become infinite (float16 ends at 65504).
    """
    if dtype == "F32":
        return values.astype("<f4")
    if dtype == "BF16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        quiet = (bits >> 16) | 0x40
        return np.where(np.isnan(values), quiet, rounded).astype("<u2")
    with np.errstate(over="ignore"):
        halves = values.astype("<f2")
    if np.isinf(halves).any() and np.isfinite(values).all():
        raise ModelError(
            f"a weight of size {np.abs(values).max():.3g} does not fit into float16 (at most 65504); "
            "export with --dtype bfloat16"
        )
    return halves


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor to be written: its name, safetensors dtype and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * np.dtype(_NUMPY_TYPES[self.dtype]).itemsize


def write_tensors(
    directory: Path,
    planned: Sequence[PlannedTensor],
    values: Callable[[str], np.ndarray],
    shard_bytes: int = 4_000_000_000,
) -> None:
    """Write `model.safetensors`, or numbered shards with an index where they exceed `shard_bytes`.

    `values(name)` gives a tensor's float32 values when its turn comes; only one tensor is held at a time.
    """
    shards = _split(planned, shard_bytes)
    if len(shards) == 1:
        _write_file(directory / "model.safetensors", shards[0], values)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(directory / file_name, shard, values)
        weight_map.update({tensor.name: file_name for tensor in shard})
    index = {"metadata": {"total_size": sum(tensor.bytes for tensor in planned)}, "weight_map": weight_map}
    (directory / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _split(planned: Sequence[PlannedTensor], shard_bytes: int) -> list[list[PlannedTensor]]:
    shards: list[list[PlannedTensor]] = [[]]
    filled = 0
    for tensor in planned:
        if shards[-1] and filled + tensor.bytes > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += tensor.bytes
    return shards


def _write_file(path: Path, planned: Sequence[PlannedTensor], values: Callable[[str], np.ndarray]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in planned:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.bytes],
        }
        offset += tensor.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in planned:
            raw = from_float32(values(tensor.name), tensor.dtype)
            if raw.shape != tensor.shape:
                raise ValueError(f"{tensor.name}: planned as {tensor.shape}, got {raw.shape}")
            file.write(np.ascontiguousarray(raw).tobytes())
