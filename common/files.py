"""Writing so that a crash leaves the old or the new, never half: aside, synced, renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.errors import CheckpointError
from common.text.amounts import bytes_text

AGAIN = "try again (a training run goes on with --resume)"
PARTIAL, REPLACED = ".partial", ".old"
FULL = (errno.ENOSPC, errno.EDQUOT)
SMALLEST_ROOM = 4096  # bytes, one block: what a short line needs on a disk that is full
GONE = (errno.ENOENT, errno.ENOTCONN, errno.ESTALE, errno.EIO, errno.ENODEV, errno.ENXIO)


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically. Raises CheckpointError naming path, reason and remedy."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically; a device or pipe is written to. Raises CheckpointError naming path, reason and
    remedy, for a directory too."""
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not path.is_file():  # a device or a pipe
        try:
            path.write_bytes(data)
        except OSError as error:
            raise disk_error(path, error, len(data)) from None
        return
    write_atomically(path, lambda aside: aside.write_bytes(data), len(data))


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically (two-space indent, final newline)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_atomically(path: Path, write: Callable[[Path], Any], needed_bytes: int = 0) -> None:
    """Call `write` with a path beside `path`, sync what it wrote, and rename it into place (file or directory).

    What was at `path` stays whole until then, and half-written parts are removed. `needed_bytes` is what a message
    about a full disk asks for. Raises CheckpointError.
    """
    aside, old = path.with_name(f".{path.name}{PARTIAL}"), path.with_name(f".{path.name}{REPLACED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(aside)
        write(aside)
        sync_tree(aside)
        if path.is_dir():
            remove(old)
            path.rename(old)
            try:
                aside.rename(path)
            except OSError:
                old.rename(path)
                raise
            remove(old)
        else:
            aside.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise disk_error(path, error, needed_bytes) from None
    finally:
        _discard(aside)


def _discard(path: Path) -> None:
    """Free what a failed write has taken; a disk that refuses even that is reported by the write itself."""
    with suppress(OSError):
        remove(path)


def finish_interrupted(folder: Path) -> None:
    """Bring a folder that `write_atomically` was killed in to before or after: call with nobody else writing there."""
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        name = entry.name
        if name.startswith(".") and name.endswith(PARTIAL):
            _discard(entry)
        elif name.startswith(".") and name.endswith(REPLACED):
            target = folder / name[1 : -len(REPLACED)]
            if os.path.lexists(target):
                _discard(entry)
            else:
                entry.rename(target)


def disk_error(path: Path, error: Exception, needed_bytes: int = 0) -> CheckpointError:
    """A plain message for a write that failed: full disk, quota, read-only or vanished directory.

    `error` may also be that of a library that names the system's error in its text.
    """
    number = error.errno if isinstance(error, OSError) else _named_number(error)
    free = free_bytes(path)
    if not number and free is not None and free < max(needed_bytes, 1 << 20):
        number = errno.ENOSPC  # MLX says only that it could not write
    reason = os.strerror(number) if number else str(error)
    needed = f"about {bytes_text(needed_bytes)} are needed" if needed_bytes else ""
    if number in FULL:
        needed = needed or f"at least {bytes_text(SMALLEST_ROOM)} are needed"
        there = f"{bytes_text(free)} are free there" if free is not None else ""
        room = ", ".join(part for part in (needed, there) if part)
        remedy = f"{room}; free some space or raise the quota, then {AGAIN}"
    elif number == errno.EFBIG:
        remedy = (
            f"{needed or 'the file is larger than allowed'}; raise the limit on file sizes (ulimit -f), then --resume"
        )
    elif number in (errno.EROFS, errno.EACCES, errno.EPERM):
        remedy = "make the directory writable for this user, or choose another one"
    elif number in GONE:
        remedy = f"the directory or its drive is gone; bring it back, then {AGAIN}"
    else:
        remedy = "check the path and its permissions"
    return CheckpointError(f"{path}: cannot be written ({reason}); {remedy}")


def free_bytes(path: Path) -> int | None:
    """Bytes free on the file system that holds `path` (or the nearest directory above that exists); None unknown."""
    for place in path.parents:
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _named_number(error: Exception) -> int:
    named = re.search(r"os error (\d+)", str(error))
    return int(named.group(1)) if named else 0


def remove(path: Path) -> None:
    """Remove a file or directory if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_tree(path: Path) -> None:
    """Flush a file, or every file below a directory and the directories, to the disk."""
    if path.is_dir():
        for entry in sorted(path.rglob("*")):
            if entry.is_file():
                _sync_file(entry)
            else:
                sync_directory(entry)
        sync_directory(path)
    else:
        _sync_file(path)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Flush a directory's entries; file systems that cannot (some network drives) are left to their own timing."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes (lone surrogates replaced), hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
