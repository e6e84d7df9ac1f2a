"""One process at a time in a run directory, by a lock that a crash does not leave behind.

A plain file made exclusively, which names its process: works where file systems have neither hard links nor flock.
Where flock works, it keeps two processes from taking over one stale lock at once. A lock from another machine (a
shared or network drive) counts as held while its heartbeat goes on.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.errors import CheckpointError
from common.files import disk_error, remove
from common.progress import note
from common.run.directory import RunDirectory

NAME = "run.lock"
BEAT_SECONDS = 30.0
_held: set[str] = set()  # tokens of the locks that this process holds
SILENT_SECONDS = 120.0  # four missed heartbeats: what a network drive may delay is not taken for a death


class RunLock:
    """Holds the lock while used as a context manager. Raises CheckpointError while another process holds it.

    `beat_seconds` and `silent_seconds` are the heartbeat's pace and how long another machine's has to be silent.
    """

    def __init__(
        self, run: RunDirectory, beat_seconds: float = BEAT_SECONDS, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        self._path = run.path / NAME
        self._beat_seconds = beat_seconds
        self._silent_seconds = silent_seconds
        self._identity = _own_identity()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> RunLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._await_other_machine()
            with _alone(self._path.parent):
                self._take()
        except OSError as error:
            raise disk_error(self._path, error) from None
        _held.add(self._identity["token"])
        self._thread = threading.Thread(target=self._beat, name="run-lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        _held.discard(self._identity["token"])
        with suppress(OSError):
            if _read(self._path).get("token") == self._identity["token"]:
                self._path.unlink(missing_ok=True)

    def _take(self) -> None:
        holder = _read(self._path)
        if holder.get("host") == platform.node() and _is_alive(holder):
            raise CheckpointError(_in_use(self._path, holder))
        remove(self._path)
        try:
            with self._path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(self._identity))
        except FileExistsError:
            raise CheckpointError(f"{self._path.parent} was taken by another process just now; try again") from None

    def _await_other_machine(self) -> None:
        """Watch the heartbeat of another machine's lock; return once it has been silent for long enough.

        (A Colab machine that died leaves its lock on the Drive folder, and its name never comes back.) Two clocks are
        never compared closely: a lock last touched an hour ago is stale at once, any other is watched.
        """
        holder = _read(self._path)
        if holder.get("host") in (None, platform.node()) or _age(self._path) > 3600:
            return
        host, patience = holder["host"], self._silent_seconds
        note(f"{self._path} is from {host}; watching for {patience:.0f} s whether that run is alive")
        watched_until = time.monotonic() + patience
        while time.monotonic() < watched_until:
            time.sleep(min(1.0, patience / 20))
            now = _read(self._path)
            if not now:
                return
            if now.get("beat") != holder.get("beat") or now.get("token") != holder.get("token"):
                raise CheckpointError(_in_use(self._path, now))
        note(f"no sign of life from {host}: its lock is taken over")

    def _beat(self) -> None:
        """Rewrite the lock at intervals. A drive that is away for a moment is met again by the next beat."""
        beat = 0
        aside = self._path.with_name(f".{NAME}.beat")
        while not self._stop.wait(self._beat_seconds):
            beat += 1
            with suppress(OSError):
                if _read(self._path).get("token") != self._identity["token"]:
                    continue
                aside.write_text(json.dumps({**self._identity, "beat": beat}), encoding="utf-8")
                aside.rename(self._path)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Only one process of this machine at a time in the block, where the file system can tell (flock)."""
    import fcntl

    handle = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _own_identity() -> dict[str, Any]:
    import psutil

    process = psutil.Process()
    return {
        "pid": process.pid,
        "host": platform.node(),
        "started": process.create_time(),
        "token": uuid.uuid4().hex,
        "beat": 0,
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return holder if isinstance(holder, dict) else {}
    except (OSError, ValueError):
        return {}


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _is_alive(holder: dict[str, Any]) -> bool:
    """Whether the process that made the lock still runs on this machine; of its own locks, a process knows itself.

    (One that was given up while the drive could not be written is still there afterwards.)
    """
    import psutil

    if holder.get("pid") == os.getpid() and holder.get("token") not in _held:
        return False
    try:
        return bool(abs(psutil.Process(int(holder["pid"])).create_time() - float(holder["started"])) < 1.0)
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return False


def _in_use(path: Path, holder: dict[str, Any]) -> str:
    return (
        f"{path.parent} is in use by process {holder.get('pid')} on {holder.get('host')}; "
        "wait for it, or choose another --run directory"
    )
