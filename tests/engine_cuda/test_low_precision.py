"""Quantized bases, 16-bit compute and the loss scaler, as far as a CPU can run them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import cuda_sum.fast
from common.engine import EngineSpec, OptimizerSpec
from common.errors import NonFiniteError
from common.model.architecture import read_shape
from common.types import Batch
from cuda_sum.engine import CudaEngine
from cuda_sum.functions import causal_attention
from cuda_sum.model import dense_weight, is_quantized, load_model
from cuda_sum.optimizer import FIRST_SCALE, GROWTH_STEPS, SMALLEST_SCALE, LossScaler
from tests.engine_cuda.cases import random_batch, trained_adapter
from tests.engine_cuda.conftest import LORA

ModelDir = Callable[[str], Path]
MakeEngine = Callable[..., CudaEngine]
TOKENS = np.random.default_rng(0).integers(0, 384, (2, 21))


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
@pytest.mark.parametrize("architecture", ["qwen2", "phi"])
def test_exactly_the_transformers_linear_layers_are_quantized(
    quantize: Any, architecture: str, model_dir: ModelDir
) -> None:
    directory = model_dir(architecture)
    model, shape = load_model(EngineSpec(directory, quantize=quantize), torch.device("cpu"), torch.bfloat16)
    quantized = {name for name, module in model.named_modules() if is_quantized(module)}
    assert quantized == {linear.path for linear in shape.linears()}
    assert model.lm_head.weight.dtype == model.model.embed_tokens.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(("quantize", "most"), [("4bit", 0.2), ("8bit", 0.02)])
def test_dequantized_weights_are_close_to_the_originals_and_not_equal(
    quantize: Any, most: float, model_dir: ModelDir
) -> None:
    models = [
        load_model(EngineSpec(model_dir("llama"), quantize=kind), torch.device("cpu"), torch.float32)[0]
        for kind in (quantize, "none")
    ]
    for linear in read_shape(model_dir("llama")).linears():
        rounded, exact = (dense_weight(model.get_submodule(linear.path), torch.float32) for model in models)
        error = (rounded - exact).norm() / exact.norm()
        assert 1e-4 < error < most, linear.path


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_training_on_a_quantized_base_lowers_the_loss(quantize: str, make_engine: MakeEngine) -> None:
    engine = make_engine("qwen2", quantize=quantize)
    batch = random_batch(5)
    losses = [engine.step([batch], 1e-2).loss for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_gradient_through_a_quantized_base_is_that_of_its_dequantized_weights(make_engine: MakeEngine) -> None:
    quantized, dense = make_engine("llama", quantize="4bit"), make_engine("llama")
    for ours, theirs in zip(quantized._linears, dense._linears, strict=True):
        for base, plain in zip(ours.bases, theirs.bases, strict=True):
            plain.weight.data = dense_weight(base, torch.float32)
    weights = trained_adapter(dense.spec.model_dir, LORA)
    for engine in (quantized, dense):
        engine.load_adapter(weights)
    np.testing.assert_allclose(quantized.logits(TOKENS), dense.logits(TOKENS), atol=1e-5)
    for name, gradient in dense.gradients([random_batch(1)]).items():
        np.testing.assert_allclose(quantized.gradients([random_batch(1)])[name], gradient, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_trained_weights_stay_float32_and_activations_are_not_widened(dtype: str, make_engine: MakeEngine) -> None:
    """A 16-bit step agrees with float32 within its rounding, and no matrix product of it has float32 operands."""
    engine, exact = make_engine(dtype=dtype), make_engine()
    weights = trained_adapter(exact.spec.model_dir, LORA)
    for each in (engine, exact):
        each.load_adapter(weights)
    products: set[torch.dtype] = set()

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if any(name in str(function) for name in ("aten.mm", "aten.addmm", "aten.linear")):
                products.update(arg.dtype for arg in args if isinstance(arg, torch.Tensor))
            return function(*args, **(kwargs or {}))

    with Products():
        gradients = engine.gradients([random_batch(1)])
    assert products == {getattr(torch, dtype)}
    for name, gradient in exact.gradients([random_batch(1)]).items():
        assert gradients[name].dtype == np.float32
        assert np.linalg.norm(gradients[name] - gradient) < 0.1 * np.linalg.norm(gradient), name
    assert all(value.dtype == np.float32 for value in engine.adapter().values())


@pytest.mark.parametrize(("architecture", "wanted"), [("phi", torch.float32), ("llama", torch.float16)])
def test_phis_attention_runs_in_float32_where_float16_would_overflow(
    architecture: str, wanted: torch.dtype, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def attention(*values: Any) -> torch.Tensor:
        seen.update(tensor.dtype for tensor in values[:3])
        return causal_attention(*values)

    monkeypatch.setattr(cuda_sum.fast, "causal_attention", attention)
    logits = make_engine(architecture, dtype="float16").logits(TOKENS)
    assert seen == {wanted}
    assert np.isfinite(logits).all()


def scaled(batch: Batch, factor: float) -> Batch:
    return Batch(batch.tokens, batch.lengths, batch.rows, batch.targets, batch.weights * np.float32(factor), batch.ids)


def test_float16_skips_a_step_whose_gradients_overflow_and_goes_on_with_half_the_scale(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine(dtype="float16")
    before = engine.adapter()
    stats = engine.step([scaled(random_batch(1), 1e4)], 1e-3)
    assert stats.skipped
    assert np.isfinite(stats.loss_sum)
    assert all(np.array_equal(value, before[name]) for name, value in engine.adapter().items())
    assert engine._scaler.scale == FIRST_SCALE / 2

    stats = engine.step([random_batch(1)], 1e-3)
    assert not stats.skipped
    assert any(not np.array_equal(value, before[name]) for name, value in engine.adapter().items())


def test_the_loss_scale_saves_gradients_too_small_for_float16(make_engine: MakeEngine) -> None:
    engine, exact = make_engine(dtype="float16"), make_engine()
    batch = scaled(random_batch(1), 1e-5)
    wanted = exact.step([batch], 0.0).grad_norm
    assert engine.step([batch], 0.0).grad_norm == pytest.approx(wanted, rel=0.05)
    engine._scaler.enabled, engine._scaler.scale = False, 1.0
    assert engine.step([batch], 0.0).grad_norm != pytest.approx(wanted, rel=0.05)


def test_the_loss_scale_grows_after_good_steps_and_gives_up_when_nothing_helps() -> None:
    scaler = LossScaler(enabled=True)
    for _ in range(GROWTH_STEPS):
        scaler.succeeded()
    assert scaler.scale == 2 * FIRST_SCALE
    for _ in range(int(np.log2(2 * FIRST_SCALE / SMALLEST_SCALE))):
        scaler.overflowed()
    assert scaler.scale == SMALLEST_SCALE
    with pytest.raises(NonFiniteError, match="float32"):
        scaler.overflowed()


@pytest.mark.parametrize("name", ["adamw-8bit", "paged-adamw-8bit"])
def test_eight_bit_optimizers_train_and_resume_bit_for_bit(name: Any, make_engine: MakeEngine, tmp_path: Path) -> None:
    """On a CPU bitsandbytes keeps paged state in ordinary memory, so that it resumes there."""
    spec = OptimizerSpec(name=name)
    whole, resumed, forgetful = (make_engine(optimizer=spec) for _ in range(3))
    batches = [random_batch(seed) for seed in range(4)]
    for batch in batches[:2]:
        whole.step([batch], 1e-2)
    whole.save(tmp_path)
    for engine in (resumed, forgetful):
        engine.load_adapter(whole.adapter())
    resumed.restore(tmp_path)
    for batch in batches[2:]:
        for engine in (whole, resumed, forgetful):
            engine.step([batch], 1e-2)
    same = [
        all(np.array_equal(value, whole.adapter()[key]) for key, value in engine.adapter().items())
        for engine in (resumed, forgetful)
    ]
    assert same == [True, False]
    assert any(value.dtype == torch.uint8 for value in whole._state().values())


def test_the_scalers_state_is_resumed(make_engine: MakeEngine, tmp_path: Path) -> None:
    engine, resumed = make_engine(dtype="float16"), make_engine(dtype="float16")
    engine.step([scaled(random_batch(1), 1e4)], 1e-3)
    engine.save(tmp_path)
    resumed.restore(tmp_path)
    assert resumed._scaler.scale == FIRST_SCALE / 2
