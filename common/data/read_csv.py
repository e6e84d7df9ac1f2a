"""CSV and TSV files with a header line, as a `Table`.

The delimiter is the most frequent of comma, semicolon, tab and bar in the header, or what a first line `sep=;` of a
spreadsheet names. A column without a name is called after its place. A row with more or fewer fields than the header,
with bytes that are not UTF-8, or with an unclosed quote becomes a bad row; reading goes on at the next line. Knows
nothing of columns' meaning.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.data.table import Table, check_encoding, not_utf8, read_bytes, shown
from common.errors import DataError

DELIMITERS = ",;\t|"
MAX_OPEN_QUOTES = 50  # each one means having read to the end of the file in vain
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)
_UNDECODED = re.compile("[\udc80-\udcff]")  # how undecodable bytes look after decoding with surrogateescape


def read_csv(path: Path, delimiter: str = "") -> Table:
    """All rows below the header. Raises DataError for an unreadable file or a header with two equal names."""
    data = read_bytes(path)
    check_encoding(data, str(path))
    text = data.decode("utf-8-sig", errors="surrogateescape")
    table = Table(str(path))
    lines = _lines(text)
    if not text.strip():
        return table
    named = _SEPARATOR.fullmatch(lines[0])
    if named is not None and len(lines) == 1:
        return table
    with large_fields():
        separator = delimiter or (named.group(1) if named else _find_delimiter(lines))
        rows = _rows(lines, separator, table, start=1 if named else 0)
        header = next(rows, None)
        if header is None:
            raise DataError(f"{path}: the header line cannot be read; the first line must name the columns")
        _take_header(table, *header)
        for number, fields in rows:
            _take_row(table, number, fields)
    return table


def _lines(text: str) -> list[str]:
    return re.findall("[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


def _find_delimiter(lines: list[str]) -> str:
    header = re.sub('"[^"]*"', "", next(line for line in lines if line.strip()))
    return max(DELIMITERS, key=header.count)


def _rows(lines: list[str], delimiter: str, table: Table, start: int) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their first line. After an error, reading starts again on the following line."""
    never_closed = 0
    while start < len(lines):
        reader = csv.reader(map(lines.__getitem__, range(start, len(lines))), delimiter=delimiter, strict=True)
        first = start
        try:
            for fields in reader:
                if fields:
                    yield first + 1, fields
                first = start + reader.line_num
            return
        except csv.Error as error:
            at_end = "unexpected end" in str(error)
            never_closed += at_end
            if never_closed > MAX_OPEN_QUOTES:
                message = f"more than {MAX_OPEN_QUOTES} quotes are never closed; export the file again"
                raise DataError(f"{table.file}: {message}") from None
            problem = "has a quote that is never closed" if at_end else f"is not valid CSV ({shown(str(error))[1:-1]})"
            table.reject(f"line {first + 1}", f'{problem}; write a quote inside a field as ""')
            start = first + 1


def _take_header(table: Table, number: int, names: list[str]) -> None:
    stripped = [name.strip() or f"column {place}" for place, name in enumerate(names, 1)]
    for name in stripped:
        if stripped.count(name) > 1:
            raise DataError(f"{table.file}, line {number}: two columns are named {shown(name)}; rename one of them")
        if _UNDECODED.search(name):
            raise DataError(f"{table.file}, line {number}: {_encoding_problem(name)}")
    table.declare(stripped)


def _take_row(table: Table, number: int, fields: list[str]) -> None:
    place = f"line {number}"
    undecoded = next((text for text in fields if not text.isascii() and _UNDECODED.search(text)), None)
    if undecoded is not None:
        table.reject(place, _encoding_problem(undecoded))
    elif len(fields) != len(table.columns):
        problem = f"has {len(fields)} fields where the header has {len(table.columns)}"
        table.reject(place, f"{problem}; put fields that hold the delimiter or line breaks in quotes")
    else:
        table.add(place, dict(zip(table.columns, fields, strict=True)))


def _encoding_problem(text: str) -> str:
    found = _UNDECODED.search(text)
    assert found is not None
    return not_utf8(ord(found.group(0)) - 0xDC00, found.start() + 1)


@contextmanager
def large_fields() -> Iterator[None]:
    """Lift the csv module's limit of 128 KiB a field, which is process-wide, for one file."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)
