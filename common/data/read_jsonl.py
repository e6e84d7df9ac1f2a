"""JSON Lines, and JSON files that hold one array of objects, as a `Table`.

A line that is not a JSON object becomes a bad row and the rest is read. Control characters inside strings are let
through (cleaning removes them). Knows nothing of columns' meaning.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.data.table import Table, check_encoding, check_readable, not_utf8, read_bytes, shown, unreadable
from common.errors import DataError

_DECODER = json.JSONDecoder(strict=False)


def read_jsonl(path: Path) -> Table:
    """One object a line; empty lines are skipped. Raises DataError when the file cannot be read at all."""
    check_readable(path)
    table = Table(str(path))
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if number == 1:
                    check_encoding(line, table.file)
                    line = line.removeprefix(codecs.BOM_UTF8)
                _read_line(table, number, line.strip())
    except OSError as error:
        raise unreadable(path, error) from None
    return table


def jsonl_parts(path: Path, rows: int, start_byte: int = 0, line: int = 1) -> Iterator[tuple[Table, int, int]]:
    """A JSON Lines file as tables of `rows` lines, from a byte at which line number `line` begins.

    With each table: the byte and the number of the line that follow it. Raises DataError like `read_jsonl`.
    """
    check_readable(path)
    try:
        with path.open("rb") as lines:
            lines.seek(start_byte)
            table, count = Table(str(path)), 0
            for number, text in enumerate(lines, line):
                if number == 1:
                    check_encoding(text, table.file)
                start_byte += len(text)
                _read_line(table, number, text.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").strip())
                count += 1
                if count == rows:
                    yield table, start_byte, number + 1
                    table, count = Table(str(path)), 0
            if count:
                yield table, start_byte, number + 1
    except OSError as error:
        raise unreadable(path, error) from None


def read_json(path: Path) -> Table:
    """An array of objects, an object that holds one, or JSON Lines under the name .json."""
    data = read_bytes(path)
    check_encoding(data, str(path))
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):  # several objects, a broken one, or bytes that are not UTF-8
        return read_jsonl(path)
    table = Table(str(path))
    for number, item in enumerate(_items(value, table.file), 1):
        _add(table, f"item {number}", item)
    return table


def _items(value: Any, file: str) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
        return lists[0] if len(lists) == 1 else [value]
    raise DataError(f"{file}: holds {kind_of(value)}; expected a list of objects, or one object a line")


def _read_line(table: Table, number: int, line: bytes) -> None:
    if not line:
        return
    place = f"line {number}"
    try:
        _add(table, place, _DECODER.decode(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        table.reject(place, not_utf8(line[error.start], error.start + 1))
    except json.JSONDecodeError as error:
        problem = f"{error.msg.removesuffix(' at')} at position {error.pos + 1}"
        table.reject(place, f"is not valid JSON ({problem}); mend or delete the line")
    except (ValueError, RecursionError) as error:
        table.reject(place, f"is not usable JSON ({_first_line(error)}); mend or delete the line")


def _add(table: Table, place: str, value: Any) -> None:
    if isinstance(value, dict):
        table.add(place, value)
    else:
        table.reject(place, f"holds {kind_of(value)} {shown(value, 30)}, not an object with named fields")


def kind_of(value: object) -> str:
    """What a JSON value is called in a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a truth value"
    for types, name in (((int, float), "a number"), (str, "text"), (list, "a list"), (dict, "an object")):
        if isinstance(value, types):  # type: ignore[arg-type]
            return name
    return f"a value of type {type(value).__name__}"


def _first_line(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
