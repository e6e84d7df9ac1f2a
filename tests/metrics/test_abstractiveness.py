"""Fragments, coverage and density by hand, after the definitions of Grusky et al. 2018."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DataError
from common.metrics.abstractiveness import (
    MEASURES,
    abstractiveness,
    copied_spans,
    novel_ngrams,
    shared_fragments,
)

DOCUMENT = "The old bridge over the river was closed on Monday after heavy rain. Engineers will inspect it."
SUMMARY = "Engineers closed the old bridge over the river."


def test_a_hand_worked_example() -> None:
    """Fragments: `engineers` (1), `closed` (1), `the old bridge over the river` (6); 8 words, of 17 in the document.

    Coverage 8/8; density (1 + 1 + 36)/8; compression 17/8. Of the 7 distinct words none is new; of the 7 bigrams
    `engineers closed` and `closed the` are.
    """
    scores = abstractiveness([DOCUMENT], [SUMMARY])
    assert shared_fragments(DOCUMENT.lower().replace(".", "").split(), SUMMARY.lower().replace(".", "").split()) == [
        (0, 1),
        (1, 1),
        (2, 6),
    ]
    assert scores["coverage"][0] == 100
    assert scores["density"][0] == pytest.approx(38 / 8)
    assert scores["compression"][0] == pytest.approx(17 / 8)
    assert scores["novel_1grams"][0] == 0
    assert scores["novel_2grams"][0] == pytest.approx(100 * 2 / 7)
    assert scores["novel_3grams"][0] == pytest.approx(100 * 2 / 6)
    assert scores["novel_4grams"][0] == pytest.approx(100 * 2 / 5)


def test_a_copy_is_one_fragment_and_a_foreign_summary_none() -> None:
    copied = abstractiveness([DOCUMENT], [DOCUMENT])
    assert (copied["coverage"][0], copied["density"][0], copied["compression"][0]) == (100, 17, 1)
    foreign = abstractiveness([DOCUMENT], ["Nothing similar here"])
    assert (foreign["coverage"][0], foreign["density"][0], foreign["novel_1grams"][0]) == (0, 0, 100)


def test_the_search_goes_on_behind_a_run_it_has_matched_as_in_the_paper() -> None:
    assert shared_fragments(list("aaab"), list("aab")) == [(0, 2), (2, 1)]


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=12))
def test_fragments_are_disjoint_runs_of_the_document(document: list[str], summary: list[str]) -> None:
    joined = "".join(document)
    reached = 0
    for start, length in shared_fragments(document, summary):
        assert start >= reached
        assert "".join(summary[start : start + length]) in joined
        reached = start + length
    assert sum(length for _, length in shared_fragments(document, summary)) == sum(w in document for w in summary)


def test_novel_ngrams_count_kinds_not_repetitions() -> None:
    assert novel_ngrams(list("ab"), list("accc"), 1) == 50
    assert np.isnan(novel_ngrams(list("ab"), ["a"], 2))


def test_an_empty_summary_has_no_measure_rather_than_a_perfect_one() -> None:
    scores = abstractiveness([DOCUMENT, ""], ["", "words"])
    assert all(np.isnan(scores[measure][0]) for measure in MEASURES)
    assert scores["novel_1grams"][1] == 100


def test_copied_spans_point_at_the_copied_words() -> None:
    spans = copied_spans(DOCUMENT, SUMMARY)
    assert [SUMMARY[start:end] for start, end in spans] == ["the old bridge over the river"]
    assert copied_spans(DOCUMENT, SUMMARY, minimum_words=1)[0] == (0, len("Engineers"))


def test_unpaired_lists_are_refused() -> None:
    with pytest.raises(DataError, match="1 summaries for 2 documents"):
        abstractiveness(["a", "b"], ["a"])
