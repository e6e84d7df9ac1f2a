"""Adapters go in, come out and switch off the same on every engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.engine import Engine, GenerationSpec, LoraSpec
from common.errors import AdapterError
from common.model.adapter import lora_a_name, lora_b_name, read_adapter, write_adapter
from common.model.architecture import read_shape
from tests.contract.cases import (
    LORA,
    dev_batches,
    largest_difference,
    random_adapter,
    random_examples,
    same_bits,
    step_batches,
)
from tests.tiny_models import ARCHITECTURES

Build = Callable[..., Engine]
TOKENS = np.random.default_rng(3).integers(0, 384, (2, 24))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("quantize", ["none", "4bit", "8bit"])
def test_switched_off_the_adapter_leaves_the_untuned_model_exactly(
    build: Build, architecture: str, quantize: str
) -> None:
    engine = build(architecture, quantize=quantize)
    untuned = build(architecture, quantize=quantize, lora=None).logits(TOKENS)
    assert np.array_equal(engine.logits(TOKENS), untuned), "B starts at 0"
    engine.load_adapter(random_adapter(engine))
    tuned = engine.logits(TOKENS)
    assert np.abs(tuned - untuned).max() > 0.1
    engine.enable_adapter(False)
    assert np.array_equal(engine.logits(TOKENS), untuned)
    engine.enable_adapter(True)
    assert np.array_equal(engine.logits(TOKENS), tuned)


def test_what_is_loaded_is_what_comes_out(build: Build) -> None:
    engine = build()
    weights = random_adapter(engine)
    engine.load_adapter(weights)
    assert same_bits(engine.adapter(), weights)


def test_what_comes_out_does_not_change_with_later_steps(build: Build) -> None:
    engine = build()
    weights = engine.adapter()
    kept = {name: value.copy() for name, value in weights.items()}
    engine.step(step_batches(random_examples()), 1e-2)
    assert same_bits(weights, kept)
    assert largest_difference(engine.adapter(), kept) > 1e-3


@pytest.mark.parametrize("scale_by_root", [False, True])
def test_the_adapter_adds_scale_times_b_a(build: Build, scale_by_root: bool) -> None:
    """Two adapters with the same product scale * B A are the same function (Hu et al. 2021; Kalajdzievski 2023)."""
    lora = replace(LORA, rank_stabilised=scale_by_root)
    engine, other = build(lora=lora), build(lora=replace(lora, alpha=2 * lora.alpha))
    weights = random_adapter(engine)
    halved = {name: value / 2 if "lora_B" in name else value for name, value in weights.items()}
    engine.load_adapter(weights)
    other.load_adapter(halved)
    assert lora.scale == (4.0 if scale_by_root else 2.0)  # 8 / sqrt(4) and 8 / 4
    np.testing.assert_allclose(other.logits(TOKENS), engine.logits(TOKENS), atol=1e-4)
    other.load_adapter(weights)
    assert np.abs(other.logits(TOKENS) - engine.logits(TOKENS)).max() > 0.1


def test_weights_that_do_not_fit_are_refused_and_change_nothing(build: Build) -> None:
    engine = build()
    good = random_adapter(engine)
    engine.load_adapter(good)
    name = sorted(good)[0]
    missing = {key: value for key, value in good.items() if key != name}
    turned = {**good, name: good[name].T}
    spoiled = {**good, name: np.full_like(good[name], np.nan)}
    extra = {**good, lora_a_name("model.layers.9.self_attn.q_proj"): good[name]}
    for bad, complaint in ((missing, "missing"), (turned, "shape"), (spoiled, "NaN"), (extra, "unexpected")):
        with pytest.raises(AdapterError, match=complaint):
            engine.load_adapter(bad)
    assert same_bits(engine.adapter(), good)


def test_an_engine_built_without_an_adapter_loads_none(build: Build) -> None:
    weights = build().adapter()
    with pytest.raises(AdapterError):
        build(lora=None).load_adapter(weights)


def test_heads_and_unknown_modules_are_refused_as_targets(build: Build) -> None:
    for targets in (("lm_head",), ("q_proj", "embed_tokens"), ("dense",)):
        with pytest.raises(AdapterError, match=targets[-1]):
            build(lora=LoraSpec(target_modules=targets))


def test_names_and_shapes_are_pefts(build: Build) -> None:
    weights = build("phi", lora=LoraSpec(rank=3, target_modules=("fc1",))).adapter()
    path = "model.layers.1.mlp.fc1"  # 64 in, 128 out
    assert weights[lora_a_name(path)].shape == (3, 64)
    assert weights[lora_b_name(path)].shape == (128, 3)
    assert all(value.dtype == np.float32 for value in weights.values())


def test_loss_is_the_negative_log_likelihood_of_the_targets(build: Build) -> None:
    engine = build()
    engine.load_adapter(random_adapter(engine))
    examples = random_examples(5, shortest=10)
    expected = 0.0
    for example in examples:
        logits = engine.logits(example.tokens[None])[0].astype(np.float64)
        log_sums = np.log(np.exp(logits).sum(axis=-1))
        for position in np.flatnonzero(example.labels != -100):
            expected += log_sums[position - 1] - logits[position - 1, example.tokens[position]]
    stats = engine.evaluate(dev_batches(examples, 100))
    assert stats.loss_sum == pytest.approx(expected, rel=1e-5)
    assert stats.target_tokens == sum(int((example.labels != -100).sum()) for example in examples)
    engine.enable_adapter(False)
    assert engine.evaluate(dev_batches(examples)).loss_sum != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(
    "feature",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": "olora"},
        {"alora_invocation_tokens": [5, 6]},
        {"layer_replication": [[0, 1], [0, 2]]},
        {"target_parameters": ["mlp.experts"]},
        {"rank_pattern": {"q_proj": 2}},
    ],
)
def test_an_adapter_with_a_feature_that_is_not_there_is_refused_by_name(
    build: Build, tmp_path: Path, feature: dict[str, Any]
) -> None:
    directory = tmp_path / "adapter"
    directory.mkdir()
    write_adapter(directory, build().adapter(), LORA, "base")
    stored = directory / "adapter_config.json"
    plain = json.loads(stored.read_text())
    stored.write_text(json.dumps(plain | feature))
    with pytest.raises(AdapterError, match=next(iter(feature))):
        read_adapter(directory)
    stored.write_text(json.dumps(plain | {"init_lora_weights": "gaussian", "layers_to_transform": 1}))
    assert read_adapter(directory).lora.layers == 1


def test_what_a_family_means_where_its_settings_say_nothing(tmp_path: Path) -> None:
    sizes = {
        "num_attention_heads": 2,
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "intermediate_size": 64,
        "vocab_size": 90,
    }
    for family, head_dim, window in (
        ("llama", 32, None),
        ("mistral", 32, 4096),
        ("qwen3", 128, None),
        ("gemma", 256, None),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": family, **sizes}))
        shape = read_shape(tmp_path)
        assert (shape.head_dim, shape.sliding_window) == (head_dim, window), family


def test_a_temperature_too_low_to_divide_by_is_greedy(build: Build) -> None:
    engine = build()
    engine.load_adapter(random_adapter(engine))
    greedy = engine.generate([[5, 6, 7]], GenerationSpec(max_new_tokens=6))
    assert engine.generate([[5, 6, 7]], GenerationSpec(max_new_tokens=6, temperature=1e-40)) == greedy
