"""Prompt and answer pairs out of conversation data sets: single turns only, so that a pair stands by itself.

Knows nothing of where the rows come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Row = dict[str, Any]


def single_turns(rows: Iterable[Row]) -> Iterator[Row]:
    """Pairs from rows whose `conversations` list is one human turn and one answer (`from`, `value`), as in FineTome.

    Conversations with a system message or further turns are left out: their answers lean on what a pair lacks.
    """
    for row in rows:
        turns = row.get("conversations") or []
        if [turn.get("from") for turn in turns] == ["human", "gpt"]:
            yield {"document": turns[0].get("value"), "summary": turns[1].get("value")}


def first_answers(rows: Iterable[Row], language: str = "en") -> Iterator[Row]:
    """Pairs of an opening prompt and its best-ranked answer from a forest of messages, as in OpenAssistant's oasst1.

    Each message names its parent; `rank` 0 is the answer people preferred, and a lone answer has none.
    """
    prompts: dict[str, Row] = {}
    answers: dict[str, Row] = {}
    for row in rows:
        if row.get("lang") != language or row.get("deleted"):
            continue
        if row.get("role") == "prompter" and row.get("parent_id") is None:
            prompts[row["message_id"]] = row
        elif row.get("role") == "assistant":
            before = answers.get(row["parent_id"])
            if before is None or (row.get("rank") or 0) < (before.get("rank") or 0):
                answers[row["parent_id"]] = row
    for identifier, prompt in prompts.items():
        if identifier in answers:
            yield {"id": identifier, "document": prompt["text"], "summary": answers[identifier]["text"]}
