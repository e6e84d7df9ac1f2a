"""Reads an HTML page as a browser would, to check what elements, attributes and text it really has."""

from __future__ import annotations

from html.parser import HTMLParser

BLOCKS = {"td", "th", "p", "li", "dt", "dd", "h1", "h2", "h3", "h4", "h5", "figcaption", "summary", "title"}
VOID = {"meta", "br", "img", "link", "input", "hr", "col"}


class Page(HTMLParser):
    """`tags`, `attributes` (name, value) and visible `text` of a page; `unclosed` lists elements left open."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.unclosed: list[str] = []
        self._text: list[str] = []
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.unclosed.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed, f"</{tag}> closes nothing"
        assert self.unclosed.pop() == tag, f"</{tag}> does not close what is open"
        if tag in BLOCKS:
            self._text.append(" ")

    def handle_data(self, data: str) -> None:
        if "style" not in self.unclosed[-1:]:
            self._text.append(data)
