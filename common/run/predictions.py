"""predictions.csv as it is found: one row a document, whatever is damaged counted and not fatal.

Documents may be of any length; csv's own limit of 128 KiB a cell does not hold here.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.data.read_csv import large_fields
from common.errors import DataError
from common.files import sha256_text
from common.text.amounts import finite

TEXT_COLUMNS = ("id", "document", "reference", "prediction", "stop_reason", "document_sha256")


@dataclass(frozen=True)
class PredictionRow:
    """One row of predictions.csv; `scores` in percent by measure, only those that are finite numbers.

    references   every accepted summary, of which `reference` was scored; empty where the file does not say
    """

    id: str
    document: str
    reference: str
    prediction: str
    stop_reason: str = ""
    document_sha256: str = ""
    references: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Id and document hash: what rows of two systems or runs are paired by."""
        return self.id, self.document_sha256


def read_predictions(path: Path) -> tuple[tuple[PredictionRow, ...], list[str]]:
    """(rows in file order, what is wrong with the file in a sentence each).

    Raises DataError where a prediction stands beside another document than the one it was made from.
    """
    if not path.is_file():
        return (), [f"{path.name} is missing: no examples can be shown."]
    rows: list[PredictionRow] = []
    notes: list[str] = []
    damaged = 0
    try:
        with large_fields(), path.open(encoding="utf-8", errors="replace", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in ("id", "prediction") if name not in (reader.fieldnames or ())]:
                return (), [f"{path.name}: has no column {' or '.join(missing)}, so no examples can be shown."]
            for cells in reader:
                if any(cells[name] is None for name in reader.fieldnames or ()) or None in cells:
                    damaged += 1
                else:
                    rows.append(_prediction_row(cells))
    except (OSError, csv.Error) as error:
        notes.append(f"{path.name}: cannot be read to its end ({error}).")
    if damaged:
        notes.append(f"{path.name}: {damaged} rows with too few or too many columns left out.")
    _check_documents(path, rows)
    return tuple(rows), notes


def _check_documents(path: Path, rows: Sequence[PredictionRow]) -> None:
    """Raise DataError where a document is not the one whose hash its row holds."""
    changed = [row.id for row in rows if row.document and row.document_sha256 and not _is_hashed(row)]
    if changed:
        raise DataError(
            f"{path}: {len(changed)} of {len(rows)} predictions stand beside another document than they were made "
            f"from (its document_sha256 differs), the first is {changed[0]!r}; the file was changed: evaluate the run "
            "again"
        )


def _is_hashed(row: PredictionRow) -> bool:
    """Whether the hash is the document's; not known of one whose characters no CSV can hold (they became U+FFFD)."""
    return row.document_sha256 == sha256_text(row.document) or "\ufffd" in row.document


def _prediction_row(cells: Mapping[str, str]) -> PredictionRow:
    texts = {name: cells.get(name) or "" for name in TEXT_COLUMNS}
    scores = {
        name: number
        for name, text in cells.items()
        if name not in TEXT_COLUMNS and (number := _number(text)) is not None
    }
    return PredictionRow(**texts, references=_references(cells.get("references") or ""), scores=scores)


def _references(cell: str) -> tuple[str, ...]:
    try:
        found = json.loads(cell) if cell else []
    except (ValueError, RecursionError):
        return ()
    return tuple(text for text in found if isinstance(text, str)) if isinstance(found, list) else ()


def _number(text: str) -> float | None:
    try:
        return finite(float(text))
    except ValueError:
        return None
