"""A local Hugging Face model directory as an mlx-lm model, quantized as asked.

mlx-lm reads rotary settings from the top level of `config.json` and silently falls back to defaults, so every
setting it could miss is written there from `common.model.architecture` first, and what its models cannot express is
refused. Nothing is downloaded and no code from a model directory is run. Knows no adapters.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models import gemma, llama, phi, qwen2, qwen3
from mlx_lm.utils import load_model as load_mlx_lm

from common.engine import EngineSpec
from common.engine_base.sizes import group_size
from common.errors import ModelError
from common.generation.shared import Beginning
from common.model.architecture import ModelShape, read_shape

log = logging.getLogger(__name__)

MODULES = {"llama": llama, "mistral": llama, "qwen2": qwen2, "qwen3": qwen3, "phi": phi, "gemma": gemma}
ROPE_TYPES = dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), ("linear", "llama3", "yarn"))
ACTIVATIONS = {"phi": ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"), "gemma": ("gelu", "gelu_pytorch_tanh")}
BITS = {"4bit": 4, "8bit": 8}


def load_model(spec: EngineSpec, dtype: mx.Dtype) -> tuple[nn.Module, ModelShape]:
    """The frozen base model, its linear layers quantized as `spec.quantize` says, and its shape.

    `dtype` is that of everything that is not quantized. A model that is already quantized by MLX is taken as it is,
    in its own dtype unless `spec.dtype` names one. Raises ModelError when the directory is missing, damaged or holds
    a model that is not supported.
    """
    shape = read_shape(spec.model_dir)
    config = json.loads((spec.model_dir / "config.json").read_text(encoding="utf-8"))
    check_supported(config, shape, spec.model_dir)
    model = _load_weights(spec.model_dir, mlx_settings(config, shape))
    if shape.model_type == "gemma":
        _use_tanh_gelu(model)
    model.freeze()
    quantized = bool(config.get("quantization"))
    if not quantized or spec.dtype != "auto":
        model.set_dtype(dtype)
    if quantized:
        log.info("%s is already quantized and taken as it is", spec.model_dir)
    elif spec.quantize != "none":
        quantize_linears(model, shape, BITS[spec.quantize])
    for layer in model.model.layers:  # one at a time, so that only one layer exists in two forms at once
        mx.eval(layer.parameters())
    mx.eval(model.parameters())
    return model, shape


def mlx_settings(config: dict[str, Any], shape: ModelShape) -> dict[str, Any]:
    """The settings mlx-lm's models read, at the top level where they look for them."""
    return {
        "rope_theta": shape.rope_theta,
        "partial_rotary_factor": shape.partial_rotary_factor,
        "rope_scaling": _rope_scaling(shape),
        "rope_parameters": None,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context_tokens,
        "tie_word_embeddings": shape.tied_embeddings,
        "rms_norm_eps": config.get("rms_norm_eps", 1e-6),
        "layer_types": None,
        "sliding_window": None,
    }


def _rope_scaling(shape: ModelShape) -> dict[str, Any] | None:
    if shape.rope_scaling is None:
        return None
    return {"original_max_position_embeddings": shape.context_tokens, **shape.rope_scaling}


def check_supported(config: dict[str, Any], shape: ModelShape, where: Path) -> None:
    """Raise ModelError for settings that mlx-lm's model of this type would silently ignore."""
    kind = shape.model_type
    problems = []
    if shape.rope_scaling is not None:
        rope_type = shape.rope_scaling.get("rope_type", shape.rope_scaling.get("type"))
        allowed = ROPE_TYPES.get(kind, ())
        if rope_type not in allowed:
            problems.append(f"rotary scaling {rope_type!r} (allowed: {', '.join(('default', *allowed))})")
        if rope_type == "yarn" and shape.rope_scaling.get("attention_factor") is not None:
            problems.append("yarn's attention_factor (allowed: none)")
        if rope_type == "yarn" and shape.rope_scaling.get("truncate") is False:
            problems.append("yarn's truncate false (allowed: true)")
    activation = config.get("hidden_act")
    activations = ACTIVATIONS.get(kind, ("silu",))
    if activation is not None and activation not in activations:
        problems.append(f"hidden_act {activation!r} (allowed: {', '.join(activations)})")
    if kind in ("qwen2", "phi") and shape.head_dim * shape.heads != shape.hidden_size:
        problems.append(f"head_dim {shape.head_dim} (allowed: hidden_size / num_attention_heads)")
    if kind == "phi" and config.get("qk_layernorm"):
        problems.append("qk_layernorm (allowed: false)")
    if kind == "qwen3" and shape.attention_bias:
        problems.append("attention_bias (allowed: false)")
    if kind == "gemma" and not shape.tied_embeddings:
        problems.append("tie_word_embeddings false (allowed: true)")
    foreign = (config.get("quantization_config") or {}).get("quant_method")
    if foreign and not config.get("quantization"):
        problems.append(f"weights quantized by {foreign} (allowed: unquantized, or quantized by MLX)")
    if problems:
        raise ModelError(
            f"{where / 'config.json'}: the mlx engine does not support a {kind} model with {'; '.join(problems)}. "
            "Choose another model, or the cuda engine (--engine cuda)"
        )


