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

from common.files import disk_error
from common.order import Order
from common.process.awake import keep_awake
from common.process.child_stderr import ChildStderr
from common.process.rank import under_launcher
from common.process.threads import waiting_settings
from common.progress import note

MOST_RETRIES = 3
OUT_OF_MEMORY_STATUS = 75  # EX_TEMPFAIL: the child caught an allocation failure itself
_PARENT = "SUMKIT_SUPERVISOR"
_REQUEST = "SUMKIT_RETRY"
_OOM_COUNTERS = ("/proc/vmstat", "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_MEMORY_SIGNS = (
    "out of memory",
    "outofmemory",
    "insufficient memory",
    "can't allocate memory",
    "unable to allocate",
    "malloc]",
    "bad_alloc",
    "memory allocation of",
)
_WATCHDOG_SIGNS = ("gpu timeout error", "errortimeout", "impacting interactivity", "errorimpactinginteractivity")


def is_supervised() -> bool:
    """Whether this process was started by `supervise`."""
    return _PARENT in os.environ


def should_supervise() -> bool:
    """Not inside a supervised child, nor under a launcher that supervises its ranks itself."""
    return not is_supervised() and not under_launcher()


def supervise_order(order: Order) -> int:
    """Carry out an order in a supervised child; returns its exit status."""
    return supervise([sys.executable, "-m", "common.cli.worker", order.to_json()], order.path, order.command)


def supervise(command: Sequence[str], run: Path, go_on: str = "") -> int:
    """Run `command` as a child until it ends well or for a reason other than memory; returns its exit status.

    Each retry sees `retry_request()`; retries are recorded in `run`/retries.jsonl. `go_on` is what a person types to
    continue where a child was killed.
    """
    for attempt in range(MOST_RETRIES + 1):
        killed_before = _oom_kills()
        status, last_words = _run_child(command, attempt)
        reason = memory_reason(status, last_words, _oom_kills() > killed_before, _address_space_limited())
        if reason is None:
            _explain(status, run, go_on)
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


def _explain(status: int, run: Path, go_on: str) -> None:
    """A line for a child that was killed: it had no chance to say so itself."""
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        saved = (run / "checkpoints").is_dir()
        then = f"; continue with: {go_on}" if saved and go_on else "" if saved else "; nothing was saved yet"
        note(f"sumkit: the training process was ended by {name}{then}")


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


def _run_child(command: Sequence[str], attempt: int) -> tuple[int, str]:
    """Exit status of one child, and the end of what it wrote to standard error (which is shown as it comes)."""
    environment = {**os.environ, **waiting_settings(os.environ), _PARENT: str(os.getpid()), _REQUEST: str(attempt)}
    stderr = ChildStderr()
    # In a process group of its own the child gets a Ctrl-C once, from us, wherever it was typed or sent to.
    child: subprocess.Popen[bytes] = subprocess.Popen(
        list(command), env=environment, stderr=stderr.fileno(), process_group=0
    )
    stderr.start()
    keep_awake(child.pid)

    def forward(number: int, frame: FrameType | None) -> None:
        if child.poll() is None:
            child.send_signal(number)

    def pause(number: int, frame: FrameType | None) -> None:
        child.send_signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        child.send_signal(signal.SIGCONT)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
        before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, pause)
    try:
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if child.poll() is None:
            child.kill()
            child.wait()
    return status, stderr.finish()


def memory_reason(status: int, last_words: str, system_killed: bool, limited: bool = False) -> str | None:
    """Why a child's end means that memory ran out (or Metal's watchdog struck); None when it does not.

    status         as subprocess reports it: negative for a signal
    last_words     the end of what it wrote to standard error; an abort names its exception there
    system_killed  whether the kernel counted another kill for lack of memory meanwhile
    limited        whether the address space is (ulimit -v); MLX on a CPU then crashes where an allocation fails
    """
    if status == OUT_OF_MEMORY_STATUS:
        return "the device's memory ran out"
    if status == -signal.SIGABRT:
        if says_watchdog(last_words):
            return "the GPU's watchdog stopped a step that took too long"
        if says_out_of_memory(last_words):
            return "the device's memory ran out and the process was aborted"
    if limited and status in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT):
        return "the process crashed under a limit on its address space, most likely for lack of memory"
    if status == -signal.SIGKILL and system_killed:
        return "the system killed the process for lack of memory"
    return None


def _address_space_limited() -> bool:
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _oom_kills() -> int:
    """How many processes the kernel (and this control group, where it tells) has killed for lack of memory."""
    counts = []
    for path in _OOM_COUNTERS:
        try:
            lines = Path(path).read_text(encoding="ascii").split("\n")
        except OSError:
            continue
        counts += [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return sum(counts)


def _record(run: Path, row: dict[str, Any]) -> None:
    path = run / "retries.jsonl"
    try:
        run.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        note(f"warning: {disk_error(path, error)}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of an engine means that an allocation failed, on the device or the host."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and (says_out_of_memory(text) or says_watchdog(text))
    )


def says_out_of_memory(text: str) -> bool:
    """Whether an engine's message is about a failed allocation: torch's, MLX's, Metal's command buffer status 8."""
    return any(sign in text.lower() for sign in _MEMORY_SIGNS)


def says_watchdog(text: str) -> bool:
    """Whether Metal reports that its watchdog ended a command buffer (status 2, or 14 where it slowed the screen)."""
    return any(sign in text.lower() for sign in _WATCHDOG_SIGNS)
