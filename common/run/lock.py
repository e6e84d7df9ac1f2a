"""One process at a time in a run directory, by a lock that a crash does not leave behind.

On one machine the operating system locks `run.lock`, through `filelock`. The file also names its holder, and changes
with a heartbeat, by which other machines (on a shared or network drive) see that the run is alive. Where the file
system knows no locks (Google Drive in Colab, say), it is made exclusively, and whether its process lives is looked up.
"""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from common.errors import CheckpointError
from common.files import disk_error, remove
from common.progress import note
from common.run.directory import RunDirectory

NAME = "run.lock"
_held: set[str] = set()  # tokens of the locks that this process holds
RECORD_BYTES = 512  # the file is rewritten in place, always at this length, so that it is never seen half
BEAT_SECONDS = 30.0
STALE_SECONDS = 3600.0  # a lock that nobody has touched for so long belongs to nobody
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # of a file system without them
SILENT_SECONDS = 120.0  # four missed heartbeats: what a network drive may delay is not taken for a death


class RunLock:
    """Holds the lock while used as a context manager. Raises CheckpointError while another process holds it.

    `beat_seconds` and `silent_seconds` are the heartbeat's pace and how long another machine's has to be silent;
    `pause` waits for so many seconds.
    """

    def __init__(
        self,
        run: RunDirectory,
        beat_seconds: float = BEAT_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        from filelock import FileLock

        self._path = run.path / NAME
        self._lock = FileLock(self._path, timeout=0, thread_local=False, fallback_to_soft=False)
        self._beat_seconds = beat_seconds
        self._silent_seconds = silent_seconds
        self._pause = pause
        self._identity = _own_identity()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> RunLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
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
        with suppress(OSError):
            self._lock.release()

    def _take(self) -> None:
        """Hold the operating system's lock where there is one, be sure that nobody else holds the run, and say so."""
        locked = self._lock_here()
        try:
            holder = _read(self._path)
            if holder and holder.get("machine") in (None, machine_id()):
                if not locked and _is_alive(holder):
                    raise CheckpointError(_in_use(self._path, holder))
            elif holder and _age(self._path) < STALE_SECONDS:
                self._await_silence(holder)
                if locked and not self._path.exists():  # removed by its holder: lock the file that is there now
                    self._lock.release()
                    locked = self._lock_here()
            if not locked:
                remove(self._path)
                self._path.touch(exist_ok=False)
            self._write(0)
        except FileExistsError:
            raise CheckpointError(_in_use(self._path, {})) from None
        except BaseException:
            self._lock.release()
            raise

    def _lock_here(self) -> bool:
        """Take the operating system's lock; False where the file system has none."""
        from filelock import Timeout

        try:
            self._lock.acquire()
        except Timeout:
            raise CheckpointError(_in_use(self._path, _read(self._path))) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return False
        return True

    def _await_silence(self, holder: dict[str, Any]) -> None:
        """Watch a holder's heartbeat; return once it has been silent for long enough, or its lock is gone.

        (A Colab machine that died leaves its lock on the Drive folder, and its name never comes back.) Two clocks are
        never compared closely: a lock last touched an hour ago is stale at once, any other is watched.
        """
        host, patience = holder.get("host"), self._silent_seconds
        note(f"{self._path} is from {host}; watching for {patience:.0f} s whether that run is alive")
        looks = math.ceil(max(patience, 20.0))
        for _ in range(looks):
            self._pause(patience / looks)
            if not self._path.exists():
                return
            now = _read(self._path) or holder
            if now.get("beat") != holder.get("beat") or now.get("token") != holder.get("token"):
                raise CheckpointError(_in_use(self._path, now))
        note(f"no sign of life from {host}: its lock is taken over")

    def _beat(self) -> None:
        """Rewrite the lock at intervals. A drive that is away for a moment is met again by the next beat."""
        beat = 0
        while not self._stop.wait(self._beat_seconds):
            beat += 1
            with suppress(OSError):
                if _read(self._path).get("token") == self._identity["token"]:
                    self._write(beat)

    def _write(self, beat: int) -> None:
        record = json.dumps({**self._identity, "beat": beat}).encode()
        with self._path.open("r+b") as file:
            file.write(record.ljust(RECORD_BYTES))
            file.truncate()


def _own_identity() -> dict[str, Any]:
    import psutil

    process = psutil.Process()
    own = {"pid": process.pid, "host": platform.node(), "machine": machine_id(), "started": process.create_time()}
    return {**own, "token": uuid.uuid4().hex}


@cache
def machine_id() -> str:
    """What tells this machine from others: a Mac's own id, whose host name changes with the network; elsewhere the
    host name with the system's id, which containers made of one image share."""
    if platform.system() == "Darwin":
        try:
            command = ["ioreg", "-rd1", "-c", "IOPlatformExpertDevice"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
            return platform_uuid(done.stdout) or platform.node()
        except (OSError, subprocess.TimeoutExpired):
            return platform.node()
    try:
        return f"{platform.node()}-{Path('/etc/machine-id').read_text(encoding='ascii').strip()}"
    except (OSError, ValueError):
        return platform.node()


def platform_uuid(registry: str) -> str:
    """The id of a Mac in what `ioreg` prints; empty where there is none."""
    found = re.search(r'"IOPlatformUUID"\s*=\s*"([0-9A-Fa-f-]+)"', registry)
    return found.group(1) if found else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return holder if isinstance(holder, dict) else {}
    except (OSError, ValueError):
        return {}


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


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _in_use(path: Path, holder: dict[str, Any]) -> str:
    if not holder:
        return f"{path.parent} was taken by another process just now; try again"
    return (
        f"{path.parent} is in use by process {holder.get('pid')} on {holder.get('host')}; "
        "wait for it, or choose another --run directory"
    )
