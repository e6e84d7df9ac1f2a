"""What is loaded from a model directory, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx_lm.utils
import numpy as np
import pytest
from mlx.utils import tree_flatten

from common.engine import EngineSpec
from common.errors import EngineError, ModelError
from common.model.architecture import read_shape
from mlx_sum.engine import build
from mlx_sum.model import head_of, load_model, mlx_settings
from tests.contract.cases import ModelDir, exact_spec, random_adapter, random_examples, step_batches
from tests.tiny_models import ARCHITECTURES, PHI_ROTARY_FACTOR, ROPE_THETA

TOKENS = np.random.default_rng(0).integers(0, 384, (2, 30))

YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32, "rope_theta": 1e4}


def changed_copy(source: Path, target: Path, **changes: Any) -> Path:
    """The model in `source` with other settings in its config.json; None removes a setting."""
    shutil.copytree(source, target)
    path = target / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}), encoding="utf-8")
    return target


def logits_of(directory: Path, **changes: Any) -> np.ndarray:
    return build(exact_spec(directory, lora=None, **changes)).logits(TOKENS)


def modules_of(directory: Path, quantize: str) -> dict[str, nn.Module]:
    model, _ = load_model(exact_spec(directory, quantize=quantize), mx.float32)
    return dict(model.named_modules())


@pytest.mark.parametrize("architecture", ["llama", "phi"])
def test_old_and_new_spellings_of_rotary_settings_are_the_same_model(
    tiny_model: ModelDir, tmp_path: Path, architecture: str
) -> None:
    directory = tiny_model(architecture)
    assert "rope_theta" not in json.loads((directory / "config.json").read_text(encoding="utf-8"))
    factor = PHI_ROTARY_FACTOR if architecture == "phi" else 1.0
    old = changed_copy(
        directory, tmp_path / "old", rope_parameters=None, rope_theta=ROPE_THETA, partial_rotary_factor=factor
    )
    lost = changed_copy(directory, tmp_path / "lost", rope_parameters=None)
    assert np.array_equal(logits_of(directory), logits_of(old))
    assert np.abs(logits_of(directory) - logits_of(lost)).max() > 0.01, "the settings must matter"


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "phi", "gemma"])
def test_mlx_lm_alone_would_compute_another_model(tiny_model: ModelDir, architecture: str) -> None:
    """The trap: its models read rotary settings at the top level only (and Gemma's has the exact GELU)."""
    directory = tiny_model(architecture)
    as_is, _ = mlx_lm.utils.load_model(directory)
    assert np.abs(np.array(as_is(mx.array(TOKENS))) - logits_of(directory)).max() > 0.01
    settings = mlx_settings(json.loads((directory / "config.json").read_text()), read_shape(directory))
    normalised, _ = mlx_lm.utils.load_model(directory, model_config=settings)
    if architecture != "gemma":
        assert np.array_equal(np.array(normalised(mx.array(TOKENS))), logits_of(directory))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("quantize", "bits"), [("4bit", 4), ("8bit", 8)])
def test_exactly_the_linear_layers_of_the_transformer_are_quantized(
    tiny_model: ModelDir, architecture: str, quantize: str, bits: int
) -> None:
    directory = tiny_model(architecture)
    modules = modules_of(directory, quantize)
    quantized = {path for path, module in modules.items() if isinstance(module, nn.QuantizedLinear)}
    assert quantized == {linear.path for linear in read_shape(directory).linears()}
    assert {(modules[path].bits, modules[path].group_size) for path in quantized} == {(bits, 64)}
    assert isinstance(modules["model.embed_tokens"], nn.Embedding)
    if "lm_head" in modules:
        assert isinstance(modules["lm_head"], nn.Linear)


def test_quantization_keeps_the_logits_near_and_more_bits_nearer(tiny_model: ModelDir) -> None:
    exact = logits_of(tiny_model("llama"))
    errors = [np.abs(logits_of(tiny_model("llama"), quantize=quantize) - exact).mean() for quantize in ("4bit", "8bit")]
    assert 0 < errors[1] < 0.25 * errors[0]


def test_widths_that_groups_of_64_do_not_fit_get_smaller_groups_or_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "llama", vocab_size=64, hidden_size=96, intermediate_size=80, num_hidden_layers=1, num_attention_heads=2
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with caplog.at_level("WARNING"):
        modules = modules_of(tmp_path, "4bit")
    assert modules["model.layers.0.self_attn.q_proj"].group_size == 32  # 96 inputs
    assert not isinstance(modules["model.layers.0.mlp.down_proj"], nn.QuantizedLinear)  # 80 inputs
    assert "model.layers.0.mlp.down_proj" in caplog.text


