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

from common.engine import LoraSpec
from common.errors import AdapterError
from common.files import disk_error
from common.model.architecture import Linear, ModelShape
from common.model.token_rows import EMBEDDING_ROWS, HEAD_ROWS, read_token_ids, stored_token_ids, token_row_shapes

PREFIX = "base_model.model."
CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
FLOAT_BYTES = {"F32": "<f4", "F16": "<f2", "BF16": "", "F64": "<f8"}
MOST_CONFIG_BYTES = 1 << 20
MOST_RANK = 1 << 16


def lora_a_name(path: str) -> str:
    """PEFT's name of the (rank, in) matrix of the linear layer at `path`."""
    return f"{PREFIX}{path}.lora_A.weight"


def lora_b_name(path: str) -> str:
    """PEFT's name of the (out, rank) matrix of the linear layer at `path`."""
    return f"{PREFIX}{path}.lora_B.weight"


def magnitude_name(path: str) -> str:
    """PEFT's name of the (out,) row lengths that DoRA trains for the linear layer at `path`."""
    return f"{PREFIX}{path}.lora_magnitude_vector"


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
        if "all-linear" in wanted:
            raise AdapterError("target module all-linear stands for all of them: give it alone, or names without it")
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
    """Exact number of trainable parameters: rank * (in + out) for each adapted layer, with DoRA out more, and the rows
    of added tokens.
    """
    rows = sum(count * size for count, size in token_row_shapes(shape, lora).values())
    return rows + sum(
        lora.rank * (linear.in_features + linear.out_features) + lora.dora * linear.out_features
        for linear in adapted_linears(shape, lora)
    )


def initial_adapter(shape: ModelShape, lora: LoraSpec) -> dict[str, np.ndarray]:
    """Starting values by PEFT name, float32: A uniform in +-1/sqrt(in) (Kaiming with a = sqrt 5, PEFT's default), B 0.

    Each matrix has its own random stream, seeded by (seed, position), so that values do not depend on the order
    in which an engine asks for them. DoRA's magnitudes and the rows of added tokens are not among them: they start
    from the base's weights, which only an engine has.
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
    """Write `adapter_config.json` and `adapter_model.safetensors` as PEFT reads them. Creates the directory.

    Raises OSError or CheckpointError when the disk refuses.
    """
    from safetensors import SafetensorError
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
        "use_dora": lora.dora,
        "target_modules": _stored_targets(weights, lora),
        "layers_to_transform": _stored_layers(weights) if lora.layers else None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
    }
    if lora.token_ids:
        config["trainable_token_indices"] = stored_token_ids(lora, weights)
    (directory / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in sorted(weights.items())}
    path = directory / WEIGHTS_NAME
    try:
        save_file(tensors, str(path), metadata={"format": "pt"})
    except SafetensorError as error:
        raise disk_error(path, error, sum(value.nbytes for value in tensors.values())) from None


def _stored_targets(weights: Mapping[str, np.ndarray], lora: LoraSpec) -> list[str]:
    if lora.target_modules != "all-linear":
        return sorted(lora.target_modules)
    return sorted({name.partition(".lora_")[0].rsplit(".", 1)[-1] for name in weights if ".lora_" in name})


def _stored_layers(weights: Mapping[str, np.ndarray]) -> list[int]:
    return sorted({int(name.split(".layers.")[1].split(".")[0]) for name in weights if ".layers." in name})


def read_adapter(directory: Path, shape: ModelShape | None = None) -> StoredAdapter:
    """Read a PEFT LoRA directory, safetensors only. Nothing in it is run, and nothing is read outside it.

    Names, shapes and dtypes are checked in the file's header before any tensor is read, against the settings beside
    it and, where `shape` is given, against the base model. Raises AdapterError when a file is missing, damaged, not
    LoRA, does not fit, or uses a PEFT feature sumkit does not have.
    """
    from safetensors import SafetensorError

    config_path, weights_path = directory / CONFIG_NAME, directory / WEIGHTS_NAME
    for path in (config_path, weights_path):
        if not path.is_file():
            raise AdapterError(f"{path} is missing; an adapter directory holds {CONFIG_NAME} and {WEIGHTS_NAME}")
    try:
        if config_path.stat().st_size > MOST_CONFIG_BYTES:
            raise ValueError(f"{CONFIG_NAME} is larger than {MOST_CONFIG_BYTES} bytes")
        config = json.loads(config_path.read_text(encoding="utf-8"))
        lora = _spec_from_config(config)
        check_shapes(_stored_shapes(weights_path, lora), shape, lora)
        weights = _read_weights(weights_path)
    except AdapterError as error:
        raise AdapterError(f"{weights_path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError, OverflowError, RecursionError) as error:
        raise AdapterError(f"{directory}: the adapter cannot be read ({_reason(error)})") from None
    except SafetensorError as error:
        raise AdapterError(f"{weights_path}: is damaged or no safetensors file ({error}); copy it again") from None
    return StoredAdapter(weights, lora, str(config.get("base_model_name_or_path") or ""))


def _reason(error: Exception) -> str:
    return f"{error.args[0]!r} is missing from {CONFIG_NAME}" if isinstance(error, KeyError) else str(error)


def _stored_shapes(path: Path, lora: LoraSpec) -> dict[str, tuple[int, ...]]:
    """Shape of every matrix, from the header alone. Raises AdapterError for what is no LoRA matrix of this rank."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    with safe_open(str(path), framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            part = file.get_slice(name)
            shapes[name] = tuple(part.get_shape())
            parts = (".lora_A.weight", ".lora_B.weight", *((".lora_magnitude_vector",) if lora.dora else ()))
            is_rows = bool(lora.token_ids) and name in (EMBEDDING_ROWS, HEAD_ROWS)
            if not is_rows and not (name.startswith(PREFIX) and name.endswith(parts)):
                raise AdapterError(f"{name!r} is not a LoRA matrix")
            if part.get_dtype() not in FLOAT_BYTES:
                raise AdapterError(f"{name} holds {part.get_dtype()}, allowed are {', '.join(FLOAT_BYTES)}")
            if is_rows:
                if len(shapes[name]) != 2 or shapes[name][0] != len(lora.token_ids):
                    raise AdapterError(f"{name} has shape {shapes[name]}, for {len(lora.token_ids)} added tokens")
                continue
            if name.endswith(".lora_magnitude_vector"):
                if len(shapes[name]) != 1:
                    raise AdapterError(f"{name} has shape {shapes[name]}, DoRA's row lengths are one row of numbers")
                continue
            side = 0 if name.endswith(".lora_A.weight") else 1
            if len(shapes[name]) != 2 or shapes[name][side] != lora.rank:
                raise AdapterError(f"{name} has shape {shapes[name]}, which does not go with rank {lora.rank}")
    return shapes


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    """All tensors as float32. Read by hand where they are bfloat16, which numpy does not know."""
    from safetensors import deserialize

    weights: dict[str, np.ndarray] = {}
    for name, part in deserialize(path.read_bytes()):
        kind, data = part["dtype"], part["data"]
        if kind == "BF16":
            values = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(data, FLOAT_BYTES[kind]).astype(np.float32)
        weights[name] = values.reshape(part["shape"])
    return weights


