"""From raw rows to `Example`s: types checked, text cleaned, ids made unique, empty and too-short rows counted.

A row of a wrong type or without a needed field is a bad row with its place; an empty or too-short one is dropped
and counted. Knows nothing of files, splits or duplicates.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from common.data.cleaning import cleaned
from common.data.columns import REFERENCES_NAME, Columns
from common.data.conversations import context_text, read_messages
from common.data.read_jsonl import kind_of
from common.data.report import ReportBuilder
from common.data.table import BadRow, Row, Table, shown
from common.metrics.tokens import has_words
from common.types import Example, Message

MAX_ID_LENGTH = 200


class _UnusableError(Exception):
    """A value that cannot be used; the message is the problem."""


def to_examples(
    table: Table, columns: Columns, min_words: int, split: str, report: ReportBuilder, empty_is_bad: bool = False
) -> list[Example]:
    """The table's usable rows, in order. What was left out, and why, goes into `report`.

    A row with an empty document or summary is dropped and counted, or with `empty_is_bad` a bad row.
    """
    report.rows_read += len(table.rows) + len(table.bad)
    report.bad(table.bad)
    taken: dict[str, int] = {}
    examples = []
    for row in table.rows:
        try:
            example = _example(row, columns, report)
        except _UnusableError as problem:
            report.bad([BadRow(table.file, row.place, str(problem))])
            continue
        if any(not message.content for message in example.messages):
            report.found("conversations with an empty turn", split, "dropped", example.id)
            continue
        empty = "document" if not example.document else "summary" if not example.summary else ""
        if empty and empty_is_bad:
            report.bad([BadRow(table.file, row.place, f"has an empty {empty}; fill it in or delete the row")])
        elif empty:
            report.found(f"rows with an empty {empty}", split, "dropped", example.id)
        elif not example.messages and not has_words(example.document, min_words):
            report.found(f"documents under {min_words} words", split, "dropped", example.id)
        else:
            examples.append(_with_unique_id(example, taken, split, report))
    return examples


def _example(row: Row, columns: Columns, report: ReportBuilder) -> Example:
    changes: set[str] = set()

    def clean(text: str) -> str:
        text, changed = cleaned(text)
        changes.update(changed)
        return text

    if columns.conversation:
        return _conversation(row, columns, clean, changes, report)
    document = clean(_text(row, columns.document))
    found = _texts(row, columns.references) if columns.references in row.values else []
    summaries = _texts(row, columns.summary) if columns.summary else found
    if not found and len(summaries) > 1:
        found = summaries
    references = tuple(reference for reference in map(clean, found) if reference)
    identifier = clean(_identifier(row, columns.id)).replace("\n", " ")
    summary = clean(summaries[0]) if summaries else ""
    report.cleaned(changes)
    if not identifier:
        identifier = content_id(document, summary) if document and summary else row.place
    return Example(identifier, document, summary, references)


def _conversation(
    row: Row, columns: Columns, clean: Callable[[str], str], changes: set[str], report: ReportBuilder
) -> Example:
    try:
        turns = read_messages(_value(row, columns.conversation))
    except ValueError as problem:
        raise _UnusableError(f"{shown(columns.conversation)} {problem}") from None
    messages = tuple(Message(turn.role, clean(turn.content)) for turn in turns)
    identifier = clean(_identifier(row, columns.id)).replace("\n", " ")
    report.cleaned(changes)
    document, summary = context_text(messages), messages[-1].content
    return Example(identifier or content_id(document, summary), document, summary, (), messages)


def content_id(document: str, summary: str) -> str:
    """The id of a row that brings none: derived from its content, so that it survives reordering."""
    return hashlib.sha256(f"{document}\x00{summary}".encode("utf-8", "replace")).hexdigest()[:12]


def _value(row: Row, column: str) -> Any:
    if column not in row.values:
        fields = ", ".join(shown(name, 30) for name in list(row.values)[:8]) or "none"
        raise _UnusableError(f"has no field {shown(column)} (fields: {fields}); add it or delete the row")
    value = row.values[column]
    return None if isinstance(value, float) and math.isnan(value) else value


def _text(row: Row, column: str) -> str:
    """A text, or a list of texts (sentences) as one. None is empty."""
    value = _value(row, column)
    return " ".join(_strings(value, column)) if isinstance(value, list) else _string(value, column)


def _texts(row: Row, column: str) -> list[str]:
    """One or several texts: a text, a list of texts, or (references in CSV) a list written as JSON."""
    value = _value(row, column)
    if isinstance(value, str) and column.lower() == REFERENCES_NAME and value.startswith('["'):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
    return _strings(value, column) if isinstance(value, list) else [_string(value, column)]


def _strings(values: list[Any], column: str) -> list[str]:
    return [_string(value, column) for value in values]


def _string(value: Any, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise _UnusableError(f"{shown(column)} holds bytes that are not UTF-8 text") from None
    if not isinstance(value, str):
        raise _UnusableError(f"{shown(column)} holds {kind_of(value)} ({shown(value, 30)}), not text; put it in quotes")
    return value


def _identifier(row: Row, column: str) -> str:
    value = row.values.get(column) if column else None
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool | list | dict | bytes):
        raise _UnusableError(
            f"{shown(column)} holds {kind_of(value)} ({shown(value, 30)}), not an id; use text or a number"
        )
    try:
        text = str(value)
    except ValueError:
        raise _UnusableError(f"{shown(column)} holds a number of thousands of digits; use text") from None
    if len(text) > MAX_ID_LENGTH:
        return f"{text[:MAX_ID_LENGTH]}…{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:12]}"
    return text


def _with_unique_id(example: Example, taken: dict[str, int], split: str, report: ReportBuilder) -> Example:
    if example.id not in taken:
        taken[example.id] = 1
        return example
    report.found("repeated ids (made unique by a number)", split, "kept", example.id)
    while True:
        taken[example.id] += 1
        name = f"{example.id}-{taken[example.id]}"
        if name not in taken:
            taken[name] = 1
            return dataclasses.replace(example, id=name)
