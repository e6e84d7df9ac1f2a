"""What people preferred: a file of choices and ratings that grows by lines, read back as pairs to train on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files import disk_error, sha256_text

GOOD, BAD = 1, -1


@dataclass(frozen=True)
class Preference:
    """Of two summaries of a document, the one that was preferred."""

    document: str
    chosen: str
    rejected: str


def choice_row(document: str, chosen: str, rejected: str, chosen_by: str, rejected_by: str) -> dict[str, Any]:
    """A line saying that one summary is better than another; `…_by` name the models (`person` for a correction)."""
    return {
        **_head("choice", document),
        "chosen": chosen,
        "rejected": rejected,
        "chosen_by": chosen_by,
        "rejected_by": rejected_by,
    }


def rating_row(document: str, summary: str, written_by: str, rating: int) -> dict[str, Any]:
    """A line saying that a summary is good (1) or bad (-1); a later one on the same summary replaces it, 0 removes."""
    return {**_head("rating", document), "summary": summary, "written_by": written_by, "rating": rating}


def _head(kind: str, document: str) -> dict[str, Any]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"kind": kind, "time": stamp, "document": document, "document_sha256": sha256_text(document)}


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line, in one write, and flush it to the disk. Raises CheckpointError when the disk refuses."""
    import os

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(path, error) from None


def read_preferences(path: Path) -> list[Preference]:
    """Pairs: every choice, and every good summary of a document against every bad one of it, each pair once.

    Raises DataError naming file and line.
    """
    pairs: dict[Preference, None] = {}
    ratings: dict[str, dict[str, int]] = {}
    for place, row in _rows(path):
        try:
            if row["kind"] == "choice":
                pairs[Preference(str(row["document"]), str(row["chosen"]), str(row["rejected"]))] = None
            elif row["kind"] == "rating":
                ratings.setdefault(str(row["document"]), {})[str(row["summary"])] = int(row["rating"])
            else:
                raise ValueError(f"kind is {row['kind']!r}; choice and rating are known")
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"{place}: not a preference ({error}); such lines are written by sumkit serve") from None
    for document, rated in ratings.items():
        good = [summary for summary, rating in rated.items() if rating == GOOD]
        bad = [summary for summary, rating in rated.items() if rating == BAD]
        pairs |= {Preference(document, chosen, rejected): None for chosen in good for rejected in bad}
    return [pair for pair in pairs if pair.chosen != pair.rejected]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"{path}: line {number} is not JSON") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number} is not a JSON object")
        yield f"{path}: line {number}", row
