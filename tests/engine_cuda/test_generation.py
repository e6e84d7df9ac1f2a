"""Batched generation against transformers' own, one prompt at a time."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.engine import EngineSpec, GenerationSpec, LoraSpec
from cuda_sum import generate
from cuda_sum.engine import CudaEngine, build
from cuda_sum.generate import draw_token, prefill_slices
from tests.engine_cuda.cases import plain_peft, trained_adapter
from tests.engine_cuda.conftest import LORA
from tests.tiny_models import ARCHITECTURES, VOCAB_SIZE

ModelDir = Callable[[str], Path]
MakeEngine = Callable[..., CudaEngine]
PARTIAL = dataclasses.replace(LORA, target_modules=("q_proj", "v_proj", "down_proj"))
DORA = dataclasses.replace(LORA, dora=True)
LENGTHS = (5, 31, 12, 1, 18, 31, 7)


def prompts() -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, VOCAB_SIZE, length).tolist() for length in LENGTHS]


def one_by_one(model: Any, eos: tuple[int, ...], new: int, beams: int = 1) -> list[list[int]]:
    results = []
    for prompt in prompts():
        tokens = torch.tensor([prompt])
        out = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=new,
            do_sample=False,
            num_beams=beams,
            eos_token_id=list(eos),
            pad_token_id=eos[0],
        )[0, len(prompt) :].tolist()
        results.append([token for token in out if token not in eos])
    return results


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_texts_are_those_of_transformers_one_by_one(
    architecture: str, model_dir: ModelDir, make_engine: MakeEngine, tmp_path: Path
) -> None:
    engine, weights = make_engine(architecture), trained_adapter(model_dir(architecture), LORA)
    engine.load_adapter(weights)
    peft = plain_peft(model_dir(architecture), tmp_path, LORA, weights)
    free = engine.generate(prompts(), GenerationSpec(max_new_tokens=24))
    eos = (free[0].tokens[9], free[2].tokens[4])  # so that texts end at different lengths
    spec = GenerationSpec(max_new_tokens=24, eos_ids=eos, max_batch_rows=4)
    results = engine.generate(prompts(), spec)
    theirs = one_by_one(peft, eos, 24)
    assert [list(result.tokens) for result in results] == theirs
    assert len({len(text) for text in theirs}) > 1
    for result in results:
        assert result.stop_reason == ("length" if len(result.tokens) == 24 else "eos")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("seen", ["all", "some"])
def test_a_row_alone_takes_right_guesses_only(
    architecture: str, seen: str, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text is that of a batch, and of one pass a token; where the prompt holds the text, passes are fewer."""
    engine = make_engine(architecture)
    engine.load_adapter(trained_adapter(engine.spec.model_dir, LORA))
    calls: list[int] = []
    extend = generate._extend
    monkeypatch.setattr(
        generate, "_extend", lambda m, h, tokens, c: calls.append(tokens.shape[1]) or extend(m, h, tokens, c)
    )
    for prompt in prompts():
        spec = GenerationSpec(max_new_tokens=20)
        with monkeypatch.context() as without:
            without.setattr(generate.PromptLookup, "guess", lambda self, most: [])
            plain = engine.generate([prompt], spec)[0]
        held = (
            plain.tokens
            if seen == "all"
            else [(token + (place % 5 == 4)) % VOCAB_SIZE for place, token in enumerate(plain.tokens)]
        )
        with monkeypatch.context() as known:
            known.setattr(generate, "PromptLookup", lambda tokens, held=held: Known(held))
            calls.clear()
            told: list[int] = []
            assert engine.generate([prompt], spec, on_token=lambda _, token, told=told: told.append(token)) == [plain]
            assert tuple(told) == plain.tokens
            assert len(calls) < (4 if seen == "all" else 12)
            eos = dataclasses.replace(spec, eos_ids=(plain.tokens[6],))
            ended = engine.generate([prompt], eos)[0]
        assert ended.stop_reason == "eos"
        assert ended.tokens == plain.tokens[: plain.tokens.index(plain.tokens[6])]
        assert engine.generate([prompt], spec) == [plain]
        assert engine.generate([prompt, [3, 1]], spec)[0] == plain


class Known:
    """A lookup that holds what a text will be, right or in part wrong."""

    def __init__(self, text: Sequence[int]) -> None:
        self.text, self.count = text, 1

    def add(self, token: int) -> None:
        self.count += 1

    def guess(self, most: int) -> list[int]:
        return list(self.text[self.count : self.count + min(most, 8)])


def test_beams_are_those_of_transformers_one_by_one(
    model_dir: ModelDir, make_engine: MakeEngine, tmp_path: Path
) -> None:
    engine, weights = make_engine("qwen2"), trained_adapter(model_dir("qwen2"), LORA)
    engine.load_adapter(weights)
    peft = plain_peft(model_dir("qwen2"), tmp_path, LORA, weights)
    eos = tuple(range(0, VOCAB_SIZE, 24))
    spec = GenerationSpec(max_new_tokens=8, eos_ids=eos, beams=3)
    texts = [list(result.tokens) for result in engine.generate(prompts(), spec)]
    assert texts == one_by_one(peft, eos, 8, beams=3)
    assert texts != one_by_one(peft, eos, 8)


