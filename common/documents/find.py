"""Which files the arguments of a command mean: files as given, folders searched, `-` for standard input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.documents.read import SUFFIXES

STDIN = "-"


@dataclass(frozen=True)
class Found:
    """Files in the order of the arguments, folders by name; `skipped` counts files of other kinds by suffix."""

    paths: tuple[Path, ...]
    skipped: dict[str, int]

    def skipped_line(self) -> str:
        """The skipped files in one line, empty where there are none."""
        total = sum(self.skipped.values())
        kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in sorted(self.skipped.items()))
        return f"{total} files of other kinds left out: {kinds}" if total else ""


def find_documents(arguments: Sequence[str]) -> Found:
    """Files to read. A folder stands for its documents, subfolders too; hidden files and linked folders are left out.

    Nothing is checked for being there: a missing file is an error of reading it.
    """
    paths: list[Path] = []
    skipped: Counter[str] = Counter()
    for argument in arguments:
        path = Path(argument)
        if argument == STDIN or not path.is_dir():
            paths.append(path)
            continue
        for entry in sorted(path.rglob("*")):
            if any(part.startswith(".") for part in entry.relative_to(path).parts) or not entry.is_file():
                continue
            if entry.suffix.lower() in SUFFIXES:
                paths.append(entry)
            else:
                skipped[entry.suffix.lower()] += 1
    return Found(tuple(dict.fromkeys(paths)), dict(skipped))
