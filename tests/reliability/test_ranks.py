"""Several processes of one run: rank 0 alone locks, writes and scores, and the others do not get in its way."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.model.adapter import read_adapter
from tests.reliability.conftest import comparable_metrics


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def launcher(engine: str, directory: Path) -> list[str]:
    """What starts two processes on one machine, as docs/linux.md says."""
    if engine == "cuda":
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    script = str(Path(sys.executable).parent / "mlx.launch")
    processes = ["-n", "2", "--backend", "ring", "-p", str(free_port()), "--cwd", str(directory)]
    return [script, *processes, "--", sys.executable, "-m"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["cuda", "mlx"])
def test_two_processes_as_the_launcher_starts_them_make_one_run(engine, tmp_path, tiny_model, tiny_data):
    root = Path(__file__).parents[2]

    def train(run: str, command: list[str]) -> None:
        arguments = [f"{engine}_sum.train", "--data", tiny_data, "--model", tiny_model, "--run", tmp_path / run,
                     "--steps", 3, "--max-length", 192, "--batch-size", 4, "--save-every", 1, "--quantize", "none",
                     "--test-limit", 2, "--base-template", "same", "--max-new-tokens", 4, "--dtype", "float32",
                     "--micro-batch-tokens", 256]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, *map(str, arguments)], cwd=root, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]

    train("two", launcher(engine, root))
    train("one", [sys.executable, "-m"])
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