def _load_weights(directory: Path, settings: dict[str, Any]) -> nn.Module:
    def classes(config: dict[str, Any]) -> tuple[type[nn.Module], type]:
        module = MODULES[config["model_type"]]
        return module.Model, module.ModelArgs

    try:
        model, _ = load_mlx_lm(directory, lazy=True, model_config=settings, get_model_classes=classes)
    except FileNotFoundError:
        raise ModelError(
            f"{directory} holds no model*.safetensors; only safetensors weights are read (never pickles)"
        ) from None
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise ModelError(f"{directory}: the weights cannot be read ({str(error).splitlines()[0]})") from None
    return model


class TanhGeluMLP(nn.Module):
    """Gemma's feed-forward layer with the tanh approximation of GELU, which is what Gemma was trained with.

    mlx-lm's own uses the exact GELU, as old Gemma config files say by mistake.
    """

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = mlp.gate_proj, mlp.up_proj, mlp.down_proj

    def __call__(self, x: mx.array) -> mx.array:
        return self.down_proj(nn.gelu_approx(self.gate_proj(x)) * self.up_proj(x))


def _use_tanh_gelu(model: nn.Module) -> None:
    for layer in model.model.layers:
        layer.mlp = TanhGeluMLP(layer.mlp)


def quantize_linears(model: nn.Module, shape: ModelShape, bits: int) -> list[str]:
    """Quantize the transformer's linear layers (affine, groups of 64); embeddings and head keep their dtype.

    A layer whose input width is not a multiple of 64 gets groups of 32; one that is not a multiple of 32 either
    stays as it is, is named in a warning and returned.
    """
    groups = {linear.path: group_size(linear.in_features) for linear in shape.linears()}
    left = [path for path, group in groups.items() if group == 0]

    def choose(path: str, module: nn.Module) -> bool | dict[str, int]:
        group = groups.get(path, 0)
        return {"group_size": group, "bits": bits} if group else False

    nn.quantize(model, bits=bits, class_predicate=choose)
    if left:
        log.warning(
            "%d layers stay unquantized: %s (and others like it) has an input width that is not a multiple of 32",
            len(left),
            left[0],
        )
    return left


def final_norm(model: nn.Module) -> Any:
    """The norm before the output head."""
    trunk = model.model
    return trunk.final_layernorm if "final_layernorm" in trunk else trunk.norm


def floating_dtype(model: nn.Module) -> mx.Dtype:
    """The dtype activations have: that of the final norm."""
    dtype: mx.Dtype = final_norm(model).weight.dtype
    return dtype


def head_of(model: nn.Module) -> Callable[[mx.array], mx.array]:
    """The output head as a function (..., H) -> (..., V): own weights (with bias on Phi) or the embedding's, tied."""
    if "lm_head" in model:
        head: Callable[[mx.array], mx.array] = model.lm_head
        return head
    tied: Callable[[mx.array], mx.array] = model.model.embed_tokens.as_linear
    return tied


class _Recomputed:
    """Mixed into a layer's class: in training, activations inside the layer are recomputed for its backward pass."""

    training: bool

    def __call__(
        self, x: mx.array, mask: mx.array | str | None = None, cache: Beginning | object | None = None
    ) -> mx.array:
        layer = super().__call__  # type: ignore[misc]
        if not self.training or not (cache is None or isinstance(cache, Beginning)):
            result: mx.array = layer(x, mask, cache)
            return result
        return recompute(self, lambda x: layer(x, mask, cache), x)


def recompute(layer: Any, function: Callable[[mx.array], mx.array], x: mx.array) -> mx.array:
    """function(x), of which only x is kept for the backward pass. The layer's trainable weights are inputs as well:
    only so do gradients reach them.

    The layer runs again when the gradient of its output is there; `mx.checkpoint` (MLX 0.32) lets it run as soon as
    the forward pass is over, which keeps several layers at once.
    """
    trainable = dict(tree_flatten(layer.trainable_parameters()))

    def run(x: mx.array, *weights: mx.array) -> mx.array:
        layer.update(tree_unflatten(list(zip(trainable, weights, strict=True))))
        return function(x)

    def backward(primals: list[mx.array], cotangent: mx.array, output: mx.array) -> tuple[mx.array, ...]:
        _, gradients = mx.vjp(run, mx.depends(list(primals), [cotangent]), [cotangent])
        return tuple(gradients)

    again: Any = mx.custom_function(run)
    again.vjp(backward)
    out: mx.array = again(x, *trainable.values())
    return out


def is_recomputed(layer: nn.Module) -> bool:
    """Whether a layer's activations are to be recomputed now: switched on, and in training."""
    return isinstance(layer, _Recomputed) and layer.training


def recompute_layers(model: nn.Module) -> None:
    """Switch gradient checkpointing on for every transformer layer of this model (and of no other)."""
    for layer in model.model.layers:
        base = type(layer)
        layer.__class__ = type(f"Recomputed{base.__name__}", (_Recomputed, base), {})
