"""Pairs: what scores higher is preferred, what never ended is never preferred, people's choices are read whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.align.pairs import Pair, encode_pairs, rated_pairs, read_pairs, sampled_pairs, write_pairs
from common.align.scoring import Reward, typical_words
from common.data.preferences import append_row, choice_row, rating_row
from common.data.prompts import BUILT_IN, PromptFormat
from common.engine import GenerationSpec
from common.errors import DataError
from common.model.tokenizer import load_tokenizer
from common.types import Example, Message
from tests.contract.cases import build_exact
from tests.tiny_models import build_tiny_model, build_tiny_tokenizer

DOCUMENT = "The council closed the old bridge on Monday. The work costs four million."
EXAMPLE = Example("a", DOCUMENT, "The council closed the bridge.")
REWARD = Reward(target_words=5, length_weight=0.5, support_weight=0.25)


def test_the_score_is_rouge_less_length_and_unsupported_claims() -> None:
    same, long, wrong = (
        EXAMPLE.summary,
        "The council closed the bridge. The council closed the bridge.",
        "The council closed the bridge 77.",
    )
    scores = REWARD.score([same, long, wrong], [EXAMPLE] * 3)
    assert scores[0] == pytest.approx(1.0)
    without = Reward(5, 0.0, 0.0).score([same, long, wrong], [EXAMPLE] * 3)
    assert without[1] - scores[1] == pytest.approx(0.5)  # ten words for a target of five
    assert without[2] - scores[2] == pytest.approx(0.5 * (6 / 5 - 1) + 0.25)
    assert REWARD.score([], []).shape == (0,)


def test_the_target_is_the_references_median() -> None:
    examples = [Example(str(n), "d", "word " * n) for n in (2, 4, 90)]
    assert typical_words(examples) == 4


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return load_tokenizer(build_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def test_pairs_of_a_real_models_samples(tmp_path: Path, tokenizer) -> None:  # type: ignore[no-untyped-def]
    engine = build_exact("cuda", build_tiny_model(tmp_path / "model", "qwen2"))
    form = PromptFormat(BUILT_IN["direct"], tokenizer, max_length=128)
    examples = [Example(str(n), DOCUMENT + " x" * n, EXAMPLE.summary) for n in range(6)]
    ends = tuple(range(0, 384, 12))  # random weights: let many tokens end a summary
    spec = GenerationSpec(max_new_tokens=12, eos_ids=ends, temperature=1.0, seed=3)
    pairs, report = sampled_pairs(engine, form, examples, spec, 6, REWARD, 1e-6)
    again, _ = sampled_pairs(engine, form, examples, spec, 6, REWARD, 1e-6)
    assert pairs == again
    assert pairs
    assert report.documents == 6 == report.pairs + report.too_similar + report.none_ended
    for pair in pairs:
        ours = REWARD.score([pair.chosen, pair.rejected], [pair.example] * 2)
        assert ours.tolist() == [pair.chosen_score, pair.rejected_score]
        assert ours[0] > ours[1]
    unended, report = sampled_pairs(
        engine, form, examples, GenerationSpec(max_new_tokens=2, temperature=1.0), 3, REWARD, 1e-6
    )
    assert (unended, report.none_ended) == ([], 6)
    assert sampled_pairs(engine, form, examples, spec, 6, REWARD, 9.0)[1].too_similar > 0


def test_both_sequences_start_with_the_inference_prompt_and_only_ended_ones_have_eos(tokenizer) -> None:  # type: ignore[no-untyped-def]
    form = PromptFormat(BUILT_IN["direct"], tokenizer, max_length=128)
    pairs = [Pair(EXAMPLE, "Bridge closed.", "The bridge the bridge the", rejected_ended=False)]
    (encoded,) = encode_pairs(pairs, form, 32, "train")
    prompt = form.prompts([DOCUMENT], 32)[0].tokens
    for part, text in ((encoded.chosen, "Bridge closed."), (encoded.rejected, "The bridge the bridge the")):
        assert tuple(part.tokens[: len(prompt)]) == prompt
        assert (part.labels[: len(prompt)] < 0).all()
        assert tokenizer.decode(part.tokens[len(prompt) :]) == text
    assert encoded.chosen.tokens[-1] == form.eos_id
    assert encoded.rejected.tokens[-1] != form.eos_id
    assert len(encoded) == len(encoded.chosen) + len(encoded.rejected)


def test_pairs_survive_the_file(tmp_path: Path) -> None:
    talk = Example("t", "d", "s", ("s", "r"), (Message("user", "d"), Message("assistant", "s")))
    pairs = {"train": [Pair(EXAMPLE, "ä", "b", False, 0.5, -0.25)], "dev": [Pair(talk, "s", "t")]}
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"split": "train"}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1"):
        read_pairs(tmp_path / "pairs.jsonl")


def test_choices_and_ratings_of_people_become_pairs_split_by_document(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    with pytest.raises(DataError, match="cannot be read"):
        rated_pairs(path, 0.5, 0)
    for number in range(30):
        append_row(path, choice_row(f"document {number}", "good", "bad", "a", "b"))
    append_row(path, rating_row("document 0", "fine", "a", 1))
    append_row(path, rating_row("document 0", "poor", "a", -1))
    train, dev = rated_pairs(path, 0.5, 0)
    assert len(train) + len(dev) == 31
    assert {p.example.document for p in train}.isdisjoint(p.example.document for p in dev)
    assert 5 < len(dev) < 26
    assert ("fine", "poor") in {(p.chosen, p.rejected) for p in (*train, *dev)}
    assert rated_pairs(path, 0.5, 0) == (train, dev)
    lone = tmp_path / "lone.jsonl"
    append_row(lone, rating_row("document", "fine", "a", 1))
    with pytest.raises(DataError, match="holds no pair"):
        rated_pairs(lone, 0.1, 0)


def test_an_empty_summary_scores_nothing() -> None:
    assert REWARD.score([""], [EXAMPLE]).tolist() == [0.0]