UNSUPPORTED_FEATURES = (
    "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias", "layer_replication", "alora_invocation_tokens",
    "use_bdlora", "use_qalora", "target_parameters", "megatron_config", "fan_in_fan_out",
)  # fmt: skip
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # starts that leave another base model behind


def _spec_from_config(config: dict[str, Any]) -> LoraSpec:
    if config.get("peft_type") != "LORA":
        raise ValueError(f"peft_type is {config.get('peft_type')!r}, only LORA is supported")
    for feature in UNSUPPORTED_FEATURES:
        if config.get(feature):
            raise ValueError(f"it uses {feature}, which is not supported")
    start = str(config.get("init_lora_weights", "")).lower()
    if start.startswith(CHANGES_BASE):
        raise ValueError(
            f"it was begun with init_lora_weights {start!r}, which changes the base model too; save it from PEFT as a "
            "plain LoRA first (path_initial_model_for_weight_conversion)"
        )
    targets = config["target_modules"]
    layers = config.get("layers_to_transform")
    layers = [layers] if isinstance(layers, int) else layers or []
    if not isinstance(layers, list) or not all(type(layer) is int for layer in layers):
        raise ValueError(f"layers_to_transform is {layers!r}, not a list of layers")
    if not isinstance(targets, str) and not (
        isinstance(targets, list) and targets and all(isinstance(name, str) for name in targets)
    ):
        raise ValueError(f"target_modules is {targets!r}, not a list of names")
    rank, alpha = config["r"], config["lora_alpha"]
    if type(rank) is not int or not 0 < rank <= MOST_RANK:
        raise ValueError(f"r is {rank!r}, allowed are whole numbers from 1 to {MOST_RANK}")
    if type(alpha) not in (int, float) or not math.isfinite(alpha):
        raise ValueError(f"lora_alpha is {alpha!r}, not a number")
    return LoraSpec(
        rank=rank,
        alpha=float(alpha),
        dropout=float(config.get("lora_dropout") or 0.0),
        target_modules="all-linear" if isinstance(targets, str) else tuple(sorted(targets)),
        layers=len(layers),
        rank_stabilised=bool(config.get("use_rslora", False)),
        dora=bool(config.get("use_dora", False)),
        token_ids=read_token_ids(config),
    )


def check_adapter(weights: Mapping[str, np.ndarray], shape: ModelShape, lora: LoraSpec) -> None:
    """Raise AdapterError unless `weights` has exactly the matrices that `lora` makes on a model of this shape."""
    check_shapes({name: tuple(value.shape) for name, value in weights.items()}, shape, lora)
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise AdapterError(f"the adapter holds NaN or infinite values in {name}")


def check_shapes(found: Mapping[str, tuple[int, ...]], shape: ModelShape | None, lora: LoraSpec) -> None:
    """Raise AdapterError unless these are the shapes of `lora` on a model of this shape (None: not compared)."""
    if shape is None:
        return
    expected: dict[str, tuple[int, ...]] = {}
    for linear in adapted_linears(shape, lora):
        expected[lora_a_name(linear.path)] = (lora.rank, linear.in_features)
        expected[lora_b_name(linear.path)] = (linear.out_features, lora.rank)
        if lora.dora:
            expected[magnitude_name(linear.path)] = (linear.out_features,)
    expected |= token_row_shapes(shape, lora)
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        detail = f"missing {missing[0]}" if missing else f"unexpected {extra[0]}"
        raise AdapterError(
            f"the adapter does not fit this base model: {len(missing)} matrices missing, {len(extra)} unexpected "
            f"({detail}); was it trained on another model?"
        )
    for name, wanted in expected.items():
        if found[name] != wanted:
            raise AdapterError(
                f"the adapter does not fit this base model: {name} has shape {found[name]}, the base needs {wanted}"
            )
