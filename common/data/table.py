"""Rows as a reader found them, before anybody has judged them: what every file format is turned into.

A row keeps the place it came from, so that a person can be sent to it. Knows nothing of columns' meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import DataError


@dataclass(frozen=True)
class Row:
    """One record: where it is (`line 7`, `item 3`, `report.txt`) and its values by column."""

    place: str
    values: dict[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: where it is, what is wrong and what to do about it."""

    file: str
    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {self.problem}"


@dataclass
class Table:
    """The rows of one file (or folder, or data set split) and the ones that could not be read."""

    file: str
    columns: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    def add(self, place: str, values: dict[str, Any]) -> None:
        """Append a row; its columns join the known ones in order of first appearance."""
        if values.keys() - self._known:
            self.declare(values)
        self.rows.append(Row(place, values))

    def declare(self, names: Iterable[str]) -> None:
        """Add columns that are not known yet, in their order."""
        new = [name for name in names if name not in self._known]
        self._known.update(new)
        self.columns.extend(new)

    def reject(self, place: str, problem: str) -> None:
        """Record a row that cannot be used."""
        self.bad.append(BadRow(self.file, place, problem))

    def __post_init__(self) -> None:
        self._known = set(self.columns)


def shown(value: object, limit: int = 60) -> str:
    """A value as it may be printed: escaped, in quotes, and short."""
    text = repr(value[: 2 * limit] if isinstance(value, str | bytes | list | tuple) else value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises DataError when it is no regular file or cannot be read."""
    check_readable(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def check_readable(path: Path) -> None:
    """Raise DataError unless the path is a regular file."""
    try:
        regular = path.is_file()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if not regular:
        raise DataError(f"{path}: {'is not a regular file' if path.exists() else 'there is no such file'}")


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a file that the operating system does not let us read."""
    reason = getattr(error, "strerror", None) or error
    return DataError(f"{path}: cannot be read ({reason}); check the path and its permissions")


def check_encoding(start: bytes, file: str) -> None:
    """Raise DataError when a file's first bytes say that it is UTF-16 or UTF-32."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise DataError(f"{file}: is UTF-16 or UTF-32 text; save it as UTF-8 (`iconv -f UTF-16 -t UTF-8`)")


def not_utf8(byte: int, column: int) -> str:
    """The problem of text that is not UTF-8."""
    return f"is not UTF-8 (byte 0x{byte:02x} at position {column}); save the file as UTF-8"
