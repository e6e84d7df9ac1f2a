"""What benchmarks share: timing the sides in turn, and the result file in the agreed JSON format.

Knows nothing of what is measured. A result names the device, the commit, the versions and the command, so that a
figure quoted anywhere can be traced to one run.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def time_in_turn(sides: Mapping[str, Callable[[], object]], repeats: int = 3) -> dict[str, list[float]]:
    """Wall seconds of each side, `repeats` times, the sides alternating so that drift of the machine hits all alike.

    The order is reversed every second round, so that none always runs on a warmer or busier machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            gc.collect()
            start = time.perf_counter()
            sides[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def headline(
    metric: str, ours: float, peer: float, peer_name: str, *, lower_is_better: bool = False
) -> dict[str, float | str]:
    """The one comparison a result is quoted by; `ratio` > 1 means that ours is better."""
    ratio = peer / ours if lower_is_better else ours / peer
    return {"metric": metric, "ours": ours, "peer": peer, "peer_name": peer_name, "ratio": ratio}


def write_result(
    name: str,
    command: str,
    rows: Sequence[Mapping[str, Any]],
    headline: Mapping[str, Any],
    *,
    packages: Sequence[str] = (),
    device: str | None = None,
    notes: Sequence[str] = (),
    directory: Path = RESULTS,
) -> Path:
    """Write `directory/NAME.json` and return its path.

    `packages` are the distributions whose versions matter to the figures; `device` defaults to the CPU's name and
    is given by benchmarks that run elsewhere. The command should hold no path of this machine.
    """
    result: dict[str, Any] = {
        "benchmark": name,
        "device": device or cpu_name(),
        "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "commit": commit(),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no", ":!benchmarks/results")),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "versions": versions(packages),
        "command": command,
        "rows": [dict(row) for row in rows],
        "headline": dict(headline),
    }
    if notes:
        result["notes"] = list(notes)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False, default=_plain) + "\n", encoding="utf-8")
    return path


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python, the system and the named distributions; `absent` where one is not installed."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def commit() -> str:
    """The commit measured; SUMKIT_COMMIT names it on a machine that has a copy without the git history."""
    return os.environ.get("SUMKIT_COMMIT") or _git("rev-parse", "HEAD") or "unknown"


def cpu_name() -> str:
    """The processor's model name as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        return _run("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    return platform.processor() or platform.machine()


def median(values: Sequence[float]) -> float:
    """Median of repeated measurements."""
    return statistics.median(values)


def _git(*arguments: str) -> str:
    return _run("git", "-C", str(ROOT), *arguments)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _plain(value: Any) -> Any:
    """numpy scalars and arrays as JSON numbers and lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
