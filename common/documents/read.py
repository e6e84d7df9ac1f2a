"""One file to plain text: which kind it is, who reads it, and what to say when it cannot be read.

Kinds are told by suffix, else by the first bytes. The readers' libraries (extra `documents`) are imported only when
a file of their kind turns up. Knows nothing of folders or models.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError

SUFFIXES: dict[str, str] = {
    ".txt": "text",
    ".text": "text",
    ".log": "text",
    ".srt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}
_ZIP, _PDF, _OLD_OFFICE, _RTF = b"PK\x03\x04", b"%PDF-", b"\xd0\xcf\x11\xe0", b"{\\rtf"
TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx")
_HTML_START = re.compile(rb"\s*(<!doctype html|<html|<\?xml[^>]*>\s*<html)", re.IGNORECASE)
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Document:
    """The text of a file. `note` says what a reader had to assume or leave out, empty where nothing."""

    name: str
    text: str
    note: str = ""


def read_document(path: Path) -> Document:
    """The text of one file. Raises DataError naming the file, what is wrong with it, and the remedy."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path}: cannot be read ({reason}); check the path and its permissions") from None
    return document_from_bytes(str(path), data)


def document_from_bytes(name: str, data: bytes) -> Document:
    """The text of a file's bytes; its kind is told by the name's suffix, else by its beginning. Raises DataError."""
    kind = kind_of(name, data)
    try:
        reader = importlib.import_module(f"common.documents.{kind}")
        text, note = reader.read(data)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        remedy = "pip install 'sumkit[documents]'"
        raise DataError(f"{name}: reading {kind} needs the package {package}; {remedy}") from None
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except RecursionError:
        raise DataError(f"{name}: cannot be read as {kind} (nested too deeply); convert it to plain text") from None
    if not text.strip():
        raise DataError(f"{name}: holds no text{' (' + note + ')' if note else ''}")
    return Document(name, text, note)


def kind_of(name: str, data: bytes) -> str:
    """`text`, `markdown`, `html`, `pdf` or `docx`. Raises DataError for anything else."""
    suffix = Path(name).suffix.lower()
    if data.startswith(_PDF):
        return "pdf"
    if data.startswith(_ZIP) and suffix in ("", ".docx"):
        return "docx"
    kind = SUFFIXES.get(suffix)
    if kind in ("pdf", "docx") and data:
        raise DataError(f"{name}: is no {kind.upper()} file inside, whatever its name says; save it again or rename it")
    if kind:
        return kind
    if suffix in TABLES:
        raise DataError(
            f"{name}: is a table, not a document; save each text as a file of its own, or summarize its rows from "
            "Python: Summarizer.load(RUN).summarize([...])"
        )
    if data.startswith((_ZIP, _OLD_OFFICE, _RTF)) or (b"\0" in data[:4096] and not data.startswith(_BYTE_ORDER_MARKS)):
        known = ", ".join(SUFFIXES)
        raise DataError(f"{name}: {suffix or 'this kind of file'} is not supported; supported are {known}")
    return "html" if _HTML_START.match(data[:1024]) else "text"
