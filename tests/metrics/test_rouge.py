"""ROUGE against rouge-score on random text, Lin's worked example, and hand-worked pairs in several scripts."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from common.errors import DataError
from common.metrics import rouge
from common.metrics.lcs import lcs_length, union_lcs_hits
from common.metrics.rouge import MEASURES, RougeScores, rouge_scores

TABLES = ("precision", "recall", "fmeasure")
WORDS = [
    "run",
    "runs",
    "running",
    "ran",
    "happily",
    "happiness",
    "the",
    "a",
    "of",
    "3.5",
    "Müller's",
    "e-mail",
    "said",
    "Said,",
    "(again)",
]


def random_text(generator: random.Random, most_lines: int = 4, most_words: int = 12) -> str:
    lines = generator.randint(0, most_lines)
    return "\n".join(" ".join(generator.choices(WORDS, k=generator.randint(0, most_words))) for _ in range(lines))


def largest_difference(scores: RougeScores, predictions: list[str], references: list[str], stemmer: bool) -> float:
    scorer = RougeScorer(list(MEASURES), use_stemmer=stemmer)
    expected = [
        scorer.score(reference, prediction) for reference, prediction in zip(references, predictions, strict=True)
    ]
    return max(
        abs(getattr(scores, table)[measure][index] - 100 * getattr(row[measure], table))
        for index, row in enumerate(expected)
        for measure in MEASURES
        for table in TABLES
    )


@pytest.mark.parametrize("stemmer", [True, False])
def test_scores_equal_rouge_score_on_random_pairs(stemmer: bool) -> None:
    generator = random.Random(7)
    predictions = [random_text(generator) for _ in range(400)]
    references = [random_text(generator) for _ in range(400)]
    scores = rouge_scores(predictions, references, tokenizer="rouge-score", stemmer=stemmer, sentences="newline")
    assert largest_difference(scores, predictions, references, stemmer) <= 1e-9
    assert largest_difference(scores, predictions, references, not stemmer) > 1  # the stemmer does matter here


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.text(alphabet="abcd \n", max_size=80), st.text(alphabet="abcd \n", max_size=80))))
def test_scores_equal_rouge_score_where_words_repeat_all_the_time(pairs: list[tuple[str, str]]) -> None:
    predictions, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    scores = rouge_scores(predictions, references, sentences="newline")
    if pairs:
        assert largest_difference(scores, predictions, references, True) <= 1e-9


def test_scores_do_not_depend_on_how_many_pairs_are_counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(1)
    predictions = [random_text(generator) for _ in range(50)]
    references = [random_text(generator) for _ in range(50)]
    whole = rouge_scores(predictions, references)
    monkeypatch.setattr(rouge, "PAIRS_AT_ONCE", 7)
    parts = rouge_scores(predictions, references)
    for measure in MEASURES:
        np.testing.assert_array_equal(whole.fmeasure[measure], parts.fmeasure[measure])


def test_a_hand_worked_pair() -> None:
    scores = rouge_scores(["The cat sat on the mat."], ["The cat was on the mat."])
    assert scores.fmeasure["rouge1"][0] == pytest.approx(100 * 5 / 6)  # the, cat, on, the, mat
    assert scores.fmeasure["rouge2"][0] == pytest.approx(100 * 3 / 5)  # the cat, on the, the mat
    assert scores.fmeasure["rougeL"][0] == pytest.approx(100 * 5 / 6)


def test_the_union_lcs_of_lin_2004_section_3_2() -> None:
    """w1..w5 against `w1 w2 w6 w7 w8` and `w1 w3 w8 w9 w5`: the union is w1 w2 w3 w5, so recall is 4/5."""
    scores = rouge_scores(["w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5"], ["w1 w2 w3 w4 w5"])
    assert scores.recall["rougeLsum"][0] == pytest.approx(80.0)
    assert scores.precision["rougeLsum"][0] == pytest.approx(40.0)
    assert union_lcs_hits([[1, 2, 3, 4, 5]], [[1, 2, 6, 7, 8], [1, 3, 8, 9, 5]]) == 4


def test_the_longest_common_subsequence_of_a_textbook_example() -> None:
    """ABCBDAB and BDCABA have BCBA (Cormen et al., Introduction to Algorithms, section 15.4)."""
    assert lcs_length([ord(c) for c in "ABCBDAB"], [ord(c) for c in "BDCABA"]) == 4
    assert lcs_length([], [1]) == 0
    assert lcs_length(range(300), range(100, 400)) == 200  # longer than one machine word


def test_rouge_lsum_splits_sentences_unless_told_that_lines_are_sentences() -> None:
    prediction, reference = "Rain fell. The match stopped.", "The match stopped. Rain fell."
    assert rouge_scores([prediction], [reference]).fmeasure["rougeLsum"][0] == pytest.approx(100)
    assert rouge_scores([prediction], [reference], sentences="newline").fmeasure["rougeLsum"][0] == pytest.approx(60)


def test_the_best_reference_is_chosen_by_rouge_1_for_all_measures_and_the_first_among_equals() -> None:
    prediction = "a b c d"
    references = ["d c b a", "a b x y", "a b c d e f g h i"]  # ROUGE-1 F: 100, 50, 61.5
    best = rouge_scores([prediction, "a"], [references, ["a", "a"]])
    assert best.reference.tolist() == [0, 0]
    assert best.fmeasure["rouge2"][0] == 0
    mean = rouge_scores([prediction], [references], multi_reference="mean")
    single = [rouge_scores([prediction], [reference]).fmeasure["rouge2"][0] for reference in references]
    assert mean.fmeasure["rouge2"][0] == pytest.approx(np.mean(single))
    assert mean.reference.tolist() == [-1]


def test_an_empty_prediction_scores_zero_and_keeps_its_place() -> None:
    scores = rouge_scores(["", "a b", "..."], ["a b", "a b", "a b"])
    for measure in MEASURES:
        np.testing.assert_allclose(scores.fmeasure[measure], [0, 100, 0])


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("किताबें बच्चों को पसंद हैं", "बच्चों को किताबें पसंद हैं", {"rouge1": 100, "rouge2": 50, "rougeL": 80}),
        ("我喜欢北京", "我喜欢南京", {"rouge1": 80, "rouge2": 50, "rougeL": 80}),
        ("l'été à Zürich", "l'hiver à Zürich", {"rouge1": 75, "rouge2": 100 / 3, "rougeL": 75}),
    ],
)
def test_other_scripts_are_scored_by_words_a_reader_would_see(
    prediction: str, reference: str, expected: dict[str, float]
) -> None:
    scores = rouge_scores([prediction], [reference])
    assert scores.tokenizer.startswith("unicode")
    for measure, value in expected.items():
        assert scores.fmeasure[measure][0] == pytest.approx(value)


def test_the_references_decide_on_the_tokenizer_so_that_systems_stay_comparable() -> None:
    assert rouge_scores(["été été"], ["a plain English reference"]).tokenizer.startswith("rouge-score")
    assert rouge_scores(["a plain prediction"], ["un été à Orléans"]).tokenizer.startswith("unicode")


def test_unpaired_or_missing_references_are_refused() -> None:
    with pytest.raises(DataError, match="2 predictions for 1 references"):
        rouge_scores(["a", "b"], ["a"])
    with pytest.raises(DataError, match="1 examples have no reference, the first at position 1"):
        rouge_scores(["a", "b"], [["a"], []])
    assert rouge_scores([], []).fmeasure["rouge1"].shape == (0,)
