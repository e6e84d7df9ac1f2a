"""Message trees and texts with marked speakers become prompt and answer pairs, from a file as from the Hub."""

import csv
import json

import pytest

from common.data.sources import load_splits
from common.settings import DataSettings


def oasst_row(identifier, parent, role, text, rank=None, lang="en", deleted=False):
    """A row with the columns that OpenAssistant/oasst1 has on the Hub."""
    return {
        "message_id": identifier, "parent_id": parent, "user_id": "u", "created_date": "2023-02-05T14:23:50",
        "text": text, "role": role, "lang": lang, "review_count": 3, "review_result": True, "deleted": deleted,
        "rank": rank, "synthetic": False, "model_name": None, "detoxify": None, "message_tree_id": identifier,
        "tree_state": "ready_for_export", "emojis": None, "labels": None,
    }  # fmt: skip


def load(tmp_path, rows):
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_splits(DataSettings(data=str(tmp_path), min_document_words=1, dev_fraction=0.0), 0)


def test_a_tree_gives_every_answered_prompt_and_the_answer_people_ranked_first(tmp_path):
    splits = load(
        tmp_path,
        [
            oasst_row("a", None, "prompter", "Why is the sky blue?"),
            oasst_row("a1", "a", "assistant", "It reflects the sea.", rank=1),
            oasst_row("a2", "a", "assistant", "Air scatters blue light most.", rank=0),
            oasst_row("a3", "a2", "prompter", "And at dusk?"),
            oasst_row("a4", "a3", "assistant", "Red light is left.", rank=0),
            oasst_row("a5", "a1", "prompter", "Even inland?"),
            oasst_row("a6", "a5", "assistant", "Yes.", rank=None),
            oasst_row("a7", "a6", "prompter", "Nobody answered this"),
            oasst_row("d", None, "prompter", "A prompt taken back", deleted=True),
            oasst_row("d1", "d", "assistant", "An answer"),
            oasst_row("d2", "d1", "prompter", "A prompt below it"),
            oasst_row("d3", "d2", "assistant", "Another answer"),
            oasst_row("e", "f", "prompter", "Round"),
            oasst_row("f", "e", "assistant", "and round"),
            oasst_row("b", None, "prompter", "¿Por qué?", lang="es"),
            oasst_row("b1", "b", "assistant", "Porque sí.", lang="es"),
            oasst_row("c", None, "prompter", "A question nobody answered"),
        ],
    )
    sky, scattered = "Why is the sky blue?", "Air scatters blue light most."
    sea = f"User: {sky}\n\nAssistant: It reflects the sea.\n\nUser: Even inland?"
    assert [(example.id, example.document, example.summary) for example in splits.train] == [
        ("a", sky, scattered),
        ("a3", f"User: {sky}\n\nAssistant: {scattered}\n\nUser: And at dusk?", "Red light is left."),
        ("a5", sea, "Yes."),
    ]
    assert any("17 messages became 3 pairs" in line for line in splits.report.lines())


def test_a_text_with_marked_speakers_is_split_before_its_last_answer(tmp_path):
    splits = load(
        tmp_path,
        [
            {"text": "### Human: What is tar?### Assistant: A tool that packs files."},
            {"text": "### Human: What is tar?\n### Assistant: A tool.\n### Human: Who wrote it?\n### Assistant: AT&T."},
            {"text": "### Human: Is anybody there?"},
        ],
    )
    assert [(example.document, example.summary) for example in splits.train] == [
        ("What is tar?", "A tool that packs files."),
        ("User: What is tar?\n\nAssistant: A tool.\n\nUser: Who wrote it?", "AT&T."),
    ]
    assert [(row.place, row.problem[:22]) for row in splits.report.bad_rows] == [("line 3", "holds no question foll")]
    assert any("text only" in line for line in splits.report.lines())


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        ({"message_id": None}, "its message_id is no text"),
        ({"message_id": ["x"]}, "its message_id is no text"),
        ({"text": None}, "its text is no text"),
        ({"text": 5}, "its text is no text"),
        ({"role": "wizard"}, "its role is 'wizard'"),
        ({"rank": "first"}, "its rank 'first' is no number"),
        ({"parent_id": 7}, "its parent_id is no text"),
    ],
)
def test_an_odd_message_is_a_bad_row_and_the_others_go_on(tmp_path, odd, problem):
    rows = [
        oasst_row("a", None, "prompter", "Why is the sky blue?"),
        oasst_row("a1", "a", "assistant", "Air scatters blue light most.", rank=0),
        {**oasst_row("b", "a", "assistant", "It reflects the sea.", rank=1), **odd},
    ]
    splits = load(tmp_path, rows)
    assert [example.id for example in splits.train] == ["a"]
    assert problem in "\n".join(splits.report.lines())


def test_trees_in_a_csv_file_are_read_as_from_jsonl(tmp_path):
    rows = [
        oasst_row("a", None, "prompter", "Why is the sky blue?"),
        oasst_row("a1", "a", "assistant", "It reflects the sea.", rank=1),
        oasst_row("a2", "a", "assistant", "Air scatters blue light most.", rank=0),
        oasst_row("d", None, "prompter", "Taken back", deleted=True),
        oasst_row("d1", "d", "assistant", "An answer"),
    ]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["message_id", "parent_id", "role", "text", "rank", "lang", "deleted"],
                                extrasaction="ignore")  # fmt: skip
        writer.writeheader()
        writer.writerows(rows)
    splits = load_splits(DataSettings(data=str(tmp_path), min_document_words=1, dev_fraction=0.0), 0)
    assert [(e.id, e.summary) for e in splits.train] == [("a", "Air scatters blue light most.")]


def test_a_text_without_marks_among_marked_ones_is_a_bad_row(tmp_path):
    marked = {"text": "### Human: What stops the lift? ### Assistant: A worn sensor."}
    splits = load(tmp_path, [marked, {"text": "No marks here"}, {"text": None}, {"text": 5}, {}])
    assert len(splits.train) == 1
    assert splits.report.bad_row_count == 4
