"""Kill a training journey with SIGKILL at random moments, resume it until it ends, compare with an uninterrupted one.

Every attempt is a child forked from a process that has imported the engine but computed nothing, so that hundreds of
kills take minutes. The child tells its phase through shared memory, which outlives it. Half of the kills come at a
uniformly random time, the others at a random time after a randomly chosen phase began, so that short phases are hit.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import config as configuration
from common.journey import train_and_evaluate
from common.order import Order
from common.run.checkpoint import find_checkpoint
from common.run.directory import RunDirectory
from common.settings import RunConfig
from tests.journey.conftest import rows
from tests.tiny_models import build_tiny_model, build_tiny_tokenizer

PHASES = ("start", "data", "engine", "step", "dev evaluation", "checkpoint", "finish", "final evaluation", "report")
NOT_COMPARED = {"tokens_per_second", "peak_memory_bytes", "eval_seconds"}
STEPS = 12


@dataclass
class Tally:
    """What was seen: kills by phase and by step, runs compared, attempts that ended by themselves."""

    kills: int = 0
    runs: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)


def settings(data: Path, model: Path, run: Path, engine: str) -> RunConfig:
    """A short run that does everything: dropout, dev evaluations with ROUGE, previews, checkpoints, scores, report."""
    flags = {
        "data": str(data), "model": str(model), "run": str(run), "engine": engine, "max_length": 192,
        "max_summary_tokens": 64, "batch_size": 4, "steps": STEPS, "learning_rate": 1e-3, "dropout": 0.1,
        "max_new_tokens": 12, "eval_every": 4, "save_every": 2, "keep_checkpoints": 2, "eval_rouge": 2, "log_every": 3,
        "preview_every": 5, "preview_count": 1, "duplicates": "keep", "leaks": "keep", "base_template": "same",
    }  # fmt: skip
    return configuration.resolve(configuration.from_flags(flags))


def write_inputs(folder: Path) -> tuple[Path, Path]:
    """Data and model, made in a child so that this process computes nothing."""
    data, model = folder / "data", folder / "model"

    def make() -> None:
        data.mkdir()
        for name, count, offset in (("train", 24, 0), ("dev", 6, 100), ("test", 6, 200)):
            lines = "".join(json.dumps(row) + "\n" for row in rows(count, offset))
            (data / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        build_tiny_model(model, "qwen2")
        build_tiny_tokenizer(model)

    if not data.exists():
        assert in_child(make) == 0
    return data, model


def in_child(action: Callable[[], Any], stderr: Path | None = None) -> int:
    """Exit status of a forked child that does `action`."""
    return os.waitstatus_to_exitcode(os.waitpid(fork(action, stderr), 0)[1])


def fork(action: Callable[[], Any], stderr: Path | None = None) -> int:
    """The process id of a forked child that does `action` and ends."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if stderr is not None:
            handle = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
        action()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def announce_phases(shared: mmap.mmap) -> None:
    """Have this process write its phase (byte 0) and a count of phases begun (byte 1) to shared memory."""
    import common.journey
    import common.report.write
    import common.train.loop
    import common.train.task
    import common.train.training

    def wrap(owner: Any, name: str, phase: str) -> None:
        original = getattr(owner, name)

        def announced(*arguments: Any, **named: Any) -> Any:
            before, shared[0], shared[1] = shared[0], PHASES.index(phase), (shared[1] + 1) % 256
            try:
                return original(*arguments, **named)
            finally:
                shared[0] = before

        setattr(owner, name, announced)

    wrap(common.train.task, "prepare", "data")
    wrap(common.train.training, "load_engine", "engine")
    wrap(common.train.loop.TrainingLoop, "_step", "step")
    wrap(common.train.loop.TrainingLoop, "_evaluate", "dev evaluation")
    wrap(common.train.loop.TrainingLoop, "save", "checkpoint")
    wrap(common.train.training, "write_atomically", "finish")
    wrap(common.journey, "evaluate_run", "final evaluation")
    wrap(common.report.write, "write_report", "report")


def attempt(config: RunConfig, shared: mmap.mmap, wait: Callable[[int], None], log: Path) -> bool:
    """Start or resume the run and kill it when `wait(pid)` returns. True when it ended by itself before."""

    def journey() -> None:
        announce_phases(shared)
        assert train_and_evaluate(Order(config, resume=True)).exit_code == 0

    shared[0] = shared[1] = 0
    pid = fork(journey, log)
    wait(pid)
    os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), log.read_text()
    return status == 0


