"""LoRA adapters on disk and as numbers: PEFT's layout, names, shapes, and the values training starts from.

Both engines take names, shapes and initial values from here, which is why an adapter trained on either loads in
the other and in plain PEFT. Knows nothing of arrays on a device.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.architecture import Linear, ModelShape
from common.engine import LoraSpec
from common.errors import AdapterError

PREFIX = "base_model.model."
CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"


def lora_a_name(path: str) -> str:
    """PEFT's name of the (rank, in) matrix of the linear layer at `path`."""
    return f"{PREFIX}{path}.lora_A.weight"


def lora_b_name(path: str) -> str:
    """PEFT's name of the (out, rank) matrix of the linear layer at `path`."""
    return f"{PREFIX}{path}.lora_B.weight"


def adapted_linears(shape: ModelShape, lora: LoraSpec) -> list[Linear]:
    """The linear layers that get an adapter, in model order.

    Raises AdapterError for a target that no layer has, and for `lm_head` or embeddings (tied in these models;
    an adapter there would not survive export).
    """
    wanted = lora.target_modules
    available = {linear.leaf for linear in shape.layer_linears(0)}
    if wanted != "all-linear":
        refused = [name for name in wanted if name in ("lm_head", "embed_tokens")]
        if refused:
            raise AdapterError(f"target module {refused[0]!r} is refused: the output head and embeddings stay frozen")
        unknown = [name for name in wanted if name not in available]
        if unknown or not wanted:
            raise AdapterError(
                f"target modules {', '.join(unknown) or '(none)'} do not exist in a {shape.model_type} model; "
                f"choose from {', '.join(sorted(available))}, or all-linear"
            )
    if lora.layers > shape.layers:
        raise AdapterError(f"adapters on {lora.layers} layers asked for; the model has {shape.layers}")
    first = shape.layers - lora.layers if lora.layers else 0
    return [
        linear
        for layer in range(first, shape.layers)
        for linear in shape.layer_linears(layer)
        if wanted == "all-linear" or linear.leaf in wanted
    ]


def count_trainable(shape: ModelShape, lora: LoraSpec) -> int:
    """Exact number of trainable parameters: rank * (in + out) for each adapted layer."""
    return sum(lora.rank * (linear.in_features + linear.out_features) for linear in adapted_linears(shape, lora))


def initial_adapter(shape: ModelShape, lora: LoraSpec) -> dict[str, np.ndarray]:
    """Starting values by PEFT name, float32: A uniform in +-1/sqrt(in) (Kaiming with a = sqrt 5, PEFT's default), B 0.

    Each matrix has its own random stream, seeded by (seed, position), so that values do not depend on the order
    in which an engine asks for them.
    """
    weights: dict[str, np.ndarray] = {}
    for position, linear in enumerate(adapted_linears(shape, lora)):
        bound = 1.0 / math.sqrt(linear.in_features)
        generator = np.random.Generator(np.random.PCG64([lora.seed, position]))
        matrix = generator.uniform(-bound, bound, size=(lora.rank, linear.in_features))
        weights[lora_a_name(linear.path)] = matrix.astype(np.float32)
        weights[lora_b_name(linear.path)] = np.zeros((linear.out_features, lora.rank), np.float32)
    return weights


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter as read from disk: weights by PEFT name and the settings they were trained with."""

    weights: dict[str, np.ndarray]
    lora: LoraSpec
    base_model: str


def write_adapter(directory: Path, weights: Mapping[str, np.ndarray], lora: LoraSpec, base_model: str) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` as PEFT reads them. Creates the directory."""
    from safetensors.numpy import save_file

    directory.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_rslora": lora.rank_stabilised,
        "target_modules": _stored_targets(weights, lora),
        "layers_to_transform": _stored_layers(weights) if lora.layers else None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
    }
    (directory / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in sorted(weights.items())}
    save_file(tensors, str(directory / WEIGHTS_NAME), metadata={"format": "pt"})


def _stored_targets(weights: Mapping[str, np.ndarray], lora: LoraSpec) -> list[str]:
    if lora.target_modules != "all-linear":
        return sorted(lora.target_modules)
    return sorted({name.split(".")[-3] for name in weights})


def _stored_layers(weights: Mapping[str, np.ndarray]) -> list[int]:
    return sorted({int(name.split(".layers.")[1].split(".")[0]) for name in weights})


def read_adapter(directory: Path) -> StoredAdapter:
    """Read a PEFT LoRA directory, safetensors only.

    Raises AdapterError when a file is missing, damaged, not LoRA, or uses a PEFT feature sumkit does not have.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    config_path, weights_path = directory / CONFIG_NAME, directory / WEIGHTS_NAME
    for path in (config_path, weights_path):
        if not path.is_file():
            raise AdapterError(f"{path} is missing; an adapter directory holds {CONFIG_NAME} and {WEIGHTS_NAME}")
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        weights = load_file(str(weights_path))
        lora = _spec_from_config(config)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
        raise AdapterError(f"{directory}: the adapter cannot be read ({error})") from None
    unknown = [name for name in weights if not name.startswith(PREFIX) or ".lora_" not in name]
    if unknown:
        raise AdapterError(f"{weights_path}: {unknown[0]!r} is not a LoRA matrix")
    floats = {name: value.astype(np.float32) for name, value in weights.items()}
    return StoredAdapter(floats, lora, str(config.get("base_model_name_or_path") or ""))


def _spec_from_config(config: dict[str, Any]) -> LoraSpec:
    if config.get("peft_type") != "LORA":
        raise ValueError(f"peft_type is {config.get('peft_type')!r}, only LORA is supported")
    for feature in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias"):
        if config.get(feature):
            raise ValueError(f"it uses {feature}, which is not supported")
    targets = config["target_modules"]
    layers = config.get("layers_to_transform")
    return LoraSpec(
        rank=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        dropout=float(config.get("lora_dropout") or 0.0),
        target_modules="all-linear" if isinstance(targets, str) else tuple(sorted(targets)),
        layers=len(layers) if layers else 0,
        rank_stabilised=bool(config.get("use_rslora", False)),
    )


def check_adapter(weights: Mapping[str, np.ndarray], shape: ModelShape, lora: LoraSpec) -> None:
    """Raise AdapterError unless `weights` has exactly the matrices that `lora` makes on a model of this shape."""
    expected: dict[str, tuple[int, int]] = {}
    for linear in adapted_linears(shape, lora):
        expected[lora_a_name(linear.path)] = (lora.rank, linear.in_features)
        expected[lora_b_name(linear.path)] = (linear.out_features, lora.rank)
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or extra:
        detail = f"missing {missing[0]}" if missing else f"unexpected {extra[0]}"
        raise AdapterError(
            f"the adapter does not fit this base model: {len(missing)} matrices missing, {len(extra)} unexpected "
            f"({detail}); was it trained on another model?"
        )
    for name, wanted in expected.items():
        if tuple(weights[name].shape) != wanted:
            raise AdapterError(
                f"the adapter does not fit this base model: {name} has shape {tuple(weights[name].shape)}, "
                f"the base needs {wanted}"
            )
        if not np.isfinite(weights[name]).all():
            raise AdapterError(f"the adapter holds NaN or infinite values in {name}")
