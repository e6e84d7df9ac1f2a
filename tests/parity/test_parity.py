"""The two engines are the same function, the same gradient and the same training: float32, unquantized, dropout 0.

Each equality is guarded by an inequality: what is compared must matter.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from common.data.batching import BoundaryLoss
from common.engine import Engine, EngineName, GenerationSpec, LoraSpec
from common.model.adapter import read_adapter, write_adapter
from tests.contract.cases import (
    ENGINES,
    LORA,
    ModelDir,
    build_exact,
    dev_batches,
    largest_difference,
    random_adapter,
    random_examples,
    step_batches,
)
from tests.tiny_models import ARCHITECTURES

TRAINED = ("qwen2", "llama", "phi")
TOKENS = np.random.default_rng(5).integers(0, 384, (3, 40))
TARGETS = {"qwen2": "all-linear", "llama": ("q_proj", "v_proj", "down_proj"), "phi": "all-linear"}


def pair(directory: Path, lora: LoraSpec = LORA) -> tuple[Engine, Engine]:
    """Both engines on one model with one and the same adapter that is far from 0."""
    mlx, cuda = (build_exact(name, directory, lora=lora) for name in ENGINES)
    for engine in (mlx, cuda):
        engine.load_adapter(random_adapter(engine))
    return mlx, cuda


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_agree_with_the_adapter_and_without(tiny_model: ModelDir, architecture: str) -> None:
    mlx, cuda = pair(tiny_model(architecture))
    tuned = mlx.logits(TOKENS)
    tolerance = 1e-4 if architecture in TRAINED else 1e-5 * max(10.0, float(np.abs(tuned).max()))  # gemma's reach 30
    assert np.abs(tuned - cuda.logits(TOKENS)).max() < tolerance
    for engine in (mlx, cuda):
        engine.enable_adapter(False)
    untuned = mlx.logits(TOKENS)
    assert np.abs(untuned - cuda.logits(TOKENS)).max() < tolerance
    assert np.abs(tuned - untuned).max() > 0.5, "the adapter must matter"


def test_both_engines_draw_the_same_texts_from_one_seed(tiny_model: ModelDir) -> None:
    mlx, cuda = pair(tiny_model("llama"))
    prompts = [row[: 5 + 3 * place].tolist() for place, row in enumerate([*TOKENS, *TOKENS])]
    spec = GenerationSpec(max_new_tokens=12, temperature=1.2, top_p=0.9, seed=5)
    drawn = mlx.generate(prompts, spec)
    assert drawn == cuda.generate(prompts, spec)
    assert len({result.tokens[0] for result in drawn}) > 2
    assert drawn != mlx.generate(prompts, dataclasses.replace(spec, seed=6))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("architecture", TRAINED)
def test_the_rotary_settings_of_these_models_matter(
    tiny_model: ModelDir, tmp_path: Path, architecture: str, name: EngineName
) -> None:
    directory = shutil.copytree(tiny_model(architecture), tmp_path / "default")
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    defaults = [{"rope_type": "default", "rope_theta": 10000.0}]
    if architecture == "phi":
        defaults = [
            {**defaults[0], "partial_rotary_factor": 0.4},
            {**config["rope_parameters"], "partial_rotary_factor": 1},
        ]
    expected = build_exact(name, tiny_model(architecture), lora=None).logits(TOKENS)
    for rope in defaults:
        path.write_text(json.dumps({**config, "rope_parameters": rope}), encoding="utf-8")
        assert np.abs(build_exact(name, directory, lora=None).logits(TOKENS) - expected).max() > 0.01


@pytest.mark.parametrize("architecture", TRAINED)
def test_loss_and_gradients_agree(tiny_model: ModelDir, architecture: str) -> None:
    mlx, cuda = pair(tiny_model(architecture))
    examples = random_examples(6, shortest=12, longest=150)  # beyond 128 tokens MLX attends block by block
    assert max(len(example) for example in examples) > 128
    for boundary in (None, BoundaryLoss(weight=0.1)):
        batches = step_batches(examples, 300, boundary)
        ours, theirs = mlx.evaluate(batches), cuda.evaluate(batches)
        assert ours.target_tokens == theirs.target_tokens
        assert ours.loss_sum == pytest.approx(theirs.loss_sum, rel=1e-5)
        gradients = mlx.gradients(batches)
        assert largest_difference(gradients, cuda.gradients(batches)) < 1e-4
        assert all(np.abs(value).max() > 1e-3 for value in gradients.values()), "every matrix must take part"


@pytest.mark.parametrize("architecture", TRAINED)
def test_thirty_steps_of_training_take_the_same_course(tiny_model: ModelDir, architecture: str) -> None:
    lora = LoraSpec(rank=4, alpha=8.0, target_modules=TARGETS[architecture])
    steps = [step_batches(random_examples(4, seed=seed % 3), 120) for seed in range(30)]
    curves, adapters = [], []
    for name in ENGINES:
        engine = build_exact(name, tiny_model(architecture), lora=lora)
        curves.append([engine.step(batches, 5e-3) for batches in steps])
        adapters.append(engine.adapter())
    for ours, theirs in zip(*curves, strict=True):
        assert abs(ours.loss - theirs.loss) < 1e-3
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-2)
    assert curves[0][-1].loss < 0.7 * curves[0][2].loss, "training must get somewhere"
    assert largest_difference(*adapters) < 5e-3


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("architecture", TRAINED)
def test_a_trained_adapter_works_in_the_other_engine_and_in_plain_peft(
    tiny_model: ModelDir, tmp_path: Path, architecture: str, name: EngineName
) -> None:
    lora = LoraSpec(rank=4, alpha=8.0, target_modules=TARGETS[architecture], rank_stabilised=True)
    directory = tiny_model(architecture)
    trained = build_exact(name, directory, lora=lora)
    untuned = trained.logits(TOKENS)
    for seed in range(5):
        trained.step(step_batches(random_examples(4, seed=seed)), 2e-2)
    expected = trained.logits(TOKENS)
    assert np.abs(expected - untuned).max() > 0.5
    write_adapter(tmp_path, trained.adapter(), lora, str(directory))

    stored = read_adapter(tmp_path)
    (other,) = (engine for engine in ENGINES if engine != name)
    reader = build_exact(other, directory, lora=stored.lora)
    reader.load_adapter(stored.weights)
    assert np.abs(reader.logits(TOKENS) - expected).max() < 1e-4
    assert np.abs(logits_in_peft(directory, tmp_path) - expected).max() < 1e-4


def logits_in_peft(model_dir: Path, adapter_dir: Path) -> np.ndarray:
    """(B, T, V) logits of transformers and peft alone, without any of our code."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter_dir).eval()
    with torch.no_grad():
        return model(torch.tensor(TOKENS)).logits.numpy()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("architecture", TRAINED)
def test_quantized_to_four_bits_the_same_run_lowers_the_dev_loss(
    tiny_model: ModelDir, architecture: str, name: EngineName
) -> None:
    engine = build_exact(name, tiny_model(architecture), quantize="4bit")
    exact = build_exact(name, tiny_model(architecture))
    dev = dev_batches(random_examples(4, seed=0))  # the random texts can only be learned by heart
    before = engine.evaluate(dev).loss
    assert before != pytest.approx(exact.evaluate(dev).loss, rel=1e-4), "the base must be quantized"
    for _ in range(8):
        engine.step(step_batches(random_examples(4, seed=0)), 1e-2)
    assert engine.evaluate(dev).loss < 0.8 * before
