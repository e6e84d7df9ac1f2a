"""BERTScore with a tiny encoder made here: its laws, and equality with the bert-score package where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import DataError, ModelError
from common.metrics.bertscore import bert_scores, check_encoder
from tests.metrics.tiny_encoder import build_tiny_encoder

pytest.importorskip("torch")
pytest.importorskip("transformers")

SENTENCES = [
    "the bridge closed on monday after heavy rain",
    "rain closed the old bridge",
    "nobody was hurt in the fire",
    "a fire hurt nobody and closed the bridge on monday",
    "heavy rain",
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    unknown = frozenset({"nobody", "monday"})
    return build_tiny_encoder(tmp_path_factory.mktemp("encoder"), SENTENCES, unknown=unknown)


def test_a_text_is_fully_similar_to_itself_and_less_to_another(encoder: str) -> None:
    same = bert_scores(SENTENCES, SENTENCES, encoder)
    np.testing.assert_allclose(same.fmeasure, 100, atol=1e-3)
    other = bert_scores(SENTENCES[:1], SENTENCES[2:3], encoder)
    assert other.fmeasure[0] < 99
    assert other.precision[0] == pytest.approx(bert_scores(SENTENCES[2:3], SENTENCES[:1], encoder).recall[0], abs=1e-3)


def test_scores_do_not_depend_on_batch_or_company(encoder: str) -> None:
    others = SENTENCES[1:] + SENTENCES[:1]
    whole = bert_scores(SENTENCES, others, encoder)
    alone = [bert_scores([a], [b], encoder, batch_size=1).fmeasure[0] for a, b in zip(SENTENCES, others, strict=True)]
    np.testing.assert_allclose(whole.fmeasure, alone, atol=1e-3)


def test_the_layer_matters_and_is_named(encoder: str) -> None:
    second = bert_scores(SENTENCES[:1], SENTENCES[1:2], encoder, layer=2)
    last = bert_scores(SENTENCES[:1], SENTENCES[1:2], encoder)
    assert abs(second.fmeasure[0] - last.fmeasure[0]) > 0.01
    assert "layer:2" in second.signature
    assert "layer:3" in last.signature


def test_empty_texts_score_zero_and_wrong_requests_are_refused(encoder: str, tmp_path: Path) -> None:
    scores = bert_scores(["", "rain", " "], ["rain", "", ""], encoder)
    assert scores.fmeasure.tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="1 predictions for 2 references"):
        bert_scores(["a"], ["a", "b"], encoder)
    with pytest.raises(ModelError, match=r"layer 9 asked of .* layers 1 to 3"):
        bert_scores(["a"], ["a"], encoder, layer=9)
    with pytest.raises(ModelError, match="cannot be loaded as an encoder"):
        bert_scores(["a"], ["a"], str(tmp_path))


@pytest.mark.slow
def test_scores_equal_the_bert_score_package(encoder: str) -> None:
    bert_score = pytest.importorskip("bert_score")
    predictions = [a for a in SENTENCES for _ in SENTENCES]
    references = [b for _ in SENTENCES for b in SENTENCES]
    ours = bert_scores(predictions, references, encoder, layer=2)
    theirs = bert_score.score(predictions, references, model_type=encoder, num_layers=2, device="cpu", nthreads=0)
    for mine, expected in zip((ours.precision, ours.recall, ours.fmeasure), theirs, strict=True):
        np.testing.assert_allclose(mine, 100 * expected.double().numpy(), atol=2e-3)
    assert np.ptp(ours.fmeasure) > 1  # the pairs do differ


def test_a_model_that_is_not_there_is_named_before_anything_else_is_done(encoder: str) -> None:
    check_encoder(encoder)
    with pytest.raises(ModelError, match="there is no such folder"):
        check_encoder("/no/such/encoder")
