"""A folder of text files as a `Table`: `name.txt` (or `.md`) with its summary beside it in `name.summary.txt`.

Knows nothing of columns' meaning; the columns are called document and summary, the id is the file's name.
"""

from __future__ import annotations

from pathlib import Path

from common.data.table import Table, check_encoding, not_utf8, read_bytes, unreadable

SUFFIXES = (".txt", ".md")
SUMMARY = ".summary"


def summary_files(folder: Path) -> list[Path]:
    """The folder's summary files; none means that it is not a folder of documents with summaries."""
    try:
        return sorted(path for path in folder.iterdir() if _is_summary(path))
    except OSError as error:
        raise unreadable(folder, error) from None


def read_folder(folder: Path) -> Table:
    """One row a document, in the order of names; a document or summary without its partner is a bad row."""
    table = Table(str(folder), ["id", "document", "summary"])
    summaries = {path.stem[: -len(SUMMARY)]: path for path in summary_files(folder)}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or _is_summary(path) or not path.is_file():
            continue
        summary = summaries.pop(path.stem, None)
        if summary is None:
            table.reject(path.name, f"has no summary; write it to {path.stem}{SUMMARY}.txt")
            continue
        texts = [_read_text(table, path), _read_text(table, summary)]
        if texts[0] is not None and texts[1] is not None:
            table.add(path.name, {"id": path.stem, "document": texts[0], "summary": texts[1]})
    for stem, path in summaries.items():
        table.reject(path.name, f"has no document; write it to {stem}.txt")
    return table


def _is_summary(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.stem.lower().endswith(SUMMARY) and path.is_file()


def _read_text(table: Table, path: Path) -> str | None:
    data = read_bytes(path)
    check_encoding(data, str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        table.reject(path.name, not_utf8(data[error.start], error.start + 1))
        return None
