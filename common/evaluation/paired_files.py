"""Predictions and references from two files, paired by id: one of each for every id, or an error that names the ids.

Pairing by position is how summaries come to be scored against the wrong article; it is not offered. Knows nothing of
scores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from common.data.cleaning import clean_text
from common.data.files import read_table
from common.data.read_jsonl import kind_of
from common.data.table import Row, Table, shown
from common.errors import DataError
from common.files import sha256_text

Value = TypeVar("Value")
SHOWN = 10  # ids and rows listed in a message


@dataclass(frozen=True)
class Pairs:
    """Everything in the order of the reference file. `documents` is None where the file holds none."""

    ids: list[str]
    predictions: list[str]
    references: list[list[str]]
    documents: list[str] | None


def read_pairs(
    predictions: Path, references: Path, prediction_column: str = "prediction", reference_column: str = ""
) -> Pairs:
    """Read and join the two files (JSONL, JSON, CSV, TSV or Parquet) on `id`.

    References are `references` (a list; in CSV a JSON list) where a row has them, else `summary`, or the column
    named. Raises DataError that lists every broken row with its line, and counts and names missing, extra and
    duplicate ids.
    """
    columns = (reference_column,) if reference_column else ("references", "summary")
    ours = _read(predictions, (prediction_column,))
    theirs = _read(references, columns)
    texts = _by_id(predictions, ours, lambda row: _text(row.values.get(prediction_column), prediction_column))
    accepted = _by_id(references, theirs, lambda row: _references(row, columns))
    for path, found in ((predictions, texts), (references, accepted)):
        if not found:
            raise DataError(f"{path}: holds no rows; there is nothing to score")
    _check_documents(predictions, ours, references, theirs)
    problems = []
    missing = [name for name in accepted if name not in texts]
    if missing:
        problems.append(
            f"{predictions}: ids without a prediction: {len(missing)} of {len(accepted)} ({_listed(missing)}); "
            "a generation that failed is written as an empty text, and counts as 0"
        )
    extra = [name for name in texts if name not in accepted]
    if extra:
        problems.append(f"{predictions}: ids that {references} does not have: {len(extra)} ({_listed(extra)})")
    if problems:
        raise DataError("\n".join(problems))
    return Pairs(list(accepted), [texts[name] for name in accepted], list(accepted.values()), _documents(theirs))


@dataclass(frozen=True)
class Documented:
    """A system's summary with its document; `references` are summaries that people wrote, where the file has any."""

    id: str
    document: str
    summary: str
    references: tuple[str, ...] = ()


def read_documented(summaries: Path, documents: Path | None = None) -> list[Documented]:
    """Summaries with their documents: rows of id, document and summary (or `prediction`, beside `reference` or
    `references`) in one file, or summaries and documents in two, joined on id.

    Raises DataError that lists every broken row with its line, and counts and names missing, extra and duplicate ids.
    """
    made = _read(summaries, ("prediction", "summary"))
    column = "prediction" if "prediction" in made.columns else "summary"
    texts = _by_id(summaries, made, lambda row: _text(row.values.get(column), column))
    source, path = (_read(documents, ("document",)), documents) if documents else (made, summaries)
    if source.rows and "document" not in source.columns:
        raise DataError(f"{path}: has no column document; its columns are {', '.join(source.columns)}. Rename one of "
                        "them, or give the documents in a file of their own with --documents")  # fmt: skip
    found = _by_id(path, source, lambda row: (_text(row.values.get("document"), "document"), _written(row, column)))
    if not texts:
        raise DataError(f"{summaries}: holds no rows; there is nothing to check")
    missing = [name for name in texts if name not in found]
    if missing:
        raise DataError(f"{path}: ids without a document: {len(missing)} of {len(texts)} ({_listed(missing)})")
    return [Documented(name, found[name][0], text, found[name][1]) for name, text in texts.items()]


def _written(row: Row, checked: str) -> tuple[str, ...]:
    """The summaries that people wrote, which are not the ones to check."""
    columns = [name for name in ("references", "reference", "summary") if name != checked and row.values.get(name)]
    return tuple(_references(row, columns)) if columns else ()


