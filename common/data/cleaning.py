"""Cleaning of document and summary text: what no tokenizer, file format or terminal should have to meet.

Unicode NFC; lone surrogates become U+FFFD; control characters go, escape sequences with them losing their effect
but not their letters; every kind of line break becomes a line feed and every kind of space a space; runs of spaces
and of empty lines shrink. Markup, template fields and spelled-out control tokens stay: text is data.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

REPLACEMENT = "\ufffd"
MAX_COMBINING_RUN = 30  # Unicode Standard Annex 15, section 13: the Stream-Safe Text Format
_JOINER = "\u034f"  # combining grapheme joiner: what that format puts into longer runs

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufff9-\ufffb]")
_LINE_BREAK = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SPACE_RUN = re.compile("[ \t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_SPACE_AT_LINE = re.compile(" ?\n ?")
_EMPTY_LINES = re.compile("\n{3,}")
_MARKS = re.compile("[\u0300-\u1fff\u20d0-\U0001efff]")  # every combining mark and much else; found fast
_UNTIDY = ("  ", " \n", "\n ", "\n\n\n")


def clean_text(text: str) -> str:
    """The cleaned text; cleaning it again changes nothing."""
    return cleaned(text)[0]


def cleaned(text: str) -> tuple[str, frozenset[str]]:
    """The cleaned text, and which kinds of change beyond white space it needed."""
    text = text.strip()
    return (text, frozenset()) if _is_plain(text) else _tidied(text)


def _tidied(text: str) -> tuple[str, frozenset[str]]:
    changes = set()
    if not text.isascii() and _SURROGATE.search(text):
        text = _SURROGATE.sub(REPLACEMENT, text)
        changes.add("lone surrogates replaced by U+FFFD")
    if _CONTROL.search(text):
        text = _CONTROL.sub("", text)
        changes.add("control characters removed")
    if not text.isascii():
        normal = _normalized(text)
        if normal != text:
            text = normal
            changes.add("normalised to Unicode NFC")
    text = _LINE_BREAK.sub("\n", text)
    text = _SPACE_RUN.sub(" ", text)
    text = _SPACE_AT_LINE.sub("\n", text)
    return _EMPTY_LINES.sub("\n\n", text).strip(), frozenset(changes)


def _is_plain(text: str) -> bool:
    """Whether there is nothing to do: most documents of most sets, found out in a fraction of the time."""
    if any(run in text for run in _UNTIDY) or not text.replace("\n", "").isprintable():
        return False  # printable: neither surrogate, nor control character, nor any space but the plain one
    return text.isascii() or (not _has_long_run(text) and unicodedata.is_normalized("NFC", text))


def _normalized(text: str) -> str:
    """NFC. Runs of combining marks are broken up before it, for it takes time quadratic in their length."""
    if _has_long_run(text):
        text = _long_run().sub(lambda run: run.group(0) + _JOINER, text)
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _has_long_run(text: str) -> bool:
    return bool(_MARKS.search(text) and _long_run().search(text))


@cache
def _long_run() -> re.Pattern[str]:
    marks = "".join(chr(c) for c in range(0x300, 0x1F000) if unicodedata.combining(chr(c)))  # none lies outside
    return re.compile(f"[{marks}]{{{MAX_COMBINING_RUN}}}(?=[{marks}])")
