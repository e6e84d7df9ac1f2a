"""Which files a path stands for: one file, or the train, dev and test files of a directory; and how each is read.

Knows file names and formats, nothing of what the rows hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from common.data.read_csv import read_csv
from common.data.read_folder import read_folder, summary_files
from common.data.read_jsonl import read_json, read_jsonl
from common.data.read_parquet import read_parquet
from common.data.table import Table, shown, unreadable
from common.errors import DataError

READERS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": lambda path: read_csv(path, "\t"),
    ".parquet": read_parquet,
}
SPLIT_NAMES = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test", "testing"),
}
_SHARD = re.compile(r"^(.*?)(?:[-_.]\d+-of-\d+)?$")


def read_table(path: Path) -> Table:
    """The rows of one file, or of one folder of texts. Raises DataError for a kind that is not supported."""
    if path.is_dir():
        return read_folder(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        kinds = ", ".join(READERS)
        raise DataError(f"{path}: files ending in {path.suffix or 'nothing'} are not supported; use {kinds}")
    return reader(path)


def split_files(directory: Path) -> dict[str, list[Path]]:
    """The files of each split by name (several where a split is in numbered parts); empty where there is none.

    Raises DataError when a split has two sources, say train.jsonl and train.csv.
    """
    found: dict[str, list[Path]] = {}
    for path in _entries(directory):
        stem = _SHARD.sub(r"\1", path.stem if path.suffix else path.name).lower()
        split = next((split for split, names in SPLIT_NAMES.items() if stem in names), None)
        if split and (path.suffix.lower() in READERS if path.is_file() else bool(summary_files(path))):
            found.setdefault(split, []).append(path)
    for split, paths in found.items():
        sources = {_SHARD.sub(r"\1", path.stem) + path.suffix for path in paths}
        if len(sources) > 1 or (len(paths) > 1 and not all(re.search(r"\d+-of-\d+", path.stem) for path in paths)):
            names = ", ".join(path.name for path in paths)
            raise DataError(f"{directory}: several files claim to be {split} ({names}); keep one of them there")
    return {split: found[split] for split in SPLIT_NAMES if split in found}


def only_file(directory: Path) -> Path:
    """The one source of a directory that has no train/dev/test files: its only data file, or its text files.

    Raises DataError saying what the directory should hold.
    """
    if summary_files(directory):
        return directory
    files = [path for path in _entries(directory) if path.suffix.lower() in READERS and path.is_file()]
    if len(files) == 1:
        return files[0]
    names = ", ".join(shown(path.name)[1:-1] for path in (files or list(_entries(directory)))[:8]) or "nothing"
    raise DataError(
        f"{directory}: holds no train, dev or test file ({names} found); name them train.jsonl, dev.jsonl and "
        f"test.jsonl (or {', '.join(kind for kind in READERS if kind != '.jsonl')}), or give one file, or a folder "
        "with texts as name.txt and name.summary.txt"
    )


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise unreadable(directory, error) from None
