"""Environments for the programs that sumkit is measured against: pinned versions, apart from sumkit's own.

Made on first use under ~/.cache/sumkit-bench (SUMKIT_BENCH_CACHE names another place) and taken as they are later;
another set of pins makes another environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.resident_memory import TreeWatcher
from benchmarks.peers.turns import MARK
from benchmarks.record import ROOT

DONE = "installed.txt"


def cache_directory() -> Path:
    """Where environments live."""
    return Path(os.environ.get("SUMKIT_BENCH_CACHE") or Path.home() / ".cache" / "sumkit-bench")


def peer_python(name: str, pins: Sequence[str]) -> Path:
    """The interpreter of the environment `name` that holds exactly these pins; installs it on first use.

    Raises RuntimeError with pip's last words when that fails.
    """
    digest = hashlib.sha256("\n".join(sorted(pins)).encode()).hexdigest()[:8]
    directory = cache_directory() / f"{name}-{digest}"
    python = directory / "bin" / "python"
    if not (directory / DONE).is_file():
        print(f"installing {', '.join(pins)} into {directory}", file=sys.stderr, flush=True)
        shutil.rmtree(directory, ignore_errors=True)
        venv.create(directory, with_pip=True)
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"pip could not install {name}'s environment:\n{done.stderr[-2000:]}")
        (directory / DONE).write_text("\n".join(pins) + "\n", encoding="utf-8")
    return python


def peer_versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Versions of these distributions in a peer's environment."""
    code = (
        "import importlib.metadata as m, json, sys; print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


class SideError(Exception):
    """A side's process failed; the message is the end of what it wrote."""


class TurnSide:
    """A side that stays loaded and measures when it is given its turn (see peers/turns.py).

    What it writes to stderr goes to `log`. Raises SideError with the end of that where the process fails.
    """

    def __init__(self, command: Sequence[str | Path], log: Path, environment: dict[str, str] | None = None) -> None:
        self._log = log
        variables = {**os.environ, "TOKENIZERS_PARALLELISM": "false", **(environment or {})}
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, cwd=ROOT, env=variables,
            )  # fmt: skip

    def wait(self) -> None:
        """Return when the side is ready for its turn."""
        self._read()

    def turn(self) -> dict[str, Any]:
        """What the side measured in this turn."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except OSError:
            raise SideError(self._end_of_log()) from None
        return self._read()

    def end(self) -> dict[str, Any]:
        """The side's last word, after its last turn."""
        result = self._read()
        self._process.wait()
        return result

    def stop(self) -> None:
        """End the process, wherever it is."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                result: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return result
        self._process.wait()
        raise SideError(self._end_of_log())

    def _end_of_log(self) -> str:
        words = self._log.read_text(encoding="utf-8", errors="replace").strip()
        return words[-1500:] or f"exit status {self._process.returncode}"


def run_side(command: Sequence[str | Path], log: Path, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run one side in a process of its own and return the JSON object on its last line of stdout.

    `peak_tree_bytes` is added: the most resident memory of the process and its descendants over its whole life.
    What it writes to stderr goes to `log`. Raises SideError when it fails.
    """
    variables = {**os.environ, "TOKENIZERS_PARALLELISM": "false", **(environment or {})}
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env=variables
        )
        with TreeWatcher(process.pid) as watcher:
            output, _ = process.communicate()
    lines = output.strip().splitlines()
    if process.returncode or not lines:
        raise SideError(log.read_text(encoding="utf-8").strip()[-1500:] or f"exit status {process.returncode}")
    result: dict[str, Any] = json.loads(lines[-1])
    return {**result, "peak_tree_bytes": watcher.peak}
