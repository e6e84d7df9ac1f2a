"""The engine against plain transformers and peft on tiny models of every architecture: same numbers, less work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import cuda_sum.attention
import cuda_sum.fast
from common.engine import LoraSpec
from common.model.adapter import count_trainable, write_adapter
from cuda_sum.engine import CudaEngine
from cuda_sum.functions import causal_attention
from tests.engine_cuda.cases import (
    naive_gradients,
    naive_objective,
    plain_model,
    plain_peft,
    random_batch,
    trained_adapter,
)
from tests.engine_cuda.conftest import LORA
from tests.tiny_models import ARCHITECTURES, VOCAB_SIZE

ModelDir = Callable[[str], Path]
MakeEngine = Callable[..., CudaEngine]
TOKENS = np.random.default_rng(0).integers(0, VOCAB_SIZE, (2, 21))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_loss_and_gradients_are_those_of_plain_peft(
    architecture: str, model_dir: ModelDir, make_engine: MakeEngine, tmp_path: Path
) -> None:
    engine = make_engine(architecture)
    weights = trained_adapter(model_dir(architecture), LORA)
    base = plain_model(model_dir(architecture))(torch.from_numpy(TOKENS)).logits.detach().numpy()
    np.testing.assert_allclose(engine.logits(TOKENS), base, atol=1e-4)

    engine.load_adapter(weights)
    peft = plain_peft(model_dir(architecture), tmp_path, LORA, weights)
    adapted = peft(input_ids=torch.from_numpy(TOKENS)).logits.detach().numpy()
    assert np.abs(adapted - base).max() > 0.1
    np.testing.assert_allclose(engine.logits(TOKENS), adapted, atol=1e-4)

    batch = random_batch(1)
    assert engine.evaluate([batch]).loss_sum == pytest.approx(naive_objective(peft, batch)[1].item(), rel=1e-5)
    ours, naive = engine.gradients([batch]), naive_gradients(peft, batch)
    assert ours.keys() == naive.keys()
    for name, gradient in naive.items():
        np.testing.assert_allclose(ours[name], gradient, atol=2e-5, err_msg=name)
    assert max(np.abs(gradient).max() for gradient in naive.values()) > 1e-2


@pytest.mark.parametrize(
    "lora",
    [
        LoraSpec(rank=4, alpha=8.0, target_modules=("q_proj", "v_proj")),
        LoraSpec(rank=4, alpha=8.0, target_modules=("up_proj", "o_proj"), rank_stabilised=True),
        LoraSpec(rank=4, alpha=8.0, layers=1),
    ],
    ids=["some of a group", "rank-stabilised", "last layer"],
)
def test_partly_adapted_models_have_plain_pefts_gradients(
    lora: LoraSpec, model_dir: ModelDir, make_engine: MakeEngine, tmp_path: Path
) -> None:
    engine, weights = make_engine("qwen2", lora=lora), trained_adapter(model_dir("qwen2"), lora)
    engine.load_adapter(weights)
    naive = naive_gradients(plain_peft(model_dir("qwen2"), tmp_path, lora, weights), random_batch(1))
    ours = engine.gradients([random_batch(1)])
    assert ours.keys() == naive.keys()
    assert engine.trainable_parameters == count_trainable(engine.shape, lora) == sum(a.size for a in naive.values())
    for name, gradient in naive.items():
        np.testing.assert_allclose(ours[name], gradient, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("architecture", ["llama", "phi"])
def test_a_trained_adapter_gives_the_same_logits_in_plain_peft(
    architecture: str, model_dir: ModelDir, make_engine: MakeEngine, tmp_path: Path
) -> None:
    from peft import PeftModel

    engine = make_engine(architecture)
    untuned = engine.logits(TOKENS)
    for seed in range(3):
        engine.step([random_batch(seed)], 1e-2)
    write_adapter(tmp_path, engine.adapter(), LORA, str(model_dir(architecture)))
    peft = PeftModel.from_pretrained(plain_model(model_dir(architecture)), tmp_path).eval()
    theirs = peft(input_ids=torch.from_numpy(TOKENS)).logits.detach().numpy()
    assert np.abs(theirs - untuned).max() > 0.1
    np.testing.assert_allclose(engine.logits(TOKENS), theirs, atol=1e-4)


class LargestTensors(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return result


@pytest.mark.parametrize("architecture", ["qwen2", "phi"])
def test_no_logits_of_all_positions_exist_in_a_step(
    architecture: str, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_sum.attention, "CPU_SCORES", 1)  # one sequence's scores at a time, fewer than the logits
    engine, batch = make_engine(architecture), random_batch(3, lengths=(64,) * 24, summary=4)
    positions, targets = 24 * 64, len(batch.rows)
    engine._rows = 32
    with LargestTensors() as seen:
        engine.step([batch], 1e-3)
    assert seen.largest < positions * VOCAB_SIZE / 2
    assert seen.largest >= positions * 64  # the hidden states were seen
    with LargestTensors() as naive:
        naive_objective(plain_model(engine.spec.model_dir), batch)
    assert naive.largest >= positions * VOCAB_SIZE
    assert targets * VOCAB_SIZE > 32 * VOCAB_SIZE


def test_no_attention_mask_is_built_for_padded_batches(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = []

    def seen(query: Any, key: Any, value: Any, scale: float, mask: Any, window: Any) -> Any:
        masks.append(mask)
        return causal_attention(query, key, value, scale, mask, window)

    monkeypatch.setattr(cuda_sum.fast, "causal_attention", seen)
    make_engine().step([random_batch(1)], 1e-3)
    assert masks
    assert all(mask is None for mask in masks)


def test_padding_and_what_stands_in_it_change_nothing(make_engine: MakeEngine) -> None:
    engine, batch = make_engine(), random_batch(4, lengths=(20, 11))
    other = batch.tokens.copy()
    other[1, 11:] = (other[1, 11:] + 1) % VOCAB_SIZE
    changed = dataclasses.replace(batch, tokens=other)
    assert engine.evaluate([batch]).loss_sum == engine.evaluate([changed]).loss_sum
    real = batch.tokens.copy()
    real[1, 3] = (real[1, 3] + 1) % VOCAB_SIZE
    assert engine.evaluate([dataclasses.replace(batch, tokens=real)]).loss_sum != engine.evaluate([batch]).loss_sum


def test_the_bases_own_dropout_is_off_in_training(make_engine: MakeEngine) -> None:
    """Phi's configuration asks for resid_pdrop 0.1, which mlx-lm does not have."""
    first, second = (make_engine("phi", seed=seed) for seed in (0, 1))
    stats = [engine.step([random_batch(2)], 1e-3) for engine in (first, second)]
    assert stats[0].loss_sum == stats[1].loss_sum
    assert stats[0].loss_sum == pytest.approx(second.evaluate([random_batch(2)]).loss_sum, rel=0.2)


