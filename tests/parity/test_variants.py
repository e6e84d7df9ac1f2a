"""DoRA, LoRA+ and NEFTune: equal on both engines, and to peft and transformers where they have them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.engine import Engine, EngineName, OptimizerSpec
from common.errors import AdapterError
from common.export.merge import BaseQuantization, MergedWeights
from common.model.adapter import count_trainable, magnitude_name, read_adapter, write_adapter
from tests.contract.cases import (
    ENGINES,
    LORA,
    build_exact,
    largest_difference,
    random_adapter,
    random_examples,
    same_bits,
    step_batches,
)
from tests.tiny_models import VOCAB_SIZE, build_tiny_model

DORA = dataclasses.replace(LORA, dora=True)
TOKENS = np.random.default_rng(3).integers(0, VOCAB_SIZE, (2, 24))
EXAMPLES = random_examples()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen2's shape: biases on q, k and v, which DoRA must not stretch."""
    return build_tiny_model(tmp_path_factory.mktemp("model"), "qwen2")


def moved(engine: Engine, seed: int = 1) -> dict[str, np.ndarray]:
    """Weights away from the start; row lengths stay positive."""
    start = engine.adapter()
    random = random_adapter(engine, seed)
    return {name: np.abs(start[name] + value) if "magnitude" in name else value for name, value in random.items()}


def peft_model(weights: dict[str, np.ndarray], model_dir: Path, directory: Path) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    write_adapter(directory, weights, DORA, str(model_dir))
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    return PeftModel.from_pretrained(base, str(directory), is_trainable=True).eval()


@pytest.mark.parametrize("name", ENGINES)
def test_dora_starts_as_the_base_with_the_lengths_of_its_rows(name: EngineName, model_dir: Path) -> None:
    engine = build_exact(name, model_dir, lora=DORA)
    untuned = build_exact(name, model_dir, lora=None).logits(TOKENS)
    np.testing.assert_allclose(engine.logits(TOKENS), untuned, atol=2e-5)
    weights = engine.adapter()
    linear = next(iter(engine.shape.linears()))  # type: ignore[attr-defined]
    base = MergedWeights(model_dir, engine.shape, None, BaseQuantization())  # type: ignore[attr-defined]
    expected = np.linalg.norm(base.float32(f"{linear.path}.weight"), axis=1)
    np.testing.assert_allclose(weights[magnitude_name(linear.path)], expected, rtol=1e-6)
    assert engine.trainable_parameters == sum(value.size for value in weights.values())
    assert engine.trainable_parameters == count_trainable(engine.shape, DORA)  # type: ignore[attr-defined]
    assert engine.trainable_parameters > count_trainable(engine.shape, LORA)  # type: ignore[attr-defined]
    engine.load_adapter(moved(engine))
    assert np.abs(engine.logits(TOKENS) - untuned).max() > 0.1
    engine.enable_adapter(False)
    assert np.array_equal(engine.logits(TOKENS), untuned)


@pytest.mark.parametrize("name", ENGINES)
def test_doras_logits_and_gradients_are_pefts(name: EngineName, model_dir: Path, tmp_path: Path) -> None:
    import torch

    engine = build_exact(name, model_dir, lora=DORA)
    weights = moved(engine)
    engine.load_adapter(weights)
    peft = peft_model(weights, model_dir, tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(engine.logits(TOKENS), peft(torch.from_numpy(TOKENS)).logits.numpy(), atol=2e-4)
    total = sum(int((item.labels >= 0).sum()) for item in EXAMPLES)
    for item in EXAMPLES:
        ids, labels = torch.from_numpy(item.tokens.astype(np.int64))[None], torch.from_numpy(item.labels).long()[1:]
        logits = peft(ids).logits[0, :-1]
        (torch.nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=-100) / total).backward()
    expected = {
        parameter_name.replace(".default", "").replace("vector.weight", "vector"): parameter.grad.numpy()
        for parameter_name, parameter in peft.named_parameters()
        if parameter.grad is not None
    }
    assert any("magnitude" in key and np.abs(value).max() > 1e-3 for key, value in expected.items())
    assert largest_difference(engine.gradients(step_batches(EXAMPLES)), expected) < 1e-5


