"""Conversations from files: both layouts are read, what cannot be trained on is counted, never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.data.columns import Columns, choose_columns
from common.data.conversations import context_text, read_messages
from common.data.sources import load_splits
from common.errors import DataError
from common.settings import DataSettings
from common.types import Message

TURNS = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "Why is the sky blue?"},
    {"from": "gpt", "value": "Rayleigh scattering."},
    {"from": "human", "value": "And at night?"},
    {"from": "gpt", "value": "No sun."},
]


def openai(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    names = {"human": "user", "gpt": "assistant", "system": "system"}
    return [{"role": names[turn["from"]], "content": turn["value"]} for turn in turns]


def test_both_layouts_give_the_same_messages() -> None:
    messages = read_messages(TURNS)
    assert messages == read_messages(openai(TURNS)) == read_messages(json.dumps(TURNS))
    assert messages[0] == Message("system", "Be brief.")
    assert messages[-1] == Message("assistant", "No sun.")


def test_what_nobody_answers_is_left_out() -> None:
    assert read_messages([*TURNS, {"from": "human", "value": "Thanks"}]) == read_messages(TURNS)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("hello", "text, not a list"),
        (7, "not a list"),
        ([{"role": "user", "content": "x"}], "no assistant turn"),
        ([{"role": "narrator", "content": "x"}], "role 'narrator'"),
        (["x"], "turn 1 is not an object"),
        ([{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "x"}], "other than text"),
        ([{"role": "user", "content": 3}], "turn 1 holds no text"),
    ],
)
def test_what_is_no_conversation_is_said(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_messages(value)


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read_messages([{"role": "assistant", "content": parts}])[0].content == "ab"


def test_the_document_is_a_lone_question_or_the_talk_so_far() -> None:
    messages = read_messages(TURNS)
    assert context_text(messages[1:3]) == "Why is the sky blue?"
    assert context_text(messages).startswith("System: Be brief.\n\nUser: Why")
    assert context_text(messages).endswith("Assistant: Rayleigh scattering.\n\nUser: And at night?")


def test_a_column_of_turns_is_taken_unless_a_pair_is_there() -> None:
    assert choose_columns(["prompt", "messages", "id"], "a.jsonl") == Columns("", "", "id", conversation="messages")
    assert choose_columns(["conversations", "source", "score"], "a.parquet").conversation == "conversations"
    assert choose_columns(["messages", "document", "summary"], "a.jsonl") == Columns("document", "summary")
    assert choose_columns(["messages", "text", "tldr"], "a.jsonl", "text", "tldr") == Columns("text", "tldr")


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps({"conversations": row}) + "\n" for row in rows), encoding="utf-8")
    return path


def talk(number: int) -> list[dict[str, str]]:
    return [{"from": "human", "value": f"Topic {number}?"}, {"from": "gpt", "value": f"Fact {number} of it."}]


def test_a_sharegpt_file_is_read_whole_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    empty = [{"from": "human", "value": "x"}, {"from": "gpt", "value": " "}]
    rows = [TURNS, empty, [{"from": "human", "value": "alone"}], *(talk(number) for number in range(20))]
    splits = load_splits(DataSettings(data=str(write(tmp_path / "chats.jsonl", rows))), seed=0)
    examples = {example.id: example for part in (splits.train, splits.dev, splits.test) for example in part}
    assert len(examples) + splits.report.dropped + splits.report.bad_row_count == 23
    assert splits.report.count("empty turn") == 1
    assert splits.report.bad_row_count == 1
    assert "line 3" in str(splits.report.bad_rows[0])
    assert "no assistant turn" in str(splits.report.bad_rows[0])
    assert "conversations from 'conversations'" in " ".join(splits.report.notes)
    long = next(example for example in examples.values() if len(example.messages) == 5)
    assert (long.summary, long.messages[1].content) == ("No sun.", "Why is the sky blue?")


def test_a_bad_conversation_stops_a_strict_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "chats.jsonl", [talk(1), "not turns"])
    with pytest.raises(DataError, match="line 2: 'conversations' is text, not a list of turns"):
        load_splits(DataSettings(data=str(path), on_bad_row="stop"), seed=0)