def test_dropout_drops_the_adapters_inputs_only_as_peft_does(make_engine: MakeEngine) -> None:
    """With B = 0 the adapter adds nothing, so dropout cannot show; with B it does, and its mean is the plain output."""
    lora = dataclasses.replace(LORA, dropout=0.5)
    engine = make_engine("llama", lora=lora)
    linears = next(group for group in engine._linears if len(group.bases) == 3)
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    linears.bases[0].train()
    assert torch.equal(linears(x)[0], engine.model.model.layers[0].self_attn.q_proj.base_layer(x))
    engine.load_adapter(trained_adapter(engine.spec.model_dir, lora))
    linears.bases[0].eval()
    plain = linears(x)[0]
    linears.bases[0].train()
    torch.manual_seed(0)
    draws = torch.stack([linears(x)[0] for _ in range(800)])
    assert not torch.equal(draws[0], draws[1])
    torch.testing.assert_close(draws.mean(0), plain, atol=0.08, rtol=0)
    query, key, _ = linears(x)
    assert len({part.grad_fn for part in (query, key)}) == 2  # each layer drops inputs of its own
    linears.bases[0].eval()


def test_gradients_with_dropout_are_those_of_autograd_for_the_same_draws(make_engine: MakeEngine) -> None:
    lora = dataclasses.replace(LORA, dropout=0.3, target_modules=("o_proj",))
    engine = make_engine("llama", lora=lora)
    engine.load_adapter(trained_adapter(engine.spec.model_dir, lora))
    linears = next(group for group in engine._linears if group.stacked_a is not None)
    linears.bases[0].train()
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    part, base = linears.low[0], linears.bases[0]
    assert part is not None
    torch.manual_seed(3)
    ours = linears(x)[0]
    torch.manual_seed(3)
    kept = torch.native_dropout(x, 0.3, True)[0]
    plain = base(x) + (kept @ part.a.t()) @ part.b.t() * lora.scale
    torch.testing.assert_close(ours, plain)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    wanted = [x, part.a, part.b]
    for one, other in zip(
        torch.autograd.grad(ours, wanted, upstream), torch.autograd.grad(plain, wanted, upstream), strict=True
    ):
        torch.testing.assert_close(one, other)
    linears.bases[0].eval()