def test_what_peft_saves_loads_here_and_back(model_dir: Path, tmp_path: Path) -> None:
    engine = build_exact("mlx", model_dir, lora=DORA)
    weights = moved(engine)
    peft_model(weights, model_dir, tmp_path / "ours").save_pretrained(str(tmp_path / "theirs"))
    stored = read_adapter(tmp_path / "theirs")
    assert stored.lora.dora
    assert same_bits(stored.weights, weights)


def test_merged_weights_are_pefts(model_dir: Path, tmp_path: Path) -> None:
    engine = build_exact("cuda", model_dir, lora=DORA)
    weights = moved(engine)
    merged = peft_model(weights, model_dir, tmp_path).merge_and_unload().state_dict()
    ours = MergedWeights(model_dir, engine.shape, read_adapter(tmp_path), BaseQuantization())  # type: ignore[attr-defined]
    for linear in engine.shape.linears():  # type: ignore[attr-defined]
        name = f"{linear.path}.weight"
        np.testing.assert_allclose(ours.float32(name), merged[name].numpy(), atol=1e-5)


@pytest.mark.parametrize("quantize", ["none", "4bit"])
@pytest.mark.parametrize("name", ENGINES)
def test_generation_with_dora_is_that_of_the_logits(name: EngineName, model_dir: Path, quantize: str) -> None:
    """(The torch engine adds the adapter to float32 weights for decoding, the mlx engine keeps the ratios.)"""
    from common.engine import GenerationSpec

    engine = build_exact(name, model_dir, lora=DORA, quantize=quantize)
    engine.load_adapter(moved(engine))
    prompt = TOKENS[0].tolist()
    (found,) = engine.generate([prompt], GenerationSpec(max_new_tokens=6))
    for token in found.tokens:
        assert token == int(engine.logits(np.array([prompt]))[0, -1].argmax())
        prompt.append(token)


def test_a_step_of_dora_and_of_lora_plus_is_the_same_on_both_engines(model_dir: Path) -> None:
    results = []
    optimizer = OptimizerSpec(lora_plus_ratio=16.0, weight_decay=0.1)
    for name in ENGINES:
        engine = build_exact(name, model_dir, lora=DORA, optimizer=optimizer)
        for _ in range(3):
            engine.step(step_batches(EXAMPLES), 1e-3)
        results.append(engine.adapter())
    assert largest_difference(*results) < 2e-5


@pytest.mark.parametrize("name", ENGINES)
def test_lora_plus_steps_as_pefts_optimizer(name: EngineName, model_dir: Path, tmp_path: Path) -> None:
    import torch
    from peft.optimizers import create_loraplus_optimizer

    engine = build_exact(name, model_dir, lora=DORA, optimizer=OptimizerSpec(lora_plus_ratio=16.0, max_grad_norm=0.0))
    weights = moved(engine)
    engine.load_adapter(weights)
    peft = peft_model(weights, model_dir, tmp_path)
    optimizer = create_loraplus_optimizer(peft, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0)
    gradients = engine.gradients(step_batches(EXAMPLES))
    by_name = {
        key.replace(".default", "").replace("vector.weight", "vector"): parameter
        for key, parameter in peft.named_parameters()
        if parameter.requires_grad
    }
    for key, parameter in by_name.items():
        parameter.grad = torch.from_numpy(gradients[key])
    optimizer.step()
    engine.step(step_batches(EXAMPLES), 1e-3)
    expected = {key: parameter.detach().numpy() for key, parameter in by_name.items()}
    assert largest_difference(engine.adapter(), weights) > 1e-2
    assert (
        largest_difference(engine.adapter(), expected) < 1e-4
    )  # Adam turns a gradient near 0 into a step of either sign


