"""Conversations out of data sets: turns as messages, and message forests as prompt and answer pairs.

Two layouts of turns are read: `role` and `content` (a column named `messages`), and `from` and `value` (ShareGPT's,
a column named `conversations`). Knows nothing of where the rows come from, nor of chat templates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from common.types import Message

Row = dict[str, Any]

COLUMN_NAMES = ("messages", "conversations")
ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
_LABELS = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


def read_messages(value: Any) -> tuple[Message, ...]:
    """The turns of one conversation; what follows the last assistant turn is left out, since nothing answers it.

    `value` is a list of turns, or (in CSV) such a list written as JSON. Raises ValueError, its text the problem, when
    it is not one, a role is unknown, or no assistant speaks. A turn's content may be empty.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("is text, not a list of turns") from None
    if not isinstance(value, list):
        raise ValueError("is not a list of turns")
    messages = [_message(turn, number) for number, turn in enumerate(value, 1)]
    while messages and messages[-1].role != "assistant":
        messages.pop()
    if not messages:
        raise ValueError("has no assistant turn")
    return tuple(messages)


def _message(turn: Any, number: int) -> Message:
    if not isinstance(turn, dict):
        raise ValueError(f"turn {number} is not an object with role and content")
    name = turn.get("role") or turn.get("from")
    role: Any = ROLES.get(str(name).lower())
    if role is None:
        known = ", ".join(ROLES)
        raise ValueError(f"turn {number} has the role {name!r}; known are {known}")
    content = turn.get("content") if "content" in turn else turn.get("value")
    if isinstance(content, list):  # parts, as chat APIs have them; only text can be trained on
        content = _joined_parts(content, number)
    if not isinstance(content, str) and content is not None:
        raise ValueError(f"turn {number} holds no text")
    return Message(role, content or "")


def _joined_parts(parts: list[Any], number: int) -> str:
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        raise ValueError(f"turn {number} holds something other than text")
    return "".join(part["text"] for part in parts)


def context_text(messages: Sequence[Message]) -> str:
    """What the last turn answers, as text for people, metrics and duplicates: a lone question as it is, else with
    the speakers' names."""
    before = messages[:-1]
    if [message.role for message in before] == ["user"]:
        return before[0].content
    return "\n\n".join(f"{_LABELS[message.role]}: {message.content}" for message in before)


def best_answers(rows: Iterable[Row], language: str = "en") -> Iterator[Row]:
    """Pairs of a prompt and its best-ranked answer from a forest of messages, as in OpenAssistant's oasst1: one for
    each answered prompter message of a tree, after all that was said before it.

    Each message names its parent; `rank` 0 is the answer people preferred, and a lone answer has none. The pair of an
    opening prompt has the prompt as its document; of a later one, the path from the opening on with speakers' names.
    In the order of the prompts in `rows`, ids being the prompts'. A prompt whose path is broken (another language, a
    deleted or missing message) gives no pair.
    """
    messages: dict[str, Row] = {}
    answers: dict[str, Row] = {}
    for row in rows:
        if row.get("lang") != language or row.get("deleted"):
            continue
        messages[row["message_id"]] = row
        if row.get("role") == "assistant" and row.get("parent_id") is not None:
            before = answers.get(row["parent_id"])
            if before is None or (row.get("rank") or 0) < (before.get("rank") or 0):
                answers[row["parent_id"]] = row
    for identifier, prompt in messages.items():
        path = _path_to(prompt, messages) if prompt.get("role") == "prompter" and identifier in answers else []
        if path:
            turns = tuple(_message(row, number) for number, row in enumerate(path, 1))
            answer = answers[identifier]["text"]
            yield {
                "id": identifier,
                "document": context_text((*turns, Message("assistant", answer))),
                "summary": answer,
            }


def _path_to(message: Row, messages: dict[str, Row]) -> list[Row]:
    """The messages from the opening one to this one, as turns; empty where one is missing or the path is a circle."""
    path: list[Row] = []
    seen: set[str] = set()
    while True:
        if message["message_id"] in seen:
            return []
        seen.add(message["message_id"])
        path.append({"role": message.get("role"), "content": message["text"]})
        parent = message.get("parent_id")
        if parent is None:
            return path[::-1]
        if parent not in messages:
            return []
        message = messages[parent]
