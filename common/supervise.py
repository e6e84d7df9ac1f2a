"""A parent process that outlives what a training process cannot: out of memory.

Metal aborts the process, Linux kills it, CUDA raises; only a parent sees all three. It starts the training command
again from the last checkpoint with half the micro-batch and the same effective batch, at most `MOST_RETRIES`
times, each said aloud and recorded. Parent and child die together, however either is killed. Knows nothing of
training itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from common.progress import note

MOST_RETRIES = 3
OUT_OF_MEMORY_STATUS = 75  # EX_TEMPFAIL: the child caught an allocation failure itself
_PARENT = "SUMKIT_SUPERVISOR"
_REQUEST = "SUMKIT_RETRY"
_RANK_VARIABLES = ("RANK", "MLX_RANK", "OMPI_COMM_WORLD_RANK")


def is_supervised() -> bool:
    """Whether this process was started by `supervise`."""
    return _PARENT in os.environ


def should_supervise() -> bool:
    """Not inside a supervised child, nor under a launcher that supervises its ranks itself."""
    return not is_supervised() and not any(name in os.environ for name in _RANK_VARIABLES)


def supervise(command: Sequence[str], run: Path) -> int:
    """Run `command` as a child until it ends well or for a reason other than memory; returns its exit status.

    Each retry sees `retry_request()`; retries are recorded in `run`/retries.jsonl.
    """
    for attempt in range(MOST_RETRIES + 1):
        killed_before = _oom_kills()
        status = _run_child(command, attempt)
        reason = _memory_reason(status, killed_before)
        if reason is None:
            return status if status >= 0 else 128 - status
        if attempt == MOST_RETRIES:
            note(
                f"sumkit: {reason} again after {MOST_RETRIES} retries; lower --max-length, --rank or the model's size "
                "(sumkit plan shows what fits), or add --gradient-checkpointing"
            )
            return 1
        note(f"sumkit: {reason}; trying again from the last checkpoint with half the micro-batch ({attempt + 1})")
        _record(run, {"attempt": attempt + 1, "reason": reason, "time": time.time()})
    raise AssertionError("the loop returns")


def retry_request() -> int:
    """How often the micro-batch is to be halved in this process: 0 in a first attempt."""
    return int(os.environ.get(_REQUEST, "0"))


def die_with_parent() -> None:
    """In a supervised child: end at once when the supervisor is gone, however it went."""
    if not is_supervised():
        return
    parent = int(os.environ[_PARENT])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def _run_child(command: Sequence[str], attempt: int) -> int:
    environment = {**os.environ, _PARENT: str(os.getpid()), _REQUEST: str(attempt)}
    child: subprocess.Popen[bytes] = subprocess.Popen(list(command), env=environment)

    def forward(number: int, frame: FrameType | None) -> None:
        # Ctrl-C in a terminal reaches the whole process group; a signal to the parent alone has to be passed on.
        if child.poll() is None and not (number == signal.SIGINT and _shares_terminal(child.pid)):
            child.send_signal(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if child.poll() is None:
            child.kill()
            child.wait()


def _shares_terminal(pid: int) -> bool:
    """Whether a Ctrl-C typed now reaches the child by itself: both are in the terminal's foreground group."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgid(pid)
    except OSError:
        return False


def _memory_reason(status: int, killed_before: int) -> str | None:
    """Why the child's end means that memory ran out; None when it does not."""
    if status == OUT_OF_MEMORY_STATUS:
        return "the device's memory ran out"
    if status == -signal.SIGABRT and sys.platform == "darwin":
        return "Metal stopped the process (out of memory or its watchdog)"
    if status == -signal.SIGKILL and _oom_kills() > killed_before:
        return "the system killed the process for lack of memory"
    return None


def _oom_kills() -> int:
    """How many processes the kernel (this control group's, where it tells) has killed for lack of memory."""
    counts = []
    for path, key in (("/proc/vmstat", "oom_kill"), ("/sys/fs/cgroup/memory.events", "oom_kill")):
        try:
            lines = Path(path).read_text(encoding="ascii").split("\n")
        except OSError:
            continue
        counts += [int(line.split()[1]) for line in lines if line.startswith(f"{key} ")]
    return sum(counts)


def _record(run: Path, row: dict[str, Any]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    with (run / "retries.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of an engine means that an allocation failed, on the device or the host."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(sign in text for sign in ("out of memory", "can't allocate memory", "unable to allocate", "[malloc"))
    )
