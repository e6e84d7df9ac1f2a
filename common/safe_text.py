"""Text of unknown origin made harmless to show: in HTML (before escaping), in a terminal, and in Markdown.

HTML escaping itself is the template's (autoescape). What is removed here is what escaping leaves in place: terminal
escapes, other control characters and the marks that turn the reading direction of everything after them.
"""

from __future__ import annotations

import re

_LINE_BREAK = re.compile("\r\n?|[\u2028\u2029\x0b\x0c\x85]")
_UNSAFE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_MARKDOWN = re.compile(r"([\\`*_|~$]|\](?=[(\[:]))")
_LINE_START = re.compile(r"^(\s*)([#+\-=]|\d+(?=[.)](?:\s|$)))", re.MULTILINE)


def visible(text: str) -> str:
    """`text` with every control character shown as a sign: ESC as ␛, a direction override as ⟨U+202E⟩.

    Line breaks of any kind become newlines; tabs, joiners (emoji, Indic scripts) and plain direction marks stay.
    Lone surrogates and non-characters, which no file can hold, become U+FFFD.
    """
    return _UNSAFE.sub(lambda match: _sign(ord(match[0])), _LINE_BREAK.sub("\n", text))


def _sign(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0xD800 <= code <= 0xDFFF or code >= 0xFFFE:
        return "�"
    return f"⟨U+{code:04X}⟩"


def one_line(text: str, limit: int = 0) -> str:
    """`visible` text with white space collapsed, cut to `limit` characters (0: not cut) with an ellipsis."""
    line = " ".join(visible(text).split())
    return line[: limit - 1].rstrip() + "…" if limit and len(line) > limit else line


def markdown_text(text: str) -> str:
    """`visible` text that a Markdown reader shows as it stands: nothing in it marks up, links or becomes HTML.

    Brackets stay unless something that makes them a link follows.
    """
    text = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _MARKDOWN.sub(r"\\\1", text)
    return _LINE_START.sub(lambda match: match[1] + _escaped_start(match[2]), text)


def _escaped_start(mark: str) -> str:
    return f"&#{ord(mark[0])};{mark[1:]}" if mark[0].isdigit() else "\\" + mark