def at_time(delay: float) -> Callable[[int], None]:
    """Wait so long, or until the child has ended."""

    def wait(pid: int) -> None:
        until = time.monotonic() + delay
        while time.monotonic() < until and not _has_ended(pid):
            time.sleep(0.001)

    return wait


def in_phase(shared: mmap.mmap, phase: str, delay: float) -> Callable[[int], None]:
    """Wait until a phase has begun and then so long, or until the child has ended."""

    def wait(pid: int) -> None:
        while shared[0] != PHASES.index(phase) and not _has_ended(pid):
            time.sleep(0.0002)
        time.sleep(delay)

    return wait


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def check_readable(run: Path) -> int:
    """Assert that what a kill left is readable; returns the step of the newest checkpoint."""
    found, problems = find_checkpoint(run / "checkpoints")
    assert not problems, problems
    if (run / "config.yaml").exists():
        configuration.read_config(run / "config.yaml")
    for name in ("environment.json", "finished.json", "results.json"):
        if (run / name).exists():
            json.loads((run / name).read_text(encoding="utf-8"))
    return found.state.step if found else 0


def outcome(run: Path) -> dict[str, Any]:
    """Everything that has to be equal: adapter, newest checkpoint with optimizer, predictions, metrics, results."""
    files = [*sorted((run / "adapter").iterdir()), *sorted(run.glob("predictions*.csv")), run / "previews.jsonl"]
    newest = run / "checkpoints" / f"step-{STEPS}"
    files += sorted(path for path in newest.rglob("*.safetensors"))
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    metrics = [
        {name: value for name, value in row.items() if name not in NOT_COMPARED}
        for row in RunDirectory(run).read_metrics()
    ]
    return {
        "files": {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "metrics": metrics,
        "results": {name: value for name, value in results.items() if name not in ("seconds", "run")},
        "leftovers": sorted(path.name for path in run.rglob(".*")),
        "report": (run / "report.html").is_file(),
        "plots": sorted(path.name for path in (run / "plots").iterdir()),
    }


def kill_and_compare(engine: str, kills: int, folder: Path, seed: int = 0, per_run: int = 8) -> Tally:
    """Kill at least `kills` times over as many runs as it takes; every run must end like the uninterrupted one."""
    importlib.import_module({"mlx": "mlx_sum.engine", "cuda": "cuda_sum.engine"}[engine])
    for module in ("transformers", "matplotlib.pyplot", "common.report.write", "rouge_score.rouge_scorer", "pydantic"):
        importlib.import_module(module)
    if engine == "cuda":
        importlib.import_module("cuda_sum.model").import_bitsandbytes(required=True)
    data, model = write_inputs(folder)
    shared, rng, tally, log = mmap.mmap(-1, 2), random.Random(seed), Tally(), folder / "child.log"
    whole = folder / f"{engine}-whole"
    began = time.monotonic()
    assert in_child(lambda: train_and_evaluate(Order(settings(data, model, whole, engine))), log) == 0, log.read_text()
    seconds, wanted = time.monotonic() - began, outcome(whole)
    assert not wanted["leftovers"]
    while tally.kills < kills:
        run = folder / f"{engine}-{tally.runs}"
        config, killed = settings(data, model, run, engine), 0
        while True:
            if killed == min(per_run, kills):
                wait: Callable[[int], None] = at_time(3600.0)
            elif rng.random() < 0.5:
                wait = at_time(rng.uniform(0, seconds))
            else:
                ahead = PHASES[-2:] if (run / "finished.json").exists() else PHASES[1:]
                wait = in_phase(shared, rng.choice(ahead), rng.expovariate(1 / 0.02))
            ended = attempt(config, shared, wait, log)
            step = check_readable(run)
            if ended:
                break
            killed += 1
            tally.kills += 1
            tally.phases[PHASES[shared[0]]] += 1
            tally.steps[step] += 1
        found = outcome(run)
        assert found == wanted, {name: (found[name], wanted[name]) for name in wanted if found[name] != wanted[name]}
        tally.runs += 1
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("mlx", "cuda"), required=True)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["SUMKIT_QUIET"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        tally = kill_and_compare(options.engine, options.kills, Path(folder), options.seed)
    row = {
        "engine": options.engine,
        "kills": tally.kills,
        "runs": tally.runs,
        "phase": {phase: tally.phases[phase] for phase in PHASES if tally.phases[phase]},
        "newest_checkpoint": {str(step): count for step, count in sorted(tally.steps.items())},
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
