"""The shape of a language model, read from its `config.json`: what there is to adapt, quantize, count and fit.

Knows module paths as Hugging Face transformers names them (mlx-lm uses the same below `model.layers`). Knows no
weights and loads nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import ModelError

SUPPORTED_ARCHITECTURES = ("llama", "qwen2", "qwen3", "phi", "mistral", "gemma")

# What these families' settings mean where they say nothing.
HEAD_DIMS = {"gemma": 256, "qwen3": 128}
SLIDING_WINDOWS = {"mistral": 4096}


@dataclass(frozen=True)
class Linear:
    """A linear layer: weight (out_features, in_features), with or without a bias."""

    path: str
    out_features: int
    in_features: int
    bias: bool

    @property
    def leaf(self) -> str:
        return self.path.rsplit(".", 1)[-1]

    @property
    def parameters(self) -> int:
        return self.out_features * self.in_features + (self.out_features if self.bias else 0)


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder-only transformer. `context_tokens` is the longest input it was made for."""

    model_type: str
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    context_tokens: int
    tied_embeddings: bool
    attention_bias: bool
    rope_theta: float
    partial_rotary_factor: float
    rope_scaling: dict[str, Any] | None = None
    sliding_window: int | None = None

    @property
    def gated_mlp(self) -> bool:
        return self.model_type != "phi"

    @property
    def head_bias(self) -> bool:
        return self.model_type == "phi"

    def layer_linears(self, layer: int) -> list[Linear]:
        """The linear layers of one transformer layer, in the order of the forward pass."""
        h, q, kv = self.hidden_size, self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention, mlp = f"model.layers.{layer}.self_attn", f"model.layers.{layer}.mlp"
        qkv_bias = self.attention_bias or self.model_type in ("qwen2", "phi")
        output_name = "dense" if self.model_type == "phi" else "o_proj"
        output_bias = self.model_type == "phi" or (self.attention_bias and self.model_type != "qwen2")
        linears = [
            Linear(f"{attention}.q_proj", q, h, qkv_bias),
            Linear(f"{attention}.k_proj", kv, h, qkv_bias),
            Linear(f"{attention}.v_proj", kv, h, qkv_bias),
            Linear(f"{attention}.{output_name}", h, q, output_bias),
        ]
        if self.gated_mlp:
            linears += [
                Linear(f"{mlp}.gate_proj", self.intermediate_size, h, False),
                Linear(f"{mlp}.up_proj", self.intermediate_size, h, False),
                Linear(f"{mlp}.down_proj", h, self.intermediate_size, False),
            ]
        else:
            linears += [
                Linear(f"{mlp}.fc1", self.intermediate_size, h, True),
                Linear(f"{mlp}.fc2", h, self.intermediate_size, True),
            ]
        return linears

    def linears(self) -> list[Linear]:
        """Every linear layer of the transformer (not the output head), first layer first."""
        return [linear for layer in range(self.layers) for linear in self.layer_linears(layer)]

    @property
    def norm_parameters(self) -> int:
        if self.model_type == "phi":  # one LayerNorm (weight, bias) a layer and a final one
            return 2 * self.hidden_size * (self.layers + 1)
        per_layer = 2 * self.hidden_size + (2 * self.head_dim if self.model_type == "qwen3" else 0)
        return per_layer * self.layers + self.hidden_size

    @property
    def embedding_parameters(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def head_parameters(self) -> int:
        """Parameters of the output head that are not the embedding's own (0 where tied)."""
        weight = 0 if self.tied_embeddings else self.embedding_parameters
        return weight + (self.vocab_size if self.head_bias else 0)

    @property
    def parameters(self) -> int:
        linears = sum(linear.parameters for linear in self.linears())
        return linears + self.norm_parameters + self.embedding_parameters + self.head_parameters


def read_shape(model_dir: Path) -> ModelShape:
    """Shape of the model in a local directory. Raises ModelError when its config is missing or unsupported."""
    path = model_dir / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: {model_dir} is not a model directory") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} must hold a JSON object, not {type(config).__name__}")
    return shape_from_config(config, str(path))


def shape_from_config(config: dict[str, Any], where: str = "config.json") -> ModelShape:
    """Shape from a parsed `config.json` (old top-level or new `rope_parameters` spelling of the rotary settings)."""
    model_type = config.get("model_type")
    if model_type not in SUPPORTED_ARCHITECTURES:
        raise ModelError(
            f"{where}: model_type {model_type!r} is not supported by both engines; "
            f"supported are {', '.join(SUPPORTED_ARCHITECTURES)}"
        )
    try:
        heads = int(config["num_attention_heads"])
        hidden = int(config["hidden_size"])
        rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
        rope_type = rope.get("rope_type", rope.get("type", "default"))
        return ModelShape(
            model_type=str(model_type),
            layers=int(config["num_hidden_layers"]),
            hidden_size=hidden,
            intermediate_size=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or HEAD_DIMS.get(str(model_type), hidden // heads)),
            vocab_size=int(config["vocab_size"]),
            context_tokens=int(config.get("max_position_embeddings") or 2048),
            tied_embeddings=bool(config.get("tie_word_embeddings", model_type == "gemma")),
            attention_bias=bool(config.get("attention_bias", False)),
            rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
            partial_rotary_factor=float(
                rope.get("partial_rotary_factor")
                or config.get("partial_rotary_factor")
                or (0.5 if model_type == "phi" else 1.0)
            ),
            rope_scaling=rope if rope_type != "default" else None,
            sliding_window=(
                config.get("sliding_window", SLIDING_WINDOWS.get(str(model_type)))
                if config.get("use_sliding_window", True)
                else None
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{where}: {error!r} while reading the model's sizes") from None