def test_settings_of_generation_that_a_model_brings_do_not_enter_a_beam_search(
    model_dir: ModelDir, make_engine: MakeEngine, tmp_path: Path
) -> None:
    spec = GenerationSpec(max_new_tokens=8, beams=3)
    expected = make_engine("qwen2").generate(prompts(), spec)
    directory = shutil.copytree(model_dir("qwen2"), tmp_path / "opinionated")
    opinions = {"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "do_sample": True, "temperature": 2.0}
    (directory / "generation_config.json").write_text(json.dumps(opinions))
    engine = build(EngineSpec(directory, quantize="none", dtype="float32", lora=LORA))
    assert engine.generate(prompts(), spec) == expected


@pytest.mark.parametrize("quantize", ["none", "4bit"])
def test_dense_or_merged_weights_give_the_texts_of_the_weights_themselves(
    quantize: str, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine("llama", quantize=quantize)
    engine.load_adapter(trained_adapter(engine.spec.model_dir, LORA))
    spec = GenerationSpec(max_new_tokens=12)
    dense = engine.generate(prompts(), spec)
    monkeypatch.setattr("cuda_sum.device.free_memory_bytes", lambda device: 0)
    assert engine.generate(prompts(), spec) == dense
    engine.enable_adapter(False)
    assert engine.generate(prompts(), spec) != dense


@pytest.mark.parametrize(("architecture", "lora"), [("phi", LORA), ("qwen2", PARTIAL), ("llama", DORA)])
def test_the_logits_are_the_same_with_and_without_a_dense_copy(
    architecture: str, lora: LoraSpec, make_engine: MakeEngine
) -> None:
    """Joined to one matrix with A below them, dequantized, or with the adapter merged in (float32)."""
    tokens = np.array([prompts()[1]])
    for quantize, dtype, tolerance in (
        ("none", "float32", 1e-5),
        ("4bit", "float32", 1e-5),
        ("none", "bfloat16", 2e-2),
        ("4bit", "bfloat16", 2e-2),
    ):
        engine = make_engine(architecture, lora, quantize=quantize, dtype=dtype)
        lengths = {name: 1.3 * value for name, value in engine.adapter().items() if "magnitude" in name}
        engine.load_adapter(trained_adapter(engine.spec.model_dir, lora) | lengths)
        for enabled in (True, False):
            engine.enable_adapter(enabled)
            usual = engine.logits(tokens)
            for packed in (False, True):
                with engine._dense_weights(packed):
                    assert all(group._dense is not None for group in engine._linears)
                    np.testing.assert_allclose(engine.logits(tokens), usual, atol=tolerance * np.abs(usual).max())
                assert np.array_equal(engine.logits(tokens), usual)


def test_an_unquantized_base_is_generated_from_where_it_lies(make_engine: MakeEngine) -> None:
    """In 16 bits there is no copy of the weights, and what is trained between two generations is in the second."""
    engine = make_engine("llama", dtype="bfloat16")
    spec = GenerationSpec(max_new_tokens=12)
    first = engine.generate(prompts(), spec)
    with engine._dense_weights():
        for group in engine._linears:
            assert group._dense is not None
            for base in group.bases:
                assert base.weight.untyped_storage().data_ptr() == group._dense.weight.untyped_storage().data_ptr()
    engine.load_adapter(trained_adapter(engine.spec.model_dir, LORA))
    assert engine.generate(prompts(), spec) != first
    engine.enable_adapter(False)
    assert engine.generate(prompts(), spec) == first
    other = engine._linears[0].bases[0].weight
    other.data = other.data.flip(0).contiguous()  # weights that were put elsewhere are read where they are
    assert engine.generate(prompts(), spec) != first


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems' allocators give memory back")
def test_weights_that_were_joined_are_in_memory_once() -> None:
    program = """
import psutil, torch
from cuda_sum.device import return_freed_memory
from cuda_sum.linears import Linears
large = torch.zeros(7 << 20)  # so that the C library takes what follows from its heap
del large
groups, between = [], []
for _ in range(40):  # 126 MB of weights, with others between them
    groups.append([])
    for _ in range(3):
        groups[-1].append(torch.nn.Linear(512, 512, bias=False))
        between.append(torch.zeros(40_000))
linears = [Linears(group, [None] * 3, None) for group in groups]
before = psutil.Process().memory_info().rss
for group in linears:
    group.stack()
    return_freed_memory()
print(psutil.Process().memory_info().rss - before)
"""
    grown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 40e6, grown.stdout


def test_a_row_with_infinite_logits_is_an_error_and_the_others_go_on(make_engine: MakeEngine) -> None:
    engine = make_engine("llama")
    spec = GenerationSpec(max_new_tokens=6)
    wanted = engine.generate([[5, 6, 7], [8, 9]], spec)
    spoiled = next(token for token in range(1, VOCAB_SIZE) if all(token not in result.tokens for result in wanted))
    engine.model.model.embed_tokens.weight.data[spoiled] = torch.nan
    results = engine.generate([[5, 6, 7], [8, spoiled], [8, 9]], spec)
    assert [results[0], results[2]] == wanted
    assert results[1].stop_reason == "error"
    assert "NaN" in results[1].error


def test_a_row_is_whole_again_after_a_text_that_was_not_finite(make_engine: MakeEngine) -> None:
    engine = make_engine("llama")
    spec = GenerationSpec(max_new_tokens=6, max_batch_rows=2)
    good = [[5, 6, 7], [8, 9], [3, 4], [2]]
    wanted = engine.generate(good, spec)
    used = {token for result in wanted for token in result.tokens} | {0, 2, 3, 4, 5, 6, 7, 8, 9}
    spoiled = next(token for token in range(VOCAB_SIZE) if token not in used)
    engine.model.model.embed_tokens.weight.data[spoiled] = torch.nan
    broken = [[8] * 11 + [spoiled] * 9, [8] * 8 + [spoiled] * 9]
    results = engine.generate([*broken, *good], spec)
    assert [result.stop_reason for result in results[:2]] == ["error"] * 2
    assert results[2:] == wanted


def test_rows_seldom_go_along_after_their_text_has_ended(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine("qwen2")
    engine.load_adapter(trained_adapter(engine.spec.model_dir, LORA))
    generator = np.random.default_rng(1)
    many = [generator.integers(0, VOCAB_SIZE, length).tolist() for length in generator.integers(4, 40, 64)]
    stop = tuple(range(0, VOCAB_SIZE, 10))
    spec = GenerationSpec(max_new_tokens=40, eos_ids=stop, max_batch_rows=16, temperature=1.0)
    decoded: list[int] = []
    extend = generate._extend
    monkeypatch.setattr(
        generate, "_extend", lambda m, h, tokens, c: decoded.append(len(tokens)) or extend(m, h, tokens, c)
    )
    results = engine.generate(many, spec)
    needed = [len(result.tokens) - (result.stop_reason == "length") for result in results]
    assert len({*needed}) > 8
    assert sum(decoded) < 1.2 * sum(needed)
    in_groups = sum(max(needed[start : start + 16]) for start in range(0, 64, 16))
    assert len(decoded) < 0.7 * in_groups


def test_a_drawn_token_follows_its_probability_and_top_p_keeps_the_likeliest() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().repeat(5, 1)[:, [2, 0, 3, 1]]
    draws = torch.tensor([[0.0], [0.49], [0.51], [0.79], [0.96]])
    assert draw_token(logits, 1.0, draws).tolist() == [0, 1, 1, 3, 3]
    # 0.6 needs the two likeliest (0.5 + 0.3), renormalised to 0.625 and 0.375
    assert draw_token(logits, 0.6, draws).tolist() == [1, 1, 1, 3, 3]


@pytest.mark.parametrize(("peak", "found_at_once"), [(0.3, False), (6.0, True)])
def test_top_p_is_the_same_found_among_the_likeliest_and_by_sorting_all(
    monkeypatch: pytest.MonkeyPatch, peak: float, found_at_once: bool
) -> None:
    """In a flat distribution the likeliest 50 of 400 tokens do not reach 0.9, in a steep one they do."""
    noise = torch.Generator().manual_seed(1)
    logits = torch.randn(64, 400, generator=noise) * peak
    draws = torch.rand(64, 1, generator=noise)
    expected = draw_token(logits, 0.9, draws)
    monkeypatch.setattr("cuda_sum.generate.LIKELIEST", 50)
    assert (logits.softmax(-1).topk(50)[0].sum(-1).min() > 0.9) == found_at_once
    assert draw_token(logits, 0.9, draws).tolist() == expected.tolist()


def test_prompts_of_unlike_lengths_are_run_apart_once_there_is_enough_work() -> None:
    lengths = [400, 390, 385, 250, 245, 240, 238, 236, 100, 90]
    slices = prefill_slices(lengths)
    assert [lengths[rows] for rows in slices] == [[400, 390, 385], [250, 245, 240, 238, 236], [100, 90]]
    assert prefill_slices([30, 5, 1]) == [slice(0, 3)]


def test_how_prompts_are_run_together_changes_no_text(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, spec = make_engine("llama"), GenerationSpec(max_new_tokens=10)
    together = engine.generate(prompts(), spec)
    monkeypatch.setattr("cuda_sum.generate.PREFILL_TOKENS", 1)
    assert engine.generate(prompts(), spec) == together
