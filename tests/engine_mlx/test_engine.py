"""The MLX engine as a whole: other compute types, compiled steps, memory, and a small journey."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from common.engine import EngineSpec, GenerationSpec, LoraSpec
from common.engine_base.state import state_file
from common.errors import CheckpointError
from common.model.adapter import read_adapter, write_adapter
from common.types import EncodedExample
from mlx_sum.engine import build
from tests.contract.cases import (
    LORA,
    ModelDir,
    dev_batches,
    exact_spec,
    largest_difference,
    random_adapter,
    random_examples,
    same_bits,
    step_batches,
)


def relative_error(rounded: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> float:
    """|rounded - exact| / |exact|, Euclidean over all matrices together."""
    ours, truth = (np.concatenate([part[name].ravel() for name in sorted(exact)]) for part in (rounded, exact))
    return float(np.linalg.norm(ours - truth) / np.linalg.norm(truth))


def test_sixteen_bit_gradients_are_near_the_exact_ones(tiny_model: ModelDir) -> None:
    gradients = {}
    for dtype in ("float32", "bfloat16", "float16"):
        engine = build(exact_spec(tiny_model("llama"), dtype=dtype))
        engine.load_adapter(random_adapter(engine, size=0.05))
        gradients[dtype] = engine.gradients(step_batches(random_examples()))
    errors = [relative_error(gradients[dtype], gradients["float32"]) for dtype in ("bfloat16", "float16")]
    # unit roundoffs are 2^-9 and 2^-12; a few dozen roundings follow each other
    assert errors[0] < 50 * 2**-9
    assert errors[1] < 50 * 2**-12


def test_float16_gradients_of_a_mean_over_many_tokens_do_not_vanish(tiny_model: ModelDir) -> None:
    """Each token of a step of 100,000 has a weight of 1e-5: below float16 without a scale on the loss."""
    (batch,) = step_batches(random_examples())
    tiny = replace(batch, weights=np.where(batch.weights != 0, 1e-5, 0).astype(np.float32))
    exact, scaled, unscaled = (
        build(exact_spec(tiny_model("llama"), dtype=d)) for d in ("float32", "float16", "float16")
    )
    for engine in (exact, scaled, unscaled):
        engine.load_adapter(random_adapter(engine, size=0.05))
    unscaled._loss_scale = 1.0
    truth = exact.gradients([tiny])
    assert relative_error(scaled.gradients([tiny]), truth) < 0.03
    assert relative_error(unscaled.gradients([tiny]), truth) > 0.1


@pytest.mark.slow
def test_a_compiled_step_is_the_same_step(tiny_model: ModelDir) -> None:
    adapters = []
    for compiled in (False, True):
        lora = LoraSpec(rank=4, dropout=0.1)
        engine = build(exact_spec(tiny_model("qwen2"), lora=lora, compile=compiled, gradient_checkpointing=compiled))
        for seed in range(3):
            engine.step(step_batches(random_examples(seed=seed)), 1e-2)
        adapters.append(engine.adapter())
    assert largest_difference(*adapters) < 1e-4


def test_training_memory_grows_in_proportion_to_length(tiny_model: ModelDir) -> None:
    def peak(length: int) -> int:
        engine = build(exact_spec(tiny_model("llama")))
        tokens = np.random.default_rng(0).integers(0, 384, length).astype(np.int32)
        labels = np.where(np.arange(length) < length - 8, -100, tokens).astype(np.int32)
        batches = step_batches([EncodedExample("long", tokens, labels)])
        engine.reset_peak_memory()
        engine.step(batches, 1e-3)
        return engine.peak_memory_bytes()

    short, long = peak(384), peak(768)
    assert short < long < 2.3 * short


def test_gradient_checkpointing_lowers_the_peak(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "llama", vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=8, num_attention_heads=4
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokens = np.random.default_rng(0).integers(0, 64, 256).astype(np.int32)
    batches = step_batches([EncodedExample("long", tokens, tokens)])
    peaks = []
    for checkpointing in (False, True):
        engine = build(exact_spec(tmp_path, gradient_checkpointing=checkpointing))
        engine.reset_peak_memory()
        engine.step(batches, 1e-3)
        peaks.append(engine.peak_memory_bytes())
    assert peaks[1] < 0.75 * peaks[0]


def test_damaged_and_foreign_states_are_refused(tiny_model: ModelDir, tmp_path: Path) -> None:
    engine = build(exact_spec(tiny_model("qwen2")))
    engine.save(tmp_path)
    path = state_file(tmp_path, "mlx")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        engine.restore(tmp_path)
    build(exact_spec(tiny_model("qwen2"), lora=LoraSpec(rank=4, target_modules=("q_proj",)))).save(tmp_path)
    with pytest.raises(CheckpointError, match="resume with the model, adapter and optimizer settings"):
        engine.restore(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be written"):
        engine.save(tmp_path / "nowhere")


def test_a_state_of_an_earlier_version_is_read_without_its_random_state(tiny_model: ModelDir, tmp_path: Path) -> None:
    spec = exact_spec(tiny_model("qwen2"), lora=LoraSpec(rank=4, dropout=0.2))
    engine = build(spec)
    engine.step(step_batches(random_examples()), 1e-2)
    engine.save(tmp_path)
    path = state_file(tmp_path, "mlx")
    save_file(load_file(path) | {"dropout_key": np.array([1, 2], np.uint32)}, path)
    resumed = build(spec)
    resumed.load_adapter(engine.adapter())
    resumed.restore(tmp_path)
    for each in (engine, resumed):
        each.step(step_batches(random_examples(seed=1)), 1e-2)
    assert same_bits(resumed.adapter(), engine.adapter())
    save_file(load_file(path) | {"another": np.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="another does not belong"):
        resumed.restore(tmp_path)


def test_a_four_bit_journey_trains_resumes_evaluates_and_exports(tiny_model: ModelDir, tmp_path: Path) -> None:
    spec = EngineSpec(tiny_model("qwen2"), quantize="4bit", lora=LORA, seed=7)
    steps = [step_batches(random_examples(4, seed=seed % 2), 120) for seed in range(12)]
    dev = dev_batches(random_examples(4, seed=0))
    engine = build(spec)
    untuned = engine.evaluate(dev).loss
    for batches in steps[:6]:
        engine.step(batches, 1e-2)
    engine.save(tmp_path)
    write_adapter(tmp_path / "adapter", engine.adapter(), LORA, "tiny")
    for batches in steps[6:]:
        engine.step(batches, 1e-2)

    resumed = build(spec)
    resumed.load_adapter(read_adapter(tmp_path / "adapter").weights)
    resumed.restore(tmp_path)
    for batches in steps[6:]:
        resumed.step(batches, 1e-2)

    assert same_bits(resumed.adapter(), engine.adapter())
    assert resumed.evaluate(dev).loss == engine.evaluate(dev).loss < 0.6 * untuned
    prompt = random_examples(4, seed=0)[0]
    start = int(np.flatnonzero(prompt.labels != -100)[0])
    wanted = tuple(prompt.tokens[start:].tolist())
    greedy = GenerationSpec(max_new_tokens=len(wanted))
    tuned_text = resumed.generate([prompt.tokens[:start].tolist()], greedy)[0].tokens
    resumed.enable_adapter(False)
    assert tuned_text != resumed.generate([prompt.tokens[:start].tolist()], greedy)[0].tokens
