"""HTML to plain text: what a reader would read, a blank line between blocks."""

from __future__ import annotations

import re
from typing import Any

# Never part of what a page says.
_NEVER = ("script", "style", "noscript", "template", "svg", "math", "iframe", "object", "select", "button", "textarea")
# Around what a page says; left out only where something is left after it.
_AROUND = ("nav", "header", "footer", "aside", "form", "dialog")
_BLOCKS = ("address", "article", "aside", "blockquote", "body", "center", "details", "div", "dl", "fieldset",
           "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html",
           "legend", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "title", "ul")  # fmt: skip
_LINES = ("br", "li", "tr", "dt", "dd")
_MAIN_SHARE = 0.5  # an <article> or <main> with this share of a page's text is what the page is about
_SPACES = re.compile(r"[^\S\n]+")
_LINE_ENDS = re.compile(r" ?(?:\| )?\n ?")
_BLANK_LINES = re.compile(r"\n{2,}")


def read(data: bytes) -> tuple[str, str]:
    """(text, note) of a page; the encoding is the one it declares, else the most likely one."""
    from bs4 import BeautifulSoup

    return _text_of_soup(BeautifulSoup(data, "html.parser")), ""


def text_of(page: str) -> str:
    """The text of HTML source."""
    from bs4 import BeautifulSoup

    return _text_of_soup(BeautifulSoup(page, "html.parser"))


def _text_of_soup(soup: Any) -> str:
    for tag in soup(_NEVER):
        tag.decompose()
    whole = _text(soup.body or soup)
    for tag in soup(_AROUND):
        tag.decompose()
    inner = _text(soup.body or soup) or whole
    mains = [_text(tag) for tag in soup(["article", "main"])]
    longest = max(mains, key=len, default="")
    return longest if len(longest) >= _MAIN_SHARE * len(inner) and longest else inner


def _text(root: Any) -> str:
    """Text of an element without recursion: blocks apart by a blank line, cells of a row by ` | `."""
    from bs4 import Comment, NavigableString, Tag

    pieces: list[str] = []
    for node, opening in _walk(root):
        if isinstance(node, Tag):
            if node.name in ("td", "th"):
                pieces.append("" if opening else " | ")
            elif node.name in _LINES:
                pieces.append("\n" if opening else "")
            elif node.name in _BLOCKS:
                pieces.append("\n\n")
        elif isinstance(node, NavigableString) and type(node) is not Comment and opening:
            inside_pre = node.find_parent("pre") is not None
            pieces.append(str(node) if inside_pre else re.sub(r"\s+", " ", str(node)))
    text = _SPACES.sub(" ", "".join(pieces))
    return _BLANK_LINES.sub("\n\n", _LINE_ENDS.sub("\n", text)).strip()


def _walk(root: Any) -> Any:
    """Every node below `root` in order, once on the way in and, for elements, once on the way out."""
    stack = [(child, True) for child in reversed(getattr(root, "contents", []))]
    while stack:
        node, opening = stack.pop()
        yield node, opening
        children = getattr(node, "contents", None)
        if opening and children is not None:
            stack.append((node, False))
            stack.extend((child, True) for child in reversed(children))
