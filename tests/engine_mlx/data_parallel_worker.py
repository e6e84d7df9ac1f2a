"""What each process of test_distributed.py runs: a few steps on this rank's share; the adapter and losses go to disk.

Usage: python -m tests.engine_mlx.data_parallel_worker MODEL_DIRECTORY OUTPUT_DIRECTORY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from common.data.batching import build_step
from mlx_sum.engine import build
from tests.contract.cases import exact_spec, random_examples


def main(model_dir: Path, output: Path) -> None:
    engine = build(exact_spec(model_dir))
    losses = []
    for seed in range(4):
        examples = random_examples(5, seed=seed)  # an odd number: ranks hold different numbers of target tokens
        batches = build_step(examples, 100, pad_id=0, rank=engine.rank, world_size=engine.world_size)
        stats = engine.step(batches, 1e-2)
        losses.append([stats.loss_sum, stats.target_tokens, stats.grad_norm])
    name = f"{engine.world_size}-{engine.rank}"
    np.savez(output / f"{name}.npz", **engine.adapter())  # type: ignore[arg-type]
    (output / f"{name}.json").write_text(json.dumps(losses), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