@pytest.mark.parametrize("name", ENGINES)
def test_lora_plus_resumes_exactly(name: EngineName, model_dir: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"lora": DORA, "optimizer": OptimizerSpec(lora_plus_ratio=4.0), "neftune_alpha": 5.0}
    whole = build_exact(name, model_dir, **changes)
    whole.step(step_batches(EXAMPLES), 1e-2)
    whole.save(tmp_path)
    weights = whole.adapter()
    whole.step(step_batches(EXAMPLES), 1e-2)
    resumed = build_exact(name, model_dir, **changes)
    resumed.load_adapter(weights)
    resumed.restore(tmp_path)
    resumed.step(step_batches(EXAMPLES), 1e-2)
    assert same_bits(whole.adapter(), resumed.adapter())


def noise_of(name: EngineName, shape: tuple[int, int, int], lengths: list[int], alpha: float) -> np.ndarray:
    """What an engine adds to embeddings of 0."""
    if name == "mlx":
        import mlx.core as mx

        from mlx_sum.forward import add_noise as add_mlx

        return np.array(add_mlx(mx.zeros(shape), mx.array(lengths), alpha, mx.random.key(1)))
    import torch

    from cuda_sum.fast import add_noise as add_torch

    torch.manual_seed(1)
    return add_torch(torch.zeros(shape), torch.tensor(lengths), alpha).numpy()


@pytest.mark.parametrize("name", ENGINES)
def test_neftunes_noise_has_the_size_of_transformers(name: EngineName) -> None:
    """Uniform in +-alpha / sqrt(L d) (Jain et al. 2023); transformers' hook has the same bound for a full row."""
    import torch
    from transformers.integrations.neftune import neftune_post_forward_hook

    length, width, alpha = 400, 64, 5.0
    torch.manual_seed(0)
    ours = noise_of(name, (2, length, width), [length, length // 4], alpha)
    module = torch.nn.Embedding(1, 1)
    module.neftune_noise_alpha = alpha  # type: ignore[assignment]
    module.train()
    theirs = neftune_post_forward_hook(module, None, torch.zeros(1, length, width)).numpy()
    bound = alpha / np.sqrt(length * width)
    assert np.abs(theirs).max() <= bound * (1 + 1e-6)
    assert bound * 0.99 < np.abs(ours[0]).max() <= bound * (1 + 1e-6)
    assert np.abs(ours[1]).max() == pytest.approx(2 * bound, rel=0.01), "a row's own length counts"
    assert ours[0].std() == pytest.approx(theirs.std(), rel=0.03)
    assert ours[0].mean() == pytest.approx(0.0, abs=bound / 20)


@pytest.mark.parametrize("name", ENGINES)
def test_neftune_acts_in_training_steps_only(name: EngineName, model_dir: Path) -> None:
    plain, noisy = build_exact(name, model_dir), build_exact(name, model_dir, neftune_alpha=20.0)
    batches = step_batches(EXAMPLES)
    assert same_bits(plain.gradients(batches), noisy.gradients(batches))
    assert plain.evaluate(batches) == noisy.evaluate(batches)
    assert np.array_equal(plain.logits(TOKENS), noisy.logits(TOKENS))
    first, second = plain.step(batches, 1e-3), noisy.step(batches, 1e-3)
    assert abs(first.loss - second.loss) > 1e-3
    assert abs(noisy.step(batches, 0.0).loss - noisy.step(batches, 0.0).loss) > 1e-4, "each step draws anew"


def test_exports_that_cannot_hold_dora_say_so(model_dir: Path) -> None:
    from common.model.adapter import StoredAdapter
    from common.summarize.ensemble import average_adapters

    engine = build_exact("cuda", model_dir, lora=DORA)
    stored = StoredAdapter(engine.adapter(), DORA, str(model_dir))
    with pytest.raises(AdapterError, match="DoRA adapters cannot be averaged"):
        average_adapters([stored, stored])
