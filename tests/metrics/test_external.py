"""BLEU and chrF against sacrebleu itself, METEOR by hand, with and without synonyms."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import DataError
from common.metrics.bootstrap import paired_difference
from common.metrics.external import NO_WORDNET, bleu, chrf, external_difference, meteor

sacrebleu = pytest.importorskip("sacrebleu")
PREDICTIONS = ["The bridge was closed on Monday after rain.", "Nobody was hurt in the fire.", "The council voted no."]
REFERENCES = ["The bridge closed on Monday after heavy rain.", "No one was hurt in the fire.", "Councillors voted no."]


def test_bleu_and_chrf_equal_sacrebleu() -> None:
    assert bleu(PREDICTIONS, REFERENCES).interval.mean == sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES]).score
    assert chrf(PREDICTIONS, REFERENCES).interval.mean == sacrebleu.corpus_chrf(PREDICTIONS, [REFERENCES]).score
    per_example = chrf(PREDICTIONS, REFERENCES).per_example
    expected = [sacrebleu.sentence_chrf(p, [r]).score for p, r in zip(PREDICTIONS, REFERENCES, strict=True)]
    np.testing.assert_allclose(per_example, expected)


def test_examples_may_have_different_numbers_of_references() -> None:
    references = [[REFERENCES[0], PREDICTIONS[0]], [REFERENCES[1]], [REFERENCES[2]]]
    streams = [REFERENCES, [PREDICTIONS[0], None, None]]
    score = bleu(PREDICTIONS, references)
    assert score.interval.mean == sacrebleu.corpus_bleu(PREDICTIONS, streams).score
    assert score.interval.mean > bleu(PREDICTIONS, REFERENCES).interval.mean
    assert "nrefs:var" in score.signature


def test_intervals_hold_the_score_and_results_name_their_settings() -> None:
    for score in (bleu(PREDICTIONS, REFERENCES), chrf(PREDICTIONS, REFERENCES)):
        assert score.interval.low < score.interval.mean < score.interval.high
        assert "version:" in score.signature
    alone = bleu(PREDICTIONS[:1], REFERENCES[:1]).interval
    assert alone.low == alone.mean == alone.high


def test_meteor_of_a_hand_worked_pair() -> None:
    """`the cat sat` against `the cat sat down`: P 1, R 3/4; F = 10 P R / (R + 9 P) = 7.5/9.75; one chunk of three
    matches costs 0.5 (1/3)^3 (Banerjee and Lavie 2005)."""
    expected = 100 * 7.5 / 9.75 * (1 - 0.5 / 27)
    assert meteor(["The cat sat."], ["The cat sat down."]).interval.mean == pytest.approx(expected)
    assert meteor(["cats"], ["cat"]).interval.mean > 0  # stems match
    assert meteor(["a b", ""], ["a b", "a b"]).per_example[1] == 0
    assert meteor(["x"], [["y", "x"]]).interval.mean == meteor(["x"], ["x"]).interval.mean  # the best reference


def test_meteor_says_whether_it_knew_synonyms() -> None:
    score = meteor(["the automobile is fast"], ["the car is quick"])
    if "synonyms:wordnet" in score.signature:
        assert (score.note, score.interval.mean > 60) == ("", True)
    else:
        assert score.note == NO_WORDNET
        assert score.interval.mean < 50


def test_unpaired_or_empty_lists_are_refused() -> None:
    for measure in (bleu, chrf, meteor):
        with pytest.raises(DataError, match="2 predictions for 1 references"):
            measure(["a", "b"], ["a"])
        with pytest.raises(DataError, match="at least one"):
            measure([], [])


def test_a_corpus_difference_is_paired_on_the_same_resamples() -> None:
    """The variance of the two systems' difference is smaller than if each had been resampled for itself."""
    generator = np.random.default_rng(0)
    words = [f"w{n}" for n in range(60)]
    references = [" ".join(generator.choice(words, 12)) for _ in range(80)]
    spoilt = [" ".join(word if n % 3 else "x" for n, word in enumerate(text.split())) for text in references]
    # half of the pairs are hard for both systems: what they share must cancel
    ours = [text if i % 2 else text.split()[0] for i, text in enumerate(references)]
    theirs = [text if i % 2 else text.split()[0] for i, text in enumerate(spoilt)]
    for score in (bleu, chrf):
        a, b = score(ours, references), score(theirs, references)
        difference = external_difference(a, b)
        assert difference["mean"] == pytest.approx(a.interval.mean - b.interval.mean)
        width = difference["high"] - difference["low"]
        assert 0 < width < (a.interval.high - a.interval.low) + (b.interval.high - b.interval.low)
        assert difference["low"] > 0
        assert difference["p_value"] < 0.01
        same = external_difference(a, a)
        assert (same["mean"], same["low"], same["high"], same["p_value"]) == (0.0, 0.0, 0.0, 1.0)


def test_a_difference_in_meteor_is_that_of_its_examples() -> None:
    a, b = (meteor(texts, ["the cat sat", "a dog ran"]) for texts in (["the cat sat", "a dog ran"], ["cat", "a dog"]))
    expected = paired_difference(a.per_example, b.per_example)
    assert external_difference(a, b) == expected.as_dict()
