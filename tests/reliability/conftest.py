"""Tiny models, data and settings of the journey tests, and disks that can be filled."""

import dataclasses
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from common.model.adapter import read_adapter
from common.run.directory import RunDirectory
from tests.journey.conftest import tiny_config, tiny_data, tiny_model  # noqa: F401 - fixtures

TIMES_AND_MEMORY = {"tokens_per_second", "peak_memory_bytes", "eval_seconds"}


def comparable_metrics(run: Path) -> list[dict]:
    rows = RunDirectory(run).read_metrics()
    return [{name: value for name, value in row.items() if name not in TIMES_AND_MEMORY} for row in rows]


def assert_same_run(first: Path, second: Path) -> None:
    """Bit-identical adapters, equal metrics but for times and memory."""
    assert comparable_metrics(first) == comparable_metrics(second)
    assert comparable_metrics(first)
    for name, value in read_adapter(first / "adapter").weights.items():
        assert np.array_equal(value, read_adapter(second / "adapter").weights[name]), name


@contextmanager
def mounted_disk(place: Path, size: int):
    """A tmpfs of `size` bytes at `place`. Skips where this user may not mount."""
    place.mkdir()
    answer = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        pytest.skip(f"a small disk needs the right to mount ({answer.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True, capture_output=True)


def cover_read_only(place: Path) -> None:
    """Turn the disk at `place` read-only for all that is opened from now on, also while a file is open for writing
    there (a lock, say) and a remount is refused. `uncover` ends it.
    """
    subprocess.run(["mount", "--bind", str(place), str(place)], check=True, capture_output=True)
    remount(place, "bind,ro")


def uncover(place: Path) -> None:
    subprocess.run(["umount", str(place)], check=True, capture_output=True)


@pytest.fixture
def at_step(monkeypatch):
    """Have something happen right after the metrics of a step were written."""
    import common.train.training as training

    original = training.make_hooks

    def arrange(step: int, action) -> None:
        def hooks(*arguments):
            return dataclasses.replace(
                original(*arguments), track=lambda row: action() if row["step"] == step else None
            )

        monkeypatch.setattr(training, "make_hooks", hooks)

    yield arrange
    monkeypatch.undo()
