"""Two processes started by mlx.launch are one: same losses, same adapter."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_sum.distributed import join_group, sum_over_ranks
from tests.contract.cases import ModelDir, largest_difference

WORKER = "tests.engine_mlx.data_parallel_worker"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_alone_sums_are_what_they_were() -> None:
    gradients = {"a": mx.array([1.0, 2.0]), "b": mx.array([[3.0]])}
    summed, loss, count = sum_over_ranks(join_group(), gradients, mx.array(4.5), 7)
    assert summed == gradients
    assert (loss.item(), count.item()) == (4.5, 7)


@pytest.mark.slow
def test_two_processes_train_as_one(tiny_model: ModelDir, tmp_path: Path) -> None:
    worker = [sys.executable, "-m", WORKER, str(tiny_model("qwen2")), str(tmp_path)]
    launcher = [str(Path(sys.executable).parent / "mlx.launch"), "-n", "2", "--backend", "ring"]
    root = Path(__file__).parents[2]
    subprocess.run(worker, cwd=root, check=True, timeout=300)
    subprocess.run([*launcher, "-p", str(free_port()), "--cwd", str(root), *worker], cwd=root, check=True, timeout=300)

    def results(name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        with np.load(tmp_path / f"{name}.npz") as stored:
            return np.array(json.loads((tmp_path / f"{name}.json").read_text())), dict(stored)

    alone, first, second = results("1-0"), results("2-0"), results("2-1")
    assert np.array_equal(first[0], second[0]), "both ranks see the sums"
    np.testing.assert_allclose(first[0], alone[0], rtol=1e-4)
    assert largest_difference(first[1], second[1]) == 0
    assert largest_difference(first[1], alone[1]) < 1e-3
    assert alone[0][-1][0] != pytest.approx(alone[0][0][0], rel=0.05), "training must move"
