"""Ranking by dev loss: the ratio of sums, paired on documents, and how sure the first place is."""

import numpy as np
import pytest

from common.errors import DataError
from common.sweep.ranking import rank, sentence
from common.sweep.trial import TrialScores


def trial(losses, tokens, rouge=None):
    named = {f"d{i}": (float(loss), int(count)) for i, (loss, count) in enumerate(zip(losses, tokens, strict=True))}
    return TrialScores(1.0, 10, 10, True, 1.0, named, rouge or {})


def test_a_score_is_the_ratio_of_sums_and_differences_are_paired():
    generator = np.random.default_rng(0)
    tokens = generator.integers(5, 40, 60)
    hard = generator.gamma(4.0, 10.0, 60)  # documents differ far more than trials do
    good, bad = trial(hard, tokens), trial(hard + 0.05 * tokens, tokens)
    first, second = rank({"bad": bad, "good": good}, "dev_loss")
    assert first.name == "good"
    assert first.score.mean == pytest.approx(hard.sum() / tokens.sum())
    assert first.score.high - first.score.low > 0.2
    assert first.best_share == 1.0
    assert second.behind.mean == pytest.approx(0.05)
    assert second.behind.high - second.behind.low < 1e-9  # the same for each token: pairing takes all else away


def test_equal_trials_share_the_first_place_and_the_sentence_says_so():
    generator = np.random.default_rng(1)
    tokens = np.full(40, 10)
    losses = generator.gamma(4.0, 5.0, 40)
    ranked = rank({"a": trial(losses, tokens), "b": trial(losses + generator.normal(0, 3, 40), tokens)}, "dev_loss")
    assert 0.02 < ranked[0].best_share < 0.98
    assert sum(item.best_share for item in ranked) == pytest.approx(1.0)
    said = sentence(ranked, {"a": "rank=1", "b": "rank=2"}, 40, "dev_loss")
    assert "not distinguishable on these documents" in said


def test_with_other_tokens_the_likelihood_of_the_same_text_is_compared():
    coarse = trial([20.0, 30.0], [10, 10])
    fine = trial([19.0, 29.0], [40, 40])  # far less for each token, a little less for the text
    ranked = rank({"coarse": coarse, "fine": fine}, "dev_loss")
    assert [item.name for item in ranked] == ["fine", "coarse"]
    assert ranked[1].behind.mean == pytest.approx(2 / 20)


def test_for_rouge_more_is_better_and_only_shared_documents_count():
    def scored(values):
        named = {name: {"rouge1": value, "rouge2": 0.0, "rougeL": 0.0} for name, value in values.items()}
        return trial([1.0], [1], named)

    trials = {"low": scored({"a": 10.0, "b": 12.0, "c": 99.0}), "high": scored({"a": 20.0, "b": 22.0})}
    ranked = rank(trials, "rouge1")
    assert [item.name for item in ranked] == ["high", "low"]
    assert ranked[0].score.mean == 21.0
    assert ranked[1].behind.mean == pytest.approx(10.0)
    with pytest.raises(DataError, match="share no scored dev document"):
        rank({"a": scored({"x": 1.0}), "b": scored({"y": 1.0})}, "rouge1")