def _read(path: Path, columns: Sequence[str]) -> Table:
    if path.is_dir():
        raise DataError(f"{path}: is a directory; give the file in it")
    table = read_table(path)
    if table.rows:
        for choices in (("id",), columns):
            if not set(choices) & set(table.columns):
                other = "" if choices == ("id",) else ", or name it with --prediction-column or --reference-column"
                raise DataError(
                    f"{path}: has no column {' or '.join(choices)}; its columns are {', '.join(table.columns)}. "
                    f"Rename one of them{other}"
                )
    return table


def _check_documents(predictions: Path, ours: Table, references: Path, theirs: Table) -> None:
    """Raise DataError where a prediction was made from another document than stands under its id.

    Known only where the predictions hold `document_sha256`, as ours do, and the references that or the document.
    """
    made_from = {_identifier(row.values["id"]): row.values.get("document_sha256") for row in ours.rows}
    different = []
    for row in theirs.rows:
        identifier = _identifier(row.values["id"])
        ours_hash, theirs_hash, document = made_from.get(identifier), None, row.values.get("document")
        if row.values.get("document_sha256"):
            theirs_hash = {row.values["document_sha256"]}
        elif isinstance(document, str):
            theirs_hash = {sha256_text(document), sha256_text(clean_text(document))}
        if ours_hash and theirs_hash and ours_hash not in theirs_hash:
            different.append(identifier)
    if different:
        raise DataError(
            f"{predictions}: {len(different)} of {len(made_from)} predictions were made from other documents than "
            f"{references} holds under their ids ({_listed(different)}); score them against their own data"
        )


def _by_id(path: Path, table: Table, value_of: Callable[[Row], Value]) -> dict[str, Value]:
    """Values by id, in file order. Raises DataError with all broken rows, or all duplicate ids."""
    found: dict[str, Value] = {}
    duplicates: list[str] = []
    for row in table.rows:
        try:
            identifier, value = _identifier(row.values.get("id")), value_of(row)
        except DataError as error:
            table.reject(row.place, str(error))
            continue
        if identifier in found:
            duplicates.append(identifier)
        found[identifier] = value
    if table.bad:
        more = f"\nand {len(table.bad) - SHOWN} more" if len(table.bad) > SHOWN else ""
        raise DataError("\n".join(str(row) for row in table.bad[:SHOWN]) + more)
    if duplicates:
        raise DataError(f"{path}: rows that repeat an id: {len(duplicates)} ({_listed(duplicates)}); keep one for each")
    return found


def _identifier(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # what libraries make of whole numbers in a column with gaps
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"id is {_named(value)}; it must be a text or a whole number")
    return str(value)


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{column} is {_named(value)}; it must be a text (empty where generation failed)")
    return value


def _references(row: Row, columns: Sequence[str]) -> list[str]:
    """The accepted summaries of a row, from the first column that holds any."""
    value: Any = None
    column = columns[0]
    for column in columns:
        value = row.values.get(column)
        if isinstance(value, str) and column == "references":
            value = _parsed_list(value)
        if value:
            break
    texts = list(value) if isinstance(value, list | tuple) else [value]
    broken = [text for text in texts if not isinstance(text, str) or not text.strip()]
    if broken or not texts:
        is_list = texts and isinstance(value, list | tuple)
        problem = f"holds an entry that is {_named(broken[0])}" if is_list else f"is {_named(value)}"
        raise DataError(f"{column} {problem}; it must be a text that is not empty, or a list of such")
    return texts


def _parsed_list(text: str) -> Any:
    if not text.lstrip().startswith("["):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise DataError("references starts like a JSON list and is none; mend it, or use the column summary") from None


def _documents(table: Table) -> list[str] | None:
    documents = [row.values.get("document") for row in table.rows]
    texts = [document for document in documents if isinstance(document, str) and document.strip()]
    return texts if len(texts) == len(documents) else None


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(shown(name)[1:-1] for name in ids[:SHOWN]) + (", …" if len(ids) > SHOWN else "")


def _named(value: Any) -> str:
    if value is None:
        return "missing or null"
    empty = not value.strip() if isinstance(value, str) else value == []
    return "empty" if empty else kind_of(value)
