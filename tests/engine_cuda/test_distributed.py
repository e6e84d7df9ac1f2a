"""Two processes on loopback do what one does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cuda_sum.engine import CudaEngine
from tests.engine_cuda.cases import random_batch

WORKER = """
import json, sys
from pathlib import Path
from safetensors.numpy import save_file
from common.engine import EngineSpec, LoraSpec
from cuda_sum.engine import build
from tests.engine_cuda.cases import random_batch
engine = build(EngineSpec(Path(sys.argv[1]), quantize="none", dtype="float32", lora=LoraSpec(rank=4, alpha=8.0)))
assert engine.world_size == 2
rows = []
for step in range(3):
    batches = [random_batch(10 * step + part, scale=1 / 3) for part in range(3)]
    own = batches[:1] if engine.rank == 0 else batches[1:]  # unequal numbers of micro-batches
    stats = engine.step(own, 1e-2)
    rows.append([stats.loss_sum, stats.target_tokens, stats.grad_norm])
Path(sys.argv[2], f"rank{engine.rank}.json").write_text(json.dumps(rows))  # two ranks would tear each other's lines
save_file(engine.adapter(), f"{sys.argv[2]}/rank{engine.rank}.safetensors")
"""


@pytest.mark.slow
def test_two_ranks_with_unequal_shares_update_as_one_process(
    make_engine: Callable[..., CudaEngine], tmp_path: Path
) -> None:
    engine = make_engine()
    (tmp_path / "worker.py").write_text(WORKER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*launcher, str(tmp_path / "worker.py"), str(engine.spec.model_dir), str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    rows = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    for step in range(3):
        stats = engine.step([random_batch(10 * step + part, scale=1 / 3) for part in range(3)], 1e-2)
        for loss, tokens, norm in (rows[0][step], rows[1][step]):
            assert loss == pytest.approx(stats.loss_sum, rel=1e-5)
            assert tokens == stats.target_tokens
            assert norm == pytest.approx(stats.grad_norm, rel=1e-4)
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2)]
    for name, value in engine.adapter().items():
        assert np.array_equal(ranks[0][name], ranks[1][name])
        np.testing.assert_allclose(ranks[0][name], value, atol=2e-4)  # Adam magnifies rounding where gradients are tiny
