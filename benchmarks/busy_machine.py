"""Training and generation on a CPU beside processes that compute: how much of the quiet speed is left.

    python -m benchmarks.busy_machine [--model smollm2-135m] [--turns 5] [--busy 0 1 2] [--steps 2] [--tokens 24]

Sides, each a process that stays loaded and takes turns with the others: OpenMP as the libraries come (a waiting thread
spins for milliseconds), as sumkit sets it, with threads that sleep at once, and one thread. `--busy` is the number of
other processes that do nothing but compute. Run it on a machine that is otherwise quiet: the load before it began is
written into the result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_environment import TurnSide
from benchmarks.peers.turns import tell, wait_for_turn
from benchmarks.record import RESULTS, headline, median, write_result
from common.data.batching import build_step
from common.engine import EngineSpec, GenerationSpec, LoraSpec, load_engine
from common.model.models import resolve_model
from common.process.threads import CHOICES
from common.types import IGNORED_LABEL, EncodedExample

OURS, PEER = "sumkit's default", "libraries' default"
SIDES: dict[str, dict[str, str]] = {
    PEER: {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"},  # what libgomp and LLVM's libomp take unasked
    OURS: {},
    "sleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
ROWS, LENGTH, TARGETS, PROMPT = 4, 200, 30, 100
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(1_000_000))"


def side(spec: dict[str, Any]) -> None:
    """In a process of its own: the seconds of some steps and of one text, each time that it gets a turn."""
    engine = load_engine(
        "cuda", EngineSpec(Path(spec["model"]), quantize="none", dtype="float32", lora=LoraSpec(rank=16, alpha=32.0))
    )
    generator = np.random.default_rng(0)
    rows = []
    for number in range(ROWS):
        tokens = generator.integers(0, 256, LENGTH).astype(np.int32)
        labels = np.where(np.arange(LENGTH) < LENGTH - TARGETS, IGNORED_LABEL, tokens).astype(np.int32)
        rows.append(EncodedExample(str(number), tokens, labels))
    batches = build_step(rows, ROWS * LENGTH, pad_id=0)
    engine.step(batches, 1e-6)
    while True:
        wait_for_turn()
        began = time.perf_counter()
        for _ in range(spec["steps"]):
            engine.step(batches, 1e-6)
        trained = time.perf_counter()
        engine.generate([rows[0].tokens[:PROMPT].tolist()], GenerationSpec(eos_ids=(), max_new_tokens=spec["tokens"]))
        tell({"training": trained - began, "generation": time.perf_counter() - trained})


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """`count` processes that compute, and end with this one however it ends."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    """Measure every side beside every number of busy processes, in turns; write the result."""
    options = parse()
    load = os.getloadavg()[0]
    model = resolve_model(options.model)
    for variable in CHOICES:
        os.environ.pop(variable, None)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        spec = json.dumps({"model": str(model.directory), "steps": options.steps, "tokens": options.tokens})
        command = [sys.executable, "-m", "benchmarks.busy_machine", "--side", spec]
        sides: dict[str, TurnSide] = {}
        for side_name in options.sides:
            sides[side_name] = TurnSide(command, Path(name) / "side.log", SIDES[side_name])
            stack.callback(sides[side_name].stop)
            sides[side_name].wait()
        rows = [row for busy in options.busy for row in measure(sides, busy, options.turns)]
    for row in rows:
        quiet = next(one for one in rows if one["side"] == row["side"] and one["busy"] == options.busy[0])
        row |= {f"{kind}_speed_left": quiet[kind] / row[kind] for kind in ("training", "generation")}
        print(
            f"beside {row['busy']}  {row['side']:<19} "
            f"training {row['training']:6.2f} s ({row['training_speed_left']:4.0%})  "
            f"generation {row['generation']:6.2f} s ({row['generation_speed_left']:4.0%})"
        )
    write(options, rows, load)


def measure(sides: dict[str, TurnSide], busy: int, turns: int) -> list[dict[str, Any]]:
    """Median seconds of each side beside `busy` processes; the order is reversed every second turn."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    with busy_processes(busy):
        for turn in range(turns):
            for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
                seen[name].append(sides[name].turn())
                sides[name].wait()
    return [
        {
            "side": name,
            "busy": busy,
            "training": median([one["training"] for one in found]),
            "generation": median([one["generation"] for one in found]),
            "turns": found,
        }
        for name, found in seen.items()
    ]


def write(options: argparse.Namespace, rows: list[dict[str, Any]], load: float) -> None:
    most = options.busy[-1]
    seconds = {row["side"]: row["training"] for row in rows if row["busy"] == most}
    if {OURS, PEER} - set(seconds):
        return
    path = write_result(
        "busy_machine",
        f"python -m benchmarks.busy_machine --model {options.model} --turns {options.turns} "
        f"--busy {' '.join(map(str, options.busy))}",
        rows,
        headline(
            f"seconds of {options.steps} training steps beside {most} busy process{'' if most == 1 else 'es'}",
            seconds[OURS], seconds[PEER], PEER, lower_is_better=True,
        ),
        packages=("torch",),
        notes=[f"load average before it began: {load:.1f}"],
        directory=options.out,
    )  # fmt: skip
    print(path)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    if given := parse().side:
        side(json.loads(given))
    else:
        main()
