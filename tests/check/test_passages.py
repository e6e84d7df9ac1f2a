"""Passages: whole sentences that fit, nothing lost, and the ones that a sentence is most likely from."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.check.passages import PassageFinder, fitting_passages
from common.metrics.sentences import split_sentences
from tests.check.evidence_cases import CASES

DOCUMENT = (
    "Oyuna drove her jeep to the market on Friday. The wind had torn the roof from the grain silo. "
    "A goat was found unhurt below the beams. Repairs to the silo will cost 40,000 crowns. "
    "The mayor thanked everyone. The market opens again in May."
)


def fits(words: int):  # type: ignore[no-untyped-def]
    return lambda text: len(text.split()) <= words


def test_a_document_that_fits_is_one_passage() -> None:
    assert fitting_passages(f"  {DOCUMENT}\n", fits(200)) == [(2, 2 + len(DOCUMENT))]
    assert fitting_passages(" \n", fits(200)) == []


def test_passages_are_as_long_as_fits_and_hold_whole_sentences() -> None:
    parts = [DOCUMENT[start:end] for start, end in fitting_passages(DOCUMENT, fits(20))]
    assert [len(split_sentences(part)) for part in parts] == [2, 3, 1]
    assert " ".join(parts) == DOCUMENT


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 25))
def test_no_word_is_lost_or_said_twice_and_every_passage_fits(lengths: list[int], most: int) -> None:
    text = " ".join(" ".join(["Word"] + ["more"] * (length - 1)) + "." for length in lengths)
    spans = fitting_passages(text, fits(most))
    assert [word for start, end in spans for word in text[start:end].split()] == text.split()
    assert all(fits(most)(text[start:end]) for start, end in spans)


def test_a_text_without_spaces_is_cut_where_it_must_be() -> None:
    text = "雨" * 50
    parts = [text[start:end] for start, end in fitting_passages(text, lambda part: len(part) <= 16)]
    assert "".join(parts) == text
    assert max(map(len, parts)) <= 16


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Repair of the silo costs 40,000 crowns.", ["Repairs to the silo will cost 40,000 crowns."]),
        ("A goat lay unhurt under the beams.", ["A goat was found unhurt below the beams."]),
        ("Oyuna took a jeep to market.", ["Oyuna drove her jeep to the market on Friday."]),
        (
            "On Friday Oyuna drove while wind tore a roof.",
            ["Oyuna drove her jeep to the market on Friday. The wind had torn the roof from the grain silo."],
        ),
        ("It opens in May.", ["The market opens again in May."]),
    ],
)
def test_the_best_passage_is_the_one_that_says_it(sentence: str, expected: list[str]) -> None:
    found = PassageFinder(DOCUMENT).best(sentence, 1)
    assert [DOCUMENT[start:end] for (start, end), _ in found] == expected


def test_shares_fall_and_passages_do_not_overlap() -> None:
    found = PassageFinder(DOCUMENT).best("The goat, the silo and the market.", 4)
    assert len(found) >= 2
    ends = sorted(span for span, _ in found)
    assert all(first[1] <= second[0] for first, second in pairwise(ends))
    assert all(0 < share <= 1 for _, share in found)
    assert PassageFinder(DOCUMENT).best("Nebraska exports uranium.") == []
    assert PassageFinder("").best("Anything.") == []
    assert PassageFinder(DOCUMENT).best("...") == []


def test_evidence_supports_no_more_than_the_whole() -> None:
    copied = "The mayor thanked everyone."
    finder = PassageFinder(DOCUMENT)
    assert finder.evidence(copied, 0.25)[0].support == 0.25
    assert finder.evidence(copied, 1.0)[0].support == pytest.approx(1)


@pytest.mark.parametrize(("document", "sentence", "beginning"), CASES)
def test_evidence_points_at_the_sentence_that_says_it(document: str, sentence: str, beginning: str) -> None:
    first = PassageFinder(document).evidence(sentence, 1.0)[0]
    assert document[first.start : first.end].startswith(beginning)
    assert len(split_sentences(document[first.start : first.end])) == 1
