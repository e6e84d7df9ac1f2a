"""Grouping, sampling and failures of MLX generation."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from common.engine import GenerationSpec
from common.errors import EngineError
from mlx_sum.engine import MlxEngine, build
from mlx_sum.generate import draw_token, make_sampler
from tests.contract.cases import ModelDir, exact_spec

SPEC = GenerationSpec(max_new_tokens=8)


@pytest.fixture(scope="module")
def engine(tiny_model: ModelDir) -> MlxEngine:
    return build(exact_spec(tiny_model("llama"), lora=None))


def test_a_drawn_token_follows_its_probability_and_top_p_keeps_the_likeliest() -> None:
    logits = mx.repeat(mx.log(mx.array([[0.15, 0.5, 0.05, 0.3]])), 5, axis=0)
    draws = mx.array([[0.0], [0.49], [0.51], [0.79], [0.96]])
    assert draw_token(logits, 1.0, draws).tolist() == [0, 1, 1, 3, 3]
    # 0.6 needs the two likeliest (0.5 + 0.3), renormalised to 0.625 and 0.375
    assert draw_token(logits, 0.6, draws).tolist() == [1, 1, 1, 3, 3]
    assert draw_token(logits, 0.6, mx.full((5, 1), 1.0 - 2.0**-24)).tolist() == [3] * 5


def test_sampling_follows_the_tempered_probabilities() -> None:
    logits = mx.log(mx.array([[0.2, 0.8]]))
    sample = make_sampler(GenerationSpec(temperature=0.5, seed=3))
    drawn = np.array(sample(mx.repeat(logits, 4000, axis=0), range(4000)))
    # squaring the odds 1:4 gives 1:16; 4000 draws have a standard error of 0.0037
    assert drawn.mean() == pytest.approx(16 / 17, abs=0.015)


def test_a_row_whose_logits_break_is_an_error_and_leaves_the_others_alone(tiny_model: ModelDir) -> None:
    spoiled = build(exact_spec(tiny_model("llama"), lora=None))
    prompts = [[1, 2, 3], [4, 5, 200], [7, 8]]
    expected = spoiled.generate(prompts, SPEC)
    embeddings = spoiled.model.model.embed_tokens
    embeddings.weight[200] = mx.nan
    results = spoiled.generate(prompts, SPEC)
    assert results[1].stop_reason == "error"
    assert "NaN" in results[1].error
    assert [results[0], results[2]] == [expected[0], expected[2]]


def test_token_ids_outside_the_vocabulary_are_an_error_of_that_prompt(engine: MlxEngine) -> None:
    good, bad = engine.generate([[1, 2], [1, 384]], SPEC)
    assert (good.stop_reason, bad.stop_reason) == ("length", "error")
    assert "0 to 383" in bad.error


def test_beyond_a_sliding_window_is_an_error_of_that_prompt(tiny_model: ModelDir) -> None:
    mistral = build(exact_spec(tiny_model("mistral"), lora=None))
    mistral.shape = replace(mistral.shape, sliding_window=20)
    short, long = mistral.generate([[1] * 12, [1] * 13], SPEC)
    assert (short.stop_reason, long.stop_reason) == ("length", "error")
    assert "21" in long.error


def test_beam_search_is_refused_with_the_way_out(engine: MlxEngine) -> None:
    with pytest.raises(EngineError, match="--engine cuda"):
        engine.generate([[1]], replace(SPEC, beams=4))