def test_everything_unquantized_has_the_compute_dtype(tiny_model: ModelDir) -> None:
    engine = build(EngineSpec(tiny_model("qwen2"), dtype="bfloat16"))
    dtypes = {value.dtype for _, value in tree_flatten(engine.model.parameters())}
    assert dtypes == {mx.bfloat16, mx.uint32}
    assert engine.device.compute_dtype == "bfloat16"


def test_a_model_quantized_by_mlx_is_taken_as_it_is(tiny_model: ModelDir, tmp_path: Path) -> None:
    from mlx_lm.utils import save_config, save_model

    source = tiny_model("llama")
    model, _ = load_model(exact_spec(source), mx.bfloat16)
    nn.quantize(model, group_size=32, bits=8)  # embeddings and head too, as mlx-lm converts
    save_model(tmp_path, model)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    save_config({**config, "quantization": {"group_size": 32, "bits": 8}}, tmp_path / "config.json")

    engine = build(EngineSpec(tmp_path, quantize="4bit", lora=exact_spec(source).lora))

    modules = dict(engine.model.named_modules())
    assert isinstance(modules["model.embed_tokens"], nn.QuantizedEmbedding)
    assert modules["model.layers.0.mlp.up_proj"].base.bits == 8
    assert engine.device.compute_dtype == "bfloat16"
    assert np.abs(engine.logits(TOKENS) - logits_of(source)).mean() < 0.1
    engine.load_adapter(random_adapter(engine))
    before = engine.evaluate(step_batches(random_examples())).loss
    for _ in range(3):
        engine.step(step_batches(random_examples()), 1e-2)
    assert engine.evaluate(step_batches(random_examples())).loss < before


def test_tied_heads_are_the_embedding_and_phi_has_a_bias(tiny_model: ModelDir) -> None:
    tied, _ = load_model(exact_spec(tiny_model("qwen2")), mx.float32)
    phi, _ = load_model(exact_spec(tiny_model("phi")), mx.float32)
    hidden = mx.random.normal((3, 64))
    assert mx.array_equal(head_of(tied)(hidden), hidden @ tied.model.embed_tokens.weight.T).item()
    unbiased = hidden @ phi.lm_head.weight.T
    assert mx.abs(head_of(phi)(hidden) - unbiased).max().item() > 0.1


@pytest.mark.parametrize(
    ("architecture", "changes", "named"),
    [
        ("llama", {"hidden_act": "gelu"}, "gelu"),
        ("phi", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "linear"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "dynamic"),
        ("llama", {"rope_parameters": {**YARN, "attention_factor": 1.5}}, "attention_factor"),
        ("llama", {"rope_parameters": {**YARN, "truncate": False}}, "truncate"),
        ("phi", {"qk_layernorm": True}, "qk_layernorm"),
        ("qwen3", {"attention_bias": True}, "attention_bias"),
        ("gemma", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("qwen2", {"head_dim": 32}, "head_dim"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        ("llama", {"model_type": "mamba"}, "mamba"),
        ("llama", {"model_file": "evil.py"}, "evil.py"),
    ],
)
def test_what_mlx_lm_would_silently_ignore_is_refused_by_name(
    tiny_model: ModelDir, tmp_path: Path, architecture: str, changes: dict[str, Any], named: str
) -> None:
    directory = changed_copy(tiny_model(architecture), tmp_path / "changed", **changes)
    with pytest.raises(ModelError, match=named):
        build(exact_spec(directory))


def test_missing_damaged_and_pickled_weights_are_refused(tiny_model: ModelDir, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        build(exact_spec(tmp_path / "nowhere"))
    damaged = changed_copy(tiny_model("llama"), tmp_path / "damaged")
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read"):
        build(exact_spec(damaged))
    weights.rename(damaged / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        build(exact_spec(damaged))


def test_weights_of_another_shape_are_refused(tiny_model: ModelDir, tmp_path: Path) -> None:
    for changes in ({"intermediate_size": 192}, {"num_hidden_layers": 3}, {"num_hidden_layers": 1}):
        directory = changed_copy(tiny_model("llama"), tmp_path / str(changes), **changes)
        with pytest.raises(ModelError, match="cannot be read"):
            build(exact_spec(directory))


def test_optimizers_of_the_other_engine_are_refused(tiny_model: ModelDir) -> None:
    from common.engine import OptimizerSpec

    with pytest.raises(EngineError, match="paged-adamw-8bit"):
        build(exact_spec(tiny_model("llama"), optimizer=OptimizerSpec(name="paged-adamw-8bit")))


def test_token_ids_beyond_the_vocabulary_are_refused_before_they_read_other_memory(tiny_model: ModelDir) -> None:
    engine = build(exact_spec(tiny_model("llama")))
    examples = random_examples(2)
    examples[0].tokens[3] = 384
    with pytest.raises(ModelError, match="384"):
        engine.step(step_batches(examples), 1e-3)
