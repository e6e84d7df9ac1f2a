"""Several processes of one run: rank 0 alone locks, writes and scores, and the others do not get in its way."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from common.adapter import read_adapter
from tests.reliability.conftest import comparable_metrics


@pytest.mark.slow
def test_two_processes_as_torchrun_starts_them_make_one_run(tmp_path, tiny_model, tiny_data):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def start(run, **launched):
        arguments = ["--data", tiny_data, "--model", tiny_model, "--run", run, "--steps", 3, "--max-length", 192,
                     "--batch-size", 4, "--save-every", 1, "--quantize", "none", "--test-limit", 2,
                     "--base-template", "same", "--max-new-tokens", 4, "--dtype", "float32",
                     "--micro-batch-tokens", 256]  # fmt: skip
        command = [sys.executable, "-m", "cuda_sum.train", *map(str, arguments)]
        return subprocess.Popen(command, env={**os.environ, **launched}, stderr=subprocess.PIPE, text=True)

    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [start(tmp_path / "two", RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(2)]
    said = [process.communicate(timeout=300)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(said)
    alone = start(tmp_path / "one")
    assert alone.communicate(timeout=300)[1] is not None
    assert alone.returncode == 0
    two, one = comparable_metrics(tmp_path / "two"), comparable_metrics(tmp_path / "one")
    assert [row["step"] for row in two] == [1, 2, 3]
    for row, other in zip(two, one, strict=True):
        assert row["target_tokens"] == other["target_tokens"]
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
    weights = read_adapter(tmp_path / "one" / "adapter").weights
    for name, value in read_adapter(tmp_path / "two" / "adapter").weights.items():
        assert np.allclose(value, weights[name], atol=1e-4), name
    assert (tmp_path / "two" / "results.json").is_file()
    assert (tmp_path / "two" / "report.html").is_file()
