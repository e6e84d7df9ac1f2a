"""Markdown to plain text: rendered as HTML, then read as HTML is."""

from __future__ import annotations

import re

from common.documents import html, text

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")


def read(data: bytes) -> tuple[str, str]:
    """(text, note). Front matter, link targets and raw HTML tags are left out; headings stay as their own line."""
    from markdown_it import MarkdownIt

    source, note = text.read(data)
    source = _FRONT_MATTER.sub("", source.replace("\r\n", "\n"), count=1)
    page = MarkdownIt("commonmark").enable("table").render(source)
    return html.text_of(page), note
