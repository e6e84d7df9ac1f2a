"""PDF to plain text: lines joined into paragraphs again, running heads and page numbers left out.

Pictures are not read: a scanned page has no text, which is said.
"""

from __future__ import annotations

import io
import logging
import re
from collections import Counter

from common.errors import DataError

_SPACES = re.compile(r"[^\S\n]+")
_DIGITS = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(r"(?:page\s*)?[-–—\s]*\d{1,4}[-–—\s]*(?:(?:of|/)\s*\d{1,4})?", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?:;。！？…][\"'”’)\]]*$")
_ITEM_START = re.compile(r"(?:[•◦▪‣·*–—-]\s|\(?\d{1,3}[.)]\s|[A-Z])")
FULL_LINES = 0.8  # this share of the lines is no longer than a full line
SHORT_LINE = 0.75  # of a full line; a sentence that ends on a shorter one ends its paragraph


def read(data: bytes) -> tuple[str, str]:
    """(text, note). Raises DataError for a damaged or encrypted file."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns about every flaw it mends
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DataError("is encrypted with a password; save it without one")
        pages = [_lines(page.extract_text()) for page in reader.pages]
    except DataError:
        raise
    except DependencyError:
        raise DataError("is encrypted; save it without a password") from None
    except Exception as error:  # the library raises many kinds; each means that the file is damaged
        remedy = "open it in a viewer and print it to PDF"
        raise DataError(f"is damaged ({type(error).__name__}: {error}); {remedy}") from None
    empty = sum(not any(page) for page in pages)
    note = f"{empty} of {len(pages)} pages without text: scanned? run OCR over them first" if empty else ""
    lines = [line for page in without_running_heads(pages) for line in page]
    return join_lines(lines), note


def _lines(text: str) -> list[str]:
    return [_SPACES.sub(" ", line).strip() for line in text.splitlines()]


def without_running_heads(pages: list[list[str]]) -> list[list[str]]:
    """Pages without page numbers, and without first and last lines that recur on most of three or more pages."""
    trimmed = [_without_blank_ends(page) for page in pages]
    edges = Counter(key for page in trimmed for key in {_edge(line) for line in (page[:1] + page[-1:])})
    recurring = {key for key, count in edges.items() if len(pages) >= 3 and count > len(pages) / 2}

    def is_head(line: str) -> bool:
        return _edge(line) in recurring or _PAGE_NUMBER.fullmatch(line) is not None

    kept = []
    for page in trimmed:
        start, end = 0, len(page)
        while start < end and (is_head(page[start]) or not page[start]):
            start += 1
        while end > start and (is_head(page[end - 1]) or not page[end - 1]):
            end -= 1
        kept.append(page[start:end])
    return kept


def _edge(line: str) -> str:
    return _DIGITS.sub("#", line)


def _without_blank_ends(page: list[str]) -> list[str]:
    filled = [index for index, line in enumerate(page) if line]
    return page[filled[0] : filled[-1] + 1] if filled else []


def join_lines(lines: list[str]) -> str:
    """Lines as typeset to paragraphs, apart by blank lines; a word divided at a line's end is made whole."""
    lengths = sorted(len(line) for line in lines if line)
    width = lengths[int(FULL_LINES * len(lengths))] if lengths else 0
    paragraphs: list[str] = []
    open_line = False
    for index, line in enumerate(lines):
        if not line:
            open_line = False
            continue
        if not open_line:
            paragraphs.append(line)
        elif paragraphs[-1].endswith(("-", "\u00ad")) and line[0].islower():
            paragraphs[-1] = paragraphs[-1][:-1] + line
        else:
            paragraphs[-1] += " " + line
        following = lines[index + 1] if index + 1 < len(lines) else ""
        open_line = not _ends_paragraph(line, following, width)
    return "\n\n".join(paragraphs)


def _ends_paragraph(line: str, following: str, width: int) -> bool:
    short = len(line) < SHORT_LINE * width
    return short and (_SENTENCE_END.search(line) is not None or _ITEM_START.match(following) is not None)
