"""Safetensors read and written tensor by tensor, against the safetensors package and torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.errors import ModelError
from common.export.tensor_files import PlannedTensor, find_tensors, from_float32, read_header, to_float32, write_tensors

torch = pytest.importorskip("torch")
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def _values() -> np.ndarray:
    numbers = np.random.default_rng(0).normal(size=4000).astype(np.float32)
    ties = np.array([1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8, 1.0 + 2.0**-11, 0.0, -0.0, 6.1e-5, 3e-8, 65504.0], np.float32)
    return np.concatenate([numbers, ties])


@pytest.mark.parametrize("dtype", TYPES)
def test_rounding_is_that_of_torch_bit_for_bit(dtype: str) -> None:
    values = _values()
    expected = torch.from_numpy(values).to(TYPES[dtype])
    stored = from_float32(values, dtype)
    np.testing.assert_array_equal(stored.view(np.uint8), expected.view(torch.uint8).numpy())
    np.testing.assert_array_equal(to_float32(stored, dtype), expected.float().numpy())
    assert np.isnan(to_float32(from_float32(np.array([np.nan], np.float32), dtype), dtype)).all()


def test_a_value_too_large_for_float16_is_refused_with_a_remedy() -> None:
    with pytest.raises(ModelError, match=r"7e\+04 does not fit into float16.*--dtype bfloat16"):
        from_float32(np.array([1.0, 7e4], np.float32), "F16")


@pytest.mark.parametrize("shard_bytes", [10**9, 3000])
def test_written_files_are_read_back_by_the_safetensors_package(tmp_path: Path, shard_bytes: int) -> None:
    from safetensors.torch import load_file

    generator = np.random.default_rng(1)
    tensors = {f"layer.{i}.weight": generator.normal(size=(20, 30 + i)).astype(np.float32) for i in range(4)}
    planned = [PlannedTensor(name, "BF16", value.shape) for name, value in tensors.items()]
    write_tensors(tmp_path, planned, tensors.__getitem__, shard_bytes)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == (1 if shard_bytes > 3000 else 2)
    loaded = {name: value for file in files for name, value in load_file(file).items()}
    assert {name: value.dtype for name, value in loaded.items()} == dict.fromkeys(tensors, torch.bfloat16)
    ours = find_tensors(tmp_path)
    for name, value in tensors.items():
        expected = torch.from_numpy(value).bfloat16().float().numpy()
        np.testing.assert_array_equal(loaded[name].float().numpy(), expected)
        np.testing.assert_array_equal(ours[name].float32(), expected)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ModelError, match=r"model-00001-of-00002\.safetensors is missing"):
        find_tensors(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 64,
        (2**40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (66).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'.ljust(66),
        (66).to_bytes(8, "little") + b'{"a":{"dtype":"F99","shape":[0],"data_offsets":[0,0]}}'.ljust(66),
        (66).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}'.ljust(66) + b"1234",
    ],
)
def test_a_damaged_file_is_an_expected_failure(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is not a readable safetensors file"):
        read_header(path)
