"""Passages: whole sentences that fit, nothing lost, and the ones that a sentence is most likely from."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.check.overlap import DocumentWords
from common.check.passages import fitting_passages
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


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # time is no matter here
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


def test_a_copied_sentence_is_supported_as_far_as_the_whole() -> None:
    words = DocumentWords(DOCUMENT)
    for bound in (0.25, 1.0):
        assert words.evidence("The mayor thanked everyone.", most_support=bound)[0].support == bound


@pytest.mark.parametrize(("document", "sentence", "beginning"), CASES)
def test_evidence_points_at_the_sentence_that_says_it(document: str, sentence: str, beginning: str) -> None:
    first = DocumentWords(document).evidence(sentence, most_support=0.3)[0]
    assert first.start <= document.index(beginning) < first.end
    assert len(split_sentences(document[first.start : first.end])) <= 2
    assert 0 < first.support <= 0.3
