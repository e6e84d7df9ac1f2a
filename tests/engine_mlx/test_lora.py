"""LoRA layers on MLX: dtypes, dropout, and where they sit."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from common.engine import EngineSpec, LoraSpec
from common.model.adapter import adapted_linears
from mlx_sum.engine import build
from mlx_sum.lora import LoraLinear
from tests.contract.cases import LORA, ModelDir, exact_spec, random_adapter, random_examples, step_batches


def layer(dropout: float = 0.0, dtype: mx.Dtype = mx.float32) -> LoraLinear:
    mx.random.seed(0)
    base = nn.Linear(32, 16)
    base.set_dtype(dtype)
    lora = LoraLinear(base, scale=1.5, dropout=dropout)
    lora.lora_a, lora.lora_b = mx.random.normal((4, 32)), mx.random.normal((16, 4))
    return lora


def test_the_output_is_base_plus_scaled_product() -> None:
    lora = layer()
    x = mx.random.normal((3, 32))
    expected = lora.base(x) + 1.5 * (x @ (lora.lora_b @ lora.lora_a).T)
    assert mx.abs(lora(x) - expected).max().item() < 1e-4
    lora.active = False
    assert mx.array_equal(lora(x), lora.base(x)).item()


def test_sixteen_bit_activations_are_never_copied_to_float32() -> None:
    """The trap: float32 matrices times bfloat16 activations would promote every activation to float32."""
    lora = layer(dtype=mx.bfloat16)
    x = mx.random.normal((64, 32)).astype(mx.bfloat16)
    assert lora(x).dtype == mx.bfloat16
    assert (x @ lora.lora_a.T).dtype == mx.float32, "which is what plain multiplication does"

    def objective(a: mx.array) -> mx.array:
        lora.lora_a = a
        return lora(x).astype(mx.float32).sum()

    assert mx.grad(objective)(lora.lora_a).dtype == mx.float32


def test_adapter_weights_and_gradients_are_float32_on_a_bfloat16_base(tiny_model: ModelDir) -> None:
    engine = build(EngineSpec(tiny_model("qwen2"), dtype="bfloat16", lora=LORA))
    engine.step(step_batches(random_examples()), 1e-3)
    assert all(value.dtype == mx.float32 for value in engine._weights.values())
    assert all(value.dtype == np.float32 for value in engine.gradients(step_batches(random_examples())).values())


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    lora = layer(dropout=0.25)
    lora.lora_a, lora.lora_b = mx.eye(4, 32), mx.eye(16, 4)
    lora.base = nn.Linear(32, 16, bias=False)
    lora.base.weight = mx.zeros((16, 32))
    x = mx.ones((20000, 32))
    lora._dropout_key = mx.random.key(1)
    added = np.array(lora(x))[:, :4] / 1.5
    assert set(np.unique(added.round(5))) == {0.0, np.float32(1.33333)}  # 1 / (1 - 0.25)
    assert (added == 0).mean() == pytest.approx(0.25, abs=0.01)  # 80,000 draws, standard error 0.0015


def test_layers_drop_different_inputs_and_every_step_again_others(tiny_model: ModelDir) -> None:
    engine = build(exact_spec(tiny_model("qwen2"), lora=LoraSpec(rank=4, dropout=0.5)))
    engine.load_adapter(random_adapter(engine))
    batches = step_batches(random_examples())
    losses = {engine.step(batches, 0.0).loss_sum for _ in range(4)}
    assert len(losses) == 4
    assert engine._adapter is not None
    with engine._adapter.dropout(mx.random.key(0)):
        keys = {tuple(np.array(layer._dropout_key).tolist()) for layer in engine._adapter.layers.values()}
    assert len(keys) == len(engine._adapter.layers)


def test_only_the_named_layers_are_trainable(tiny_model: ModelDir) -> None:
    lora = LoraSpec(rank=4, target_modules=("v_proj",), layers=1)
    engine = build(exact_spec(tiny_model("llama"), lora=lora))
    trainable = [name for name, _ in tree_flatten(engine.model.trainable_parameters())]
    paths = [linear.path for linear in adapted_linears(engine.shape, lora)]
    assert paths == ["model.layers.1.self_attn.v_proj"]
    assert sorted(trainable) == [f"{paths[0]}.lora_a", f"{paths[0]}.lora_b"]
