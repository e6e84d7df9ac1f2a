"""Columns are chosen by name, or not at all: never a guess between two."""

from __future__ import annotations

import pytest

from common.data.columns import Columns, choose_columns
from common.errors import DataError


@pytest.mark.parametrize(
    ("found", "document", "summary"),
    [
        (["id", "document", "summary"], "document", "summary"),
        (["article", "highlights", "id"], "article", "highlights"),
        (["dialogue", "summary", "topic"], "dialogue", "summary"),
        (["Text", "TL;DR"], "Text", "TL;DR"),
        (["source", "target"], "source", "target"),
        (["body", "headline"], "body", "headline"),
        (["text", "document", "abstract", "summary"], "document", "summary"),
    ],
)
def test_common_names_are_recognised(found: list[str], document: str, summary: str) -> None:
    columns = choose_columns(found, "a.csv")
    assert (columns.document, columns.summary) == (document, summary)


def test_the_users_choice_wins() -> None:
    columns = choose_columns(["id", "document", "summary", "text", "abstract"], "a.csv", "text", "abstract")
    assert columns == Columns("text", "abstract", "id")


def test_references_alone_are_enough() -> None:
    assert choose_columns(["text", "references"], "a.jsonl") == Columns("text", "", "", "references")


def test_two_candidates_are_an_error_that_lists_columns_and_flag() -> None:
    with pytest.raises(DataError) as caught:
        choose_columns(["text", "body", "summary"], "a.csv")
    message = str(caught.value)
    assert "'text', 'body' all may" in message
    assert "--document-column NAME" in message
    assert "columns found: 'text', 'body', 'summary'" in message


def test_no_candidate_is_an_error_that_lists_columns_and_flag() -> None:
    with pytest.raises(DataError, match=r"no column looks like a summary; name it with --summary-column") as caught:
        choose_columns(["text", "a\x1b[31m"], "a.csv")
    assert "\x1b" not in str(caught.value)


def test_a_wrong_name_gets_the_nearest_one() -> None:
    with pytest.raises(DataError, match=r"--summary-column 'sumary' is not a column; did you mean 'summary'\?"):
        choose_columns(["text", "summary"], "a.csv", summary="sumary")


def test_one_column_cannot_be_both() -> None:
    with pytest.raises(DataError, match="cannot be both"):
        choose_columns(["text", "summary"], "a.csv", "summary", "summary")
