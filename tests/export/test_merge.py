"""Base plus adapter, against PEFT's own merge and against MLX's own dequantization."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.engine import LoraSpec
from common.errors import AdapterError, ModelError
from common.export.merge import BaseQuantization, MergedWeights, run_quantization
from common.export.trained_values import nf4
from common.model.adapter import StoredAdapter, read_adapter, write_adapter
from common.model.architecture import read_shape
from tests.export.conftest import adapter_with_effect
from tests.tiny_models import build_tiny_model

PLAIN = BaseQuantization()


def _with_adapter(directory: Path, architecture: str, lora: LoraSpec) -> tuple[Path, StoredAdapter]:
    base = build_tiny_model(directory / "base", architecture)
    write_adapter(directory / "adapter", adapter_with_effect(base, lora, 0.1), lora, str(base))
    return base, read_adapter(directory / "adapter")


@pytest.mark.parametrize("architecture", ["qwen2", "phi", "gemma"])
@pytest.mark.parametrize(
    "lora", [LoraSpec(rank=4, alpha=8.0), LoraSpec(rank=2, alpha=3.0, layers=1, rank_stabilised=True)]
)
def test_merged_weights_are_those_peft_makes(tmp_path: Path, architecture: str, lora: LoraSpec) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    base, adapter = _with_adapter(tmp_path, architecture, lora)
    weights = MergedWeights(base, read_shape(base), adapter, PLAIN)
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    expected = {name: value.numpy() for name, value in model.merge_and_unload().state_dict().items()}
    untouched = MergedWeights(base, read_shape(base), None, PLAIN)
    changed = 0
    for name in weights.names:
        np.testing.assert_allclose(weights.float32(name), expected[name], rtol=1e-5, atol=1e-6)
        assert weights.shape_of(name) == expected[name].shape
        changed += not np.array_equal(weights.float32(name), untouched.float32(name))
    assert changed == len(adapter.weights) // 2
    assert set(expected) - set(weights.names) <= {"lm_head.weight"}  # left out where it is the embedding


def test_a_quantized_base_counts_with_its_trained_values(tmp_path: Path) -> None:
    base, adapter = _with_adapter(tmp_path, "llama", LoraSpec(rank=4, alpha=8.0))
    shape, name = read_shape(base), "model.layers.0.mlp.up_proj.weight"
    plain = MergedWeights(base, shape, None, PLAIN)
    trained = MergedWeights(base, shape, None, run_quantization("cuda", "4bit", "float32"))
    assert not np.array_equal(plain.float32(name), trained.float32(name))
    np.testing.assert_array_equal(trained.float32(name), nf4(plain.float32(name)))
    np.testing.assert_array_equal(trained.float32("lm_head.weight"), plain.float32("lm_head.weight"))
    merged = MergedWeights(base, shape, adapter, trained.quantization)
    added = MergedWeights(base, shape, adapter, PLAIN).float32(name) - plain.float32(name)
    np.testing.assert_allclose(merged.float32(name) - trained.float32(name), added, atol=1e-6)


def test_run_quantization_follows_engine_setting_and_compute_type() -> None:
    assert run_quantization("cuda", "none", "bfloat16") == BaseQuantization("none", dtype="BF16")
    assert run_quantization("cuda", "4bit", "float16") == BaseQuantization("nf4", dtype="F16")
    assert run_quantization("cuda", "8bit", "float32").kind == "int8"
    assert run_quantization("mlx", "8bit", "bfloat16") == BaseQuantization("mlx", 8, "BF16")


def test_a_base_quantized_by_mlx_is_dequantized(tmp_path: Path) -> None:
    mx = pytest.importorskip("mlx.core")
    from safetensors.numpy import load_file

    base, adapter = _with_adapter(tmp_path, "qwen2", LoraSpec(rank=4, alpha=8.0))
    shape = read_shape(base)
    original = load_file(base / "model.safetensors")
    packed: dict[str, object] = {}
    for name, value in original.items():
        if name.removesuffix(".weight") in {linear.path for linear in shape.linears()}:
            parts = mx.quantize(mx.array(value).astype(mx.bfloat16), 32, 8)
            packed |= dict(zip((name, name[:-6] + "scales", name[:-6] + "biases"), parts, strict=True))
        else:
            packed[name] = mx.array(value)
    mx.save_safetensors(str(base / "model.safetensors"), packed)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"quantization": {"bits": 8, "group_size": 32}}))
    weights = MergedWeights(base, shape, None, PLAIN)
    assert set(weights.names) == set(original)
    for name, value in original.items():
        assert weights.shape_of(name) == value.shape
        np.testing.assert_allclose(weights.float32(name), value, atol=0.02)
    name = "model.layers.1.self_attn.q_proj.weight"
    assert weights.stored_type(name) == "BF16"
    assert not np.array_equal(weights.float32(name), original[name])
    delta = MergedWeights(base, shape, adapter, PLAIN).float32(name) - weights.float32(name)
    a, b = (adapter.weights[f"base_model.model.{name[:-7]}.lora_{leaf}.weight"] for leaf in "AB")
    np.testing.assert_allclose(delta, adapter.lora.scale * b @ a, atol=1e-6)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    _, adapter = _with_adapter(tmp_path / "one", "qwen2", LoraSpec(rank=4))
    other = build_tiny_model(tmp_path / "other", "phi")
    with pytest.raises(AdapterError, match="do not exist in a phi model"):
        MergedWeights(other, read_shape(other), adapter, PLAIN)


def test_weights_quantized_by_other_tools_and_incomplete_ones_are_refused(tmp_path: Path) -> None:
    base = build_tiny_model(tmp_path / "base", "llama")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(ModelError, match="quantized by gptq cannot be merged; train on the unquantized model"):
        MergedWeights(base, read_shape(base), None, PLAIN)
    larger = json.dumps(config | {"num_hidden_layers": 3})
    (base / "config.json").write_text(larger)
    with pytest.raises(ModelError, match=r"7 weights are missing, among them model.layers.2"):
        MergedWeights(base, read_shape(base), None, PLAIN)
