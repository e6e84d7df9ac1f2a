"""Over a hundred SIGKILLs at random moments of a whole training journey, on both engines, each run compared at its end.

    python benchmarks/kill_and_resume.py [--kills-per-engine 55] [--seed 7]

A run that was killed and resumed until it ended has to equal the uninterrupted one: adapter, optimizer state and
predictions byte for byte, metrics and results but for times and memory. Any difference is an error.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import headline, write_result

ENGINES = ("cuda", "mlx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills-per-engine", type=int, default=55)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    rows = []
    for engine in ENGINES:
        command = [sys.executable, "-m", "tests.reliability.killing", "--engine", engine]
        command += ["--kills", str(options.kills_per_engine), "--seed", str(options.seed)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(answer.stdout))
        print(json.dumps(rows[-1]))
    kills = sum(row["kills"] for row in rows)
    write_result(
        "kill_and_resume",
        f"python benchmarks/kill_and_resume.py --kills-per-engine {options.kills_per_engine} --seed {options.seed}",
        rows,
        headline("kills after which the run ended bit for bit like the uninterrupted one", kills, kills, "all kills"),
        packages=("numpy", "torch", "transformers", "peft", "mlx", "mlx-lm"),
    )


if __name__ == "__main__":
    main()
