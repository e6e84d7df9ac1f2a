"""A base model and a LoRA adapter as one set of weights: W + scale * B A (with DoRA, its rows at their trained
lengths), one tensor at a time, in numpy float32.

The base counts with the values it had while training (dequantized), or with its own 16-bit ones when asked. Knows
safetensors directories, plain and MLX-quantized; knows nothing of what the weights are written to.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.errors import ModelError
from common.export.tensor_files import find_tensors
from common.export.trained_values import int8_rows, mlx_affine, nf4, unpack_mlx
from common.model.adapter import StoredAdapter, check_adapter, lora_a_name, lora_b_name, magnitude_name
from common.model.architecture import Linear, ModelShape
from common.model.token_rows import EMBEDDING, EMBEDDING_ROWS, HEAD, HEAD_ROWS, grown_shape

_BUFFERS = re.compile(r"rotary_emb\.inv_freq$|\.masked_bias$|attn\.bias$")  # old checkpoints store these constants
_ROWS = {f"{EMBEDDING}.weight": EMBEDDING_ROWS, f"{HEAD}.weight": HEAD_ROWS}
MLX_GROUP_SIZES = (64, 32)


@dataclass(frozen=True)
class BaseQuantization:
    """How a run quantized its base's linear layers, and the safetensors type it held weights in before.

    kind   `nf4` and `int8`: bitsandbytes; `mlx`: affine groups with `bits`; `none`: not at all
    """

    kind: Literal["none", "nf4", "int8", "mlx"] = "none"
    bits: int = 4
    dtype: str = "F32"

    def values(self, weight: np.ndarray) -> np.ndarray:
        """A linear layer's float32 weight (out, in) as the run computed with it."""
        if self.kind == "nf4":
            return nf4(weight, self.dtype)
        if self.kind == "int8":
            return int8_rows(weight)
        if self.kind == "mlx":
            group = next((size for size in MLX_GROUP_SIZES if weight.shape[1] % size == 0), 0)
            return mlx_affine(weight, self.bits, group, self.dtype) if group else weight
        return weight


def run_quantization(engine: str, quantize: str, compute_dtype: str) -> BaseQuantization:
    """What `--quantize` meant on the engine of a run (`mlx` or `cuda`), whose compute type is given by its name."""
    dtype = {"float16": "F16", "bfloat16": "BF16"}.get(compute_dtype, "F32")
    if quantize == "none":
        return BaseQuantization("none", dtype=dtype)
    if engine == "mlx":
        return BaseQuantization("mlx", 4 if quantize == "4bit" else 8, dtype)
    return BaseQuantization("nf4" if quantize == "4bit" else "int8", dtype=dtype)


class MergedWeights:
    """The tensors of base and adapter together, under the base's Hugging Face names; values are made when asked for.

    names  in the order of the base's files
    """

    def __init__(
        self, directory: Path, shape: ModelShape, adapter: StoredAdapter | None, quantization: BaseQuantization
    ) -> None:
        """Raises ModelError for weights quantized by other tools, AdapterError for an adapter of another model."""
        if adapter is not None:
            check_adapter(adapter.weights, shape, adapter.lora)
        self.shape = grown_shape(shape, adapter.lora if adapter else None)
        self.quantization = quantization
        self._adapter = adapter
        self._linears = {f"{linear.path}.weight": linear for linear in shape.linears()}
        self._stored = find_tensors(directory)
        self._packing = _mlx_packing(directory)
        packed = {name.removesuffix(".scales") for name in self._stored if name.endswith(".scales")}
        self._packed = packed if self._packing else set()
        companions = {f"{path}.{part}" for path in self._packed for part in ("scales", "biases")}
        tied = {"lm_head.weight"} if shape.tied_embeddings else set()
        self.names = [name for name in self._stored if name not in companions | tied and not _BUFFERS.search(name)]
        missing = sorted(self._linears.keys() - set(self.names))
        if missing:
            raise ModelError(f"{directory}: {len(missing)} weights are missing, among them {missing[0]}")

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor once dequantized."""
        if name.removesuffix(".weight") in self._packed:
            bits, _ = self._packing_of(name.removesuffix(".weight"))
            rows, words = self._stored[name].shape
            return rows, words * 32 // bits
        stored = self._stored[name].shape
        return (max(stored[0], self.shape.vocab_size), stored[1]) if name in _ROWS else stored

    def stored_type(self, name: str) -> str:
        """Safetensors type the base stores the tensor in; a packed one counts as its scales."""
        path = name.removesuffix(".weight")
        return self._stored[f"{path}.scales" if path in self._packed else name].dtype

    def float32(self, name: str) -> np.ndarray:
        """Values of one tensor, dequantized and with the adapter added where it has one."""
        linear = self._linears.get(name)
        path = name.removesuffix(".weight")
        if path in self._packed:
            values = self._unpack(path)
        else:
            values = self._stored[name].float32()
            if linear is not None:
                values = self.quantization.values(values)
        if name in _ROWS:
            return self._with_token_rows(name, values)
        return values if linear is None else self._with_adapter(linear, values)

    def _with_token_rows(self, name: str, values: np.ndarray) -> np.ndarray:
        """A (V, H) matrix with the trained rows of added tokens; a tied head is the embedding itself."""
        rows = self._adapter.weights.get(_ROWS[name]) if self._adapter else None
        if rows is None or self._adapter is None:
            return values
        whole = np.zeros(self.shape_of(name), np.float32)
        whole[: len(values)] = values
        whole[list(self._adapter.lora.token_ids)] = rows
        return whole

    def _with_adapter(self, linear: Linear, values: np.ndarray) -> np.ndarray:
        if self._adapter is None or lora_a_name(linear.path) not in self._adapter.weights:
            return values
        a, b = self._adapter.weights[lora_a_name(linear.path)], self._adapter.weights[lora_b_name(linear.path)]
        merged: np.ndarray = values + np.float32(self._adapter.lora.scale) * (b @ a)
        if self._adapter.lora.dora:
            lengths = np.linalg.norm(merged, axis=1)
            merged *= (self._adapter.weights[magnitude_name(linear.path)] / lengths)[:, None]
        return merged

    def _unpack(self, path: str) -> np.ndarray:
        bits, group_size = self._packing_of(path)
        packed, scales, biases = (self._stored[f"{path}.{part}"] for part in ("weight", "scales", "biases"))
        return unpack_mlx(packed.raw(), scales.float32(), biases.float32(), bits, group_size)

    def _packing_of(self, path: str) -> tuple[int, int]:
        chosen = self._packing.get(path)
        if not isinstance(chosen, dict):
            chosen = self._packing
        return int(chosen["bits"]), int(chosen["group_size"])


def _mlx_packing(directory: Path) -> dict[str, Any]:
    """The `quantization` settings of an MLX model, empty for unquantized weights; other tools' are refused."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    packing = config.get("quantization")
    if isinstance(packing, dict):
        if packing.get("mode", "affine") != "affine":
            raise ModelError(f"{directory}: MLX quantization mode {packing['mode']!r} cannot be merged, only affine")
        return packing
    foreign = (config.get("quantization_config") or {}).get("quant_method")
    if foreign:
        raise ModelError(
            f"{directory}: weights quantized by {foreign} cannot be merged; train on the unquantized model"
        )
    return {}
