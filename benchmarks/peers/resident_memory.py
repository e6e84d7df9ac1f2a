"""Resident memory of a process: the system's own peak, and a process tree watched from outside.

Standard library only, and psutil to watch: peers' environments import it too.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): sets the peak resident set size to the current one


def reset_peak() -> None:
    """Start this process's peak anew. Linux only; raises OSError elsewhere."""
    CLEAR.write_text(RESET_PEAK, encoding="ascii")


def peak_bytes() -> int:
    """Most resident memory of this process since `reset_peak`, exactly as Linux counted it."""
    line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


class TreeWatcher:
    """Most resident memory of a process and all its descendants, sampled while the `with` block runs."""

    def __init__(self, process_id: int, seconds_between: float = 0.2) -> None:
        self.peak = 0
        self._id, self._pause = process_id, seconds_between
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        import psutil

        while not self._ended.is_set():
            try:
                root = psutil.Process(self._id)
                sizes = [_size(process) for process in (root, *root.children(recursive=True))]
                self.peak = max(self.peak, sum(sizes))
            except psutil.NoSuchProcess:
                return
            self._ended.wait(self._pause)

    def __enter__(self) -> TreeWatcher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()


def _size(process: object) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)  # type: ignore[attr-defined]
    except psutil.NoSuchProcess:
        return 0
