"""Which columns hold the document, the summary, further references and the id.

Names given by the user win; then `document` and `summary`; then the one column with a name in common use. Two
candidates or none is an error that lists the columns and the flags, never a guess. A column of turns (`messages`,
ShareGPT's `conversations`) is taken where neither was named and there are no such two columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from common.data.conversations import COLUMN_NAMES as CONVERSATION_NAMES
from common.data.table import shown
from common.errors import DataError
from common.nearest import nearest

DOCUMENT_NAMES = (
    "document", "article", "dialogue", "dialog", "text", "body", "content", "source", "input", "passage", "transcript",
    "full_text", "report", "story", "context", "src", "prompt", "post", "conversation",
)  # fmt: skip
SUMMARY_NAMES = (
    "summary", "highlights", "tldr", "tl_dr", "headline", "abstract", "target", "output", "summaries", "tgt",
    "reference", "reference_summary", "gold_summary", "human_summary", "short_summary", "response", "completion",
)  # fmt: skip
ID_NAMES = ("id", "uid", "guid", "uuid", "doc_id", "document_id", "example_id", "paper_id", "row_id", "fname", "key")
REFERENCES_NAME = "references"
_LISTED = 20  # column names in a message


@dataclass(frozen=True)
class Columns:
    """The chosen column names; `id` and `references` are empty where there is none.

    Where `conversation` names a column of turns, document and summary come out of it and have no column.
    """

    document: str
    summary: str
    id: str = ""
    references: str = ""
    conversation: str = ""

    def __str__(self) -> str:
        if self.conversation:
            return f"conversations from {shown(self.conversation)}"
        return f"document from {shown(self.document)}, summary from {shown(self.summary or self.references)}"


def choose_columns(found: Sequence[str], file: str, document: str = "", summary: str = "") -> Columns:
    """Choose among the columns found; `document` and `summary` are the user's own choice, if any.

    Raises DataError when a given name is absent, or when no or several columns fit.
    """
    by_name = {_normal(name): name for name in reversed(found)}
    turns = next((by_name[name] for name in CONVERSATION_NAMES if name in by_name), "")
    if turns and not (document or summary) and not {DOCUMENT_NAMES[0], SUMMARY_NAMES[0]} <= by_name.keys():
        return Columns("", "", _id_column(by_name), conversation=turns)
    references = by_name.get(REFERENCES_NAME, "")
    chosen_document = _given(document, found, file, "--document-column") or _recognised(
        by_name, DOCUMENT_NAMES, found, file, "document"
    )
    chosen_summary = _given(summary, found, file, "--summary-column")
    if not chosen_summary and not (references and not any(name in by_name for name in SUMMARY_NAMES)):
        chosen_summary = _recognised(by_name, SUMMARY_NAMES, found, file, "summary")
    if chosen_document in (chosen_summary, references):
        raise DataError(f"{file}: column {shown(chosen_document)} cannot be both document and summary")
    identifier = _id_column(by_name)
    identifier = "" if identifier in (chosen_document, chosen_summary) else identifier
    return Columns(chosen_document, chosen_summary, identifier, "" if references == chosen_summary else references)


def _id_column(by_name: dict[str, str]) -> str:
    return next((by_name[name] for name in ID_NAMES if name in by_name), "")


def _normal(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _given(name: str, found: Sequence[str], file: str, flag: str) -> str:
    if not name or name in found:
        return name
    near = nearest(name, found)
    hint = f"; did you mean {shown(near)}?" if near else ""
    raise DataError(f"{file}: {flag} {shown(name)} is not a column{hint}\ncolumns found: {_list(found)}")


def _recognised(by_name: dict[str, str], names: Sequence[str], found: Sequence[str], file: str, what: str) -> str:
    candidates = [by_name[name] for name in names if name in by_name]
    if len(candidates) == 1 or (candidates and candidates[0] == by_name.get(names[0])):
        return candidates[0]
    flag = f"--{what}-column"
    if candidates:
        problem = f"cannot tell which column holds the {what}: {_list(candidates)} all may"
    else:
        problem = f"no column looks like a {what}"
    raise DataError(f"{file}: {problem}; name it with {flag} NAME\ncolumns found: {_list(found)}")


def _list(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(shown(name, 40) for name in names[:_LISTED]) + more
