"""Lengths, repetition and emptiness, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import DataError
from common.metrics.text_quality import longest_repeat, repeated_ngrams, text_quality


def test_measures_of_a_plain_a_looping_and_an_empty_prediction() -> None:
    predictions = ["Rain stopped play. Nobody was hurt.", "so it goes so it goes so it goes", " "]
    references = ["Rain stopped the match early on Monday.", "so it goes", "something"]
    scores = text_quality(predictions, references)
    assert scores["words"].tolist() == [6, 9, 0]
    np.testing.assert_allclose(scores["length_ratio"], [6 / 7, 3, 0])
    assert scores["sentences"].tolist() == [2, 1, 0]
    np.testing.assert_allclose(scores["repeated_3grams"], [0, 100 * 4 / 7, 0])  # 7 trigrams, 3 distinct
    assert scores["longest_repeat"].tolist() == [1, 3, 0]
    assert scores["empty"].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "times"),
    [("a b c", 1), ("a a a", 3), ("x a b a b y", 2), ("a b c d e a b c d e", 1), ("a b c d a b c d", 2), ("", 0)],
)
def test_the_longest_repeat_counts_runs_of_up_to_four_words(text: str, times: int) -> None:
    assert longest_repeat(text.split()) == times


def test_words_of_scripts_without_spaces_are_counted_by_character() -> None:
    assert text_quality(["他在北京"], ["他在北京买书"])["length_ratio"][0] == pytest.approx(4 / 6)


def test_a_reference_without_words_has_no_length_ratio() -> None:
    assert np.isnan(text_quality(["a"], ["..."])["length_ratio"][0])
    assert repeated_ngrams(["a"], 3) == 0
    with pytest.raises(DataError, match="1 predictions for 2 references"):
        text_quality(["a"], ["a", "b"])
