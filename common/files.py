"""Writing so that a crash leaves the old or the new, never half: aside, synced, renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.errors import CheckpointError


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically. Raises CheckpointError naming path, reason and remedy."""
    write_atomically(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically (two-space indent, final newline)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with a path beside `path`, sync what it wrote, and rename it into place (file or directory)."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(aside)
        write(aside)
        sync_tree(aside)
        if path.is_dir():
            old = path.with_name(f".{path.name}.old")
            remove(old)
            path.rename(old)
            aside.rename(path)
            remove(old)
        else:
            aside.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise disk_error(path, error) from None


def disk_error(path: Path, error: OSError) -> CheckpointError:
    """A plain message for a write that failed: full disk, quota, read-only or vanished directory."""
    remedy = "check the path and its permissions"
    try:
        free = shutil.disk_usage(path.parent if path.parent.exists() else Path.cwd()).free
        if error.errno in (28, 122) or free < 1 << 20:  # ENOSPC, EDQUOT
            remedy = f"{free / 1e6:.0f} MB are free there; free some space, then resume the run"
    except OSError:
        pass
    return CheckpointError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


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
