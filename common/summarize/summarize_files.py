"""Many files summarized in small groups, in their order, each summary written as soon as it is done.

A file that cannot be read or summarized is named, and the rest go on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from common.data.cleaning import clean_text
from common.documents.find import STDIN, find_documents
from common.documents.read import Document, document_from_bytes, read_document
from common.errors import DataError
from common.progress import Progress, note
from common.summarize.summary import Summary, SummaryOptions
from common.summarize.summary_output import Format, SummaryWriter

TOGETHER = 16  # documents generated at once


class Summarizes(Protocol):
    """A summarizer or an ensemble of them."""

    name: str

    def summarize_all(
        self, texts: Sequence[str], options: SummaryOptions, on_text: Any = None, on_done: Any = None
    ) -> list[Summary]: ...


def summarize_files(
    arguments: Sequence[str],
    load: Callable[[], Summarizes],
    options: SummaryOptions,
    form: Format,
    write: Callable[[str], object],
) -> None:
    """Read, summarize and write. `load` gives the model and is called once there is something to summarize.

    On a terminal, text output appears word by word; else there is a progress bar. Raises DataError at the end,
    naming every document that has no summary.
    """
    found = find_documents(arguments)
    if found.skipped_line():
        note(found.skipped_line())
    if not found.paths:
        raise DataError(f"no document in {', '.join(arguments)}; give files, or a folder that holds some")
    terminal = sys.stdout.isatty()
    word_by_word = form == "text" and (terminal or len(found.paths) == 1)
    writer = SummaryWriter(form, write, len(found.paths), terminal, options.evidence)
    failures: dict[str, str] = {}
    groups = _groups(found.paths, failures, 1 if word_by_word else TOGETHER)
    summarizer = None
    if word_by_word:
        for group in groups:
            summarizer = summarizer or load()
            failures.update(_summarize_group(summarizer, group, options, writer))
    else:
        with Progress(len(found.paths), "summaries", at_once=TOGETHER) as progress:
            for group in groups:
                summarizer = summarizer or load()
                failures.update(_summarize_group(summarizer, group, options, writer, progress.advance))
    writer.end({"model": summarizer.name if summarizer else None, "long": options.long, "failed": failures})
    if failures:
        listed = "".join(f"\n  {reason}" for reason in failures.values())
        raise DataError(f"{len(failures)} of {len(found.paths)} documents have no summary:{listed}")


def _groups(paths: Sequence[Path], failures: dict[str, str], size: int) -> Iterator[list[Document]]:
    """The documents in groups of `size`; those that cannot be read are named at once and left out."""
    for start in range(0, len(paths), size):
        group = []
        for path in paths[start : start + size]:
            try:
                document = _read(path)
            except DataError as error:
                failures[_name(path)] = str(error)
                if len(paths) > 1:
                    note(f"not read: {error}")
                continue
            if document.note:
                note(f"{document.name}: {document.note}")
            group.append(document)
        if group:
            yield group


def _name(path: Path) -> str:
    return "standard input" if str(path) == STDIN else str(path)


def _read(path: Path) -> Document:
    if str(path) == STDIN:
        return document_from_bytes(_name(path), sys.stdin.buffer.read())
    return read_document(path)


def _summarize_group(
    summarizer: Summarizes,
    group: list[Document],
    options: SummaryOptions,
    writer: SummaryWriter,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Write the group's summaries in order; what failed, by name."""
    waiting: dict[int, Summary] = {}
    failures: dict[str, str] = {}
    following = 0

    def on_text(index: int, text: str) -> None:
        if len(group) == 1:
            writer.piece(group[index].name, text)

    def on_done(index: int, summary: Summary) -> None:
        nonlocal following
        waiting[index] = summary
        advance()
        while following in waiting:
            name, done = group[following].name, waiting.pop(following)
            writer.add(name, done, clean_text(group[following].text))
            following += 1
            if done.stop_reason == "error":
                failures[name] = f"{name}: {done.error}"
            elif done.error:
                note(f"{name}: {done.error}")
            if done.from_document:
                note(
                    f"{name}: no sentence of {len(done.candidates)} summaries was supported; this is the document's own"
                )
            elif done.dropped:
                note(f"{name}: {len(done.dropped)} unsupported sentences left out")
            if done.unread_tokens and options.long == "two-stage":
                kept = f"summarized from its {len(done.parts)} key sentences, {done.unread_tokens} tokens left out"
                note(f"{name}: {kept} (--long map-reduce takes all of it, in parts)")
            elif done.unread_tokens:
                note(f"{name}: {done.unread_tokens} tokens of it were not read (--long {options.long})")

    summarizer.summarize_all([document.text for document in group], options, on_text, on_done)
    return failures
