"""Summaries as text, JSON, JSON Lines or CSV, each written as soon as it and those before it are there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

from common.safe_text import one_line, visible
from common.summarize.summary import Summary

Format = Literal["text", "json", "jsonl", "csv"]
CSV_COLUMNS = ("file", "summary", "stop_reason", "prompt_tokens", "tokens", "unread_tokens", "error", "support")
_QUOTED = 160  # characters of a passage that are shown


class SummaryWriter:
    """Writes summaries of named documents to `write`, which takes text.

    total     how many documents there are; several get their name as a heading in text output
    terminal  whether a person watches: control characters are shown as signs then
    evidence  show in text output what each sentence rests on
    """

    def __init__(
        self, form: Format, write: Callable[[str], object], total: int, terminal: bool = False, evidence: bool = False
    ) -> None:
        self._form = form
        self._write = write
        self._total = total
        self._terminal = terminal
        self._evidence = evidence
        self._count = 0
        self._streaming = False
        self._rows: list[dict[str, Any]] = []
        if form == "csv":
            write(_csv_line(CSV_COLUMNS))

    def piece(self, name: str, text: str) -> None:
        """A piece of the summary that is being written; shown in text output only."""
        if self._form != "text":
            return
        if not self._streaming:
            self._heading(name)
            self._streaming = True
        self._write(self._safe(text))

    def add(self, name: str, summary: Summary, document: str = "") -> None:
        """A finished summary; what was streamed of it already is not repeated. `document` is what evidence quotes."""
        row = {"file": name, "summary": summary.text, **{k: v for k, v in asdict(summary).items() if k != "text"}}
        row["support"] = summary.support
        if self._form == "jsonl":
            self._write(json.dumps(row, ensure_ascii=False) + "\n")
        elif self._form == "csv":
            self._write(_csv_line([row[column] for column in CSV_COLUMNS]))
        elif self._form == "json":
            self._rows.append(row)
        elif self._streaming:
            self._write("\n\n" if self._total > 1 else "\n")
        elif summary.text:
            self._heading(name)
            self._write(self._safe(summary.text) + ("\n\n" if self._total > 1 else "\n"))
        if self._form == "text" and self._evidence:
            self._write("".join(f"{line}\n" for line in evidence_lines(summary, document)))
        self._streaming = False

    def end(self, facts: dict[str, Any]) -> None:
        """Close the output; `facts` (model, failures) go into the JSON document."""
        if self._form == "json":
            self._write(json.dumps({**facts, "summaries": self._rows}, ensure_ascii=False, indent=2) + "\n")

    def _heading(self, name: str) -> None:
        self._count += 1
        if self._total > 1:
            self._write(f"== {self._safe(name)}\n")

    def _safe(self, text: str) -> str:
        return visible(text) if self._terminal else text


def evidence_lines(summary: Summary, document: str) -> list[str]:
    """A line for each sentence with its support, and for each passage that it rests on; then what was left out."""
    lines = []
    for sentence in summary.sentences:
        lines.append(f"  {sentence.support:.2f}  {one_line(summary.text[sentence.start : sentence.end], _QUOTED)}")
        for passage in sentence.evidence:
            lines.append(f"        from: {one_line(document[passage.start : passage.end], _QUOTED)}")
    lines += [f"  left out, not supported: {one_line(text, _QUOTED)}" for text in summary.dropped]
    return lines


def _csv_line(cells: Any) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()
