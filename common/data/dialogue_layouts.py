"""Files of dialogues that hold no prompt and answer columns: message trees, and texts with speakers marked in them.

A table in one of these layouts becomes a table of `document` and `summary`; any other is left as it is. Knows
nothing of columns' names beyond these layouts, nor of what is done with the rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from common.data.conversations import best_answers
from common.data.report import ReportBuilder
from common.data.table import Table, shown

TREE_COLUMNS = {"message_id", "parent_id", "text", "role"}
SPEAKERS = re.compile(r"###[ \t]*(Human|User|Instruction|Assistant|Response)[ \t]*:[ \t]*", re.IGNORECASE)
ASKS = ("human", "user", "instruction")


def to_pairs(table: Table, report: ReportBuilder) -> Table:
    """Prompt and answer pairs where the table is a forest of messages or marked text; else the table itself."""
    if set(table.columns) >= TREE_COLUMNS:
        return _from_trees(table, report)
    if _is_text_only(table):
        return _from_marked_text(table, report)
    return table


def _from_trees(table: Table, report: ReportBuilder) -> Table:
    """Each answered prompt of the trees with the answer people ranked first; in English where languages are given."""
    pairs = Table(table.file, bad=table.bad)
    rows, places = [], {}
    for row in table.rows:
        message = _message_of(row.values)
        problem = "" if message["deleted"] else _problem_of(message)
        if problem:
            pairs.reject(row.place, problem)
        elif not message["deleted"]:
            rows.append(message)
            places[message["message_id"]] = row.place
    for pair in best_answers(rows):
        pairs.add(places[pair["id"]], pair)
    pairs.declare(("document", "summary"))
    report.note(
        f"message trees: {len(table.rows):,} messages became {len(pairs.rows):,} pairs of prompt and best answer"
    )
    return pairs


def _message_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """A message as trees have it, also where a CSV file says everything in text."""
    message = {"lang": "en", **values}
    message["deleted"] = str(values.get("deleted") or "").lower() not in ("", "false", "0")
    message["parent_id"] = values.get("parent_id") or None
    rank = values.get("rank")
    try:
        message["rank"] = None if rank in (None, "") else float(rank)
    except (TypeError, ValueError):
        message["rank"] = rank
    if message["rank"] != message["rank"]:  # NaN, as a table without a value has it
        message["rank"] = None
    return message


def _problem_of(message: Mapping[str, Any]) -> str:
    """Why a message cannot take part in a tree; empty where it can."""
    for name in ("message_id", "text"):
        if not isinstance(message.get(name), str) or not message[name].strip():
            return f"its {name} is no text"
    if message.get("role") not in ("prompter", "assistant"):
        return f"its role is {shown(str(message.get('role')))}; known are 'prompter' and 'assistant'"
    if not isinstance(message["parent_id"], str | None):
        return "its parent_id is no text"
    if not isinstance(message["rank"], float | None):
        return f"its rank {shown(str(message['rank']))} is no number"
    return ""


def _is_text_only(table: Table) -> bool:
    """Whether every row has just a text (and an id), and speakers are marked in the first one."""
    if not table.rows or not set(table.columns) <= {"text", "id"} or "text" not in table.columns:
        return False
    return bool(SPEAKERS.search(str(table.rows[0].values.get("text"))))


def _from_marked_text(table: Table, report: ReportBuilder) -> Table:
    """`### Human: … ### Assistant: …`: all before the last answer is the document, the last answer the summary."""
    pairs = Table(table.file, bad=table.bad)
    pairs.declare(("document", "summary"))
    for row in table.rows:
        text = str(row.values.get("text") or "")
        turns = _turns(text)
        while turns and turns[-1][0]:
            turns.pop()  # nothing answers it
        if len(turns) < 2:
            pairs.reject(
                row.place, "holds no question followed by an answer; mark them as `### Human:`, `### Assistant:`"
            )
            continue
        asked = turns[:-1]
        document = asked[0][1] if len(asked) == 1 else "\n\n".join(f"{_name(asks)}: {said}" for asks, said in asked)
        values = {"document": document, "summary": turns[-1][1]}
        pairs.add(row.place, {**values, **({"id": row.values["id"]} if row.values.get("id") else {})})
    report.note("text only: the last answer of each text is the summary, what stands before it the document")
    return pairs


def _turns(text: str) -> list[tuple[bool, str]]:
    """(whether it asks, what is said) for each marked turn."""
    marks = list(SPEAKERS.finditer(text))
    if not marks:
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        (mark.group(1).lower() in ASKS, text[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)
    ]


def _name(asks: bool) -> str:
    return "User" if asks else "Assistant"
