"""2,000 optimizer steps with evaluations and checkpoints: resident memory, open files and step time have to stay flat.

    python benchmarks/soak.py --engine cuda|mlx [--steps 2000]

A tiny model, so that whatever the loop, the data pipeline or the engine leaks stands out. Step times are processor
time, which other work on the machine changes least. Exits 1 where memory grows by 1 MB per 100 steps or more, the
number of open files changes, or steps get slower by a tenth.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import common.train.training as training
from benchmarks.record import headline, write_result
from common import config as configuration
from tests.journey.conftest import rows as documents
from tests.tiny_models import build_tiny_model, build_tiny_tokenizer

WARM_UP = 400
EVERY = 50  # steps between evaluations, and between checkpoints
ALLOWED_MB_PER_100_STEPS = 1.0
ALLOWED_SLOWDOWN = 1.10


def train(engine: str, steps: int, folder: Path) -> list[dict[str, float]]:
    """One run; returns resident bytes, open files and processor seconds at every tenth step."""
    data, model, run = folder / "data", folder / "model", folder / "run"
    data.mkdir()
    for name, count, offset in (("train", 64, 0), ("dev", 8, 100)):
        lines = "".join(json.dumps(row) + "\n" for row in documents(count, offset))
        (data / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    build_tiny_model(model, "qwen2")
    build_tiny_tokenizer(model)
    flags = {
        "data": str(data), "model": str(model), "run": str(run), "max_length": 192, "batch_size": 4, "steps": steps,
        "eval_every": EVERY, "save_every": EVERY, "eval_rouge": 2, "max_new_tokens": 8, "learning_rate": 1e-4,
        "dropout": 0.1, "final_eval": False, "duplicates": "keep", "leaks": "keep",
    }  # fmt: skip
    process, samples, original = psutil.Process(), [], training.make_hooks

    def sample(row: dict[str, Any]) -> None:
        if row["step"] % 10 == 0:
            facts = {"step": row["step"], "rss": process.memory_info().rss, "files": process.num_fds()}
            samples.append({**facts, "cpu": time.process_time()})

    def hooks(*arguments: Any) -> Any:
        return dataclasses.replace(original(*arguments), track=sample)

    training.make_hooks = hooks
    training.train_run(configuration.resolve(configuration.from_flags(flags)), run, False, engine)
    return samples


def summary(engine: str, samples: list[dict[str, float]]) -> dict[str, Any]:
    """Slope of memory after the warm-up, spread of open files, and late against early processor time per step."""
    late = [sample for sample in samples if sample["step"] >= WARM_UP]
    steps = np.array([sample["step"] for sample in late], float)
    memory = np.array([sample["rss"] for sample in late]) / 1e6
    used = np.array([sample["cpu"] for sample in late])
    per_step = np.diff(used) / np.diff(steps)
    third = len(per_step) // 3
    early, last = float(np.median(per_step[:third])), float(np.median(per_step[-third:]))
    files = [int(sample["files"]) for sample in late]
    return {
        "engine": engine,
        "steps": int(samples[-1]["step"]),
        "evaluations_and_checkpoints": int(samples[-1]["step"]) // EVERY,
        "rss_mb_after_warm_up": round(float(memory[0]), 1),
        "rss_mb_at_the_end": round(float(memory[-1]), 1),
        "rss_mb_per_100_steps": round(float(np.polyfit(steps, memory, 1)[0]) * 100, 4),
        "open_files": [min(files), max(files)],
        "cpu_ms_per_step_early": round(early * 1e3, 2),
        "cpu_ms_per_step_late": round(last * 1e3, 2),
        "slowdown": round(last / early, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("cuda", "mlx"), required=True)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    os.environ["SUMKIT_QUIET"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        row = summary(options.engine, train(options.engine, options.steps, Path(folder)))
    print(json.dumps(row, indent=2))
    slope = row["rss_mb_per_100_steps"]
    write_result(
        f"soak_{options.engine}",
        f"python benchmarks/soak.py --engine {options.engine} --steps {options.steps}",
        [row],
        headline("resident MB per 100 steps (allowed against measured)", max(slope, 1e-4), ALLOWED_MB_PER_100_STEPS,
                 "allowed", lower_is_better=True),
        packages=("numpy", "torch", "transformers", "mlx", "mlx-lm"),
    )  # fmt: skip
    flat = slope < ALLOWED_MB_PER_100_STEPS and row["open_files"][0] == row["open_files"][1]
    sys.exit(0 if flat and row["slowdown"] < ALLOWED_SLOWDOWN else 1)


if __name__ == "__main__":
    main()
