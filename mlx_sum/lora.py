"""LoRA (Hu et al. 2021) on the exact linear layers that `common.model.adapter` names, in PEFT's shapes.

Matrices are kept as PEFT stores them, A (rank, in) and B (out, rank), in float32; nothing is renamed or transposed
on the way to disk. Knows nothing of losses or optimizers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from common.engine import LoraSpec
from common.model.adapter import (
    adapted_linears,
    check_adapter,
    initial_adapter,
    lora_a_name,
    lora_b_name,
    magnitude_name,
)
from common.model.architecture import ModelShape
from common.model.token_rows import token_row_shapes
from mlx_sum.functions import lora_product
from mlx_sum.token_rows import TokenRows, start_rows


class LoraLinear(nn.Module):
    """A frozen linear layer plus scale * B A x. Inactive, it is the base layer and nothing else.

    With DoRA (Liu et al. 2024), rows of W + scale * B A then have the trained lengths `magnitude`; their own lengths
    are constants to the gradient (section 4.3 there). Dropout acts on the input of A alone.
    """

    def __init__(self, base: nn.Module, scale: float, dropout: float, dora: bool = False) -> None:
        super().__init__()
        self.dora = dora
        self._ratio: mx.array | None = None
        self.base = base
        self.scale = scale
        self.dropout = dropout
        self.active = True
        self._dropout_key: mx.array | None = None

    def __call__(self, x: mx.array) -> mx.array:
        """(..., in) -> (..., out), in the dtype of `x`: the small matrices are cast, never the activations."""
        if not self.active:
            inactive: mx.array = self.base(x)
            return inactive
        kept = None
        if self._dropout_key is not None and self.dropout:
            kept = mx.random.bernoulli(1.0 - self.dropout, x.shape, key=self._dropout_key)
        base = partial(product, self.base) if self.dora else self.base
        out = lora_product(
            base,
            x,
            self.lora_a,
            self.lora_b,
            self.scale,
            kept,
            1.0 / (1.0 - self.dropout) if self.dropout else 1.0,
        )
        if not self.dora:
            return out
        out = out * self._stretch().astype(out.dtype)
        return out + self.base.bias if "bias" in self.base else out

    def bind(self, lora_a: mx.array, lora_b: mx.array, magnitude: mx.array | None) -> None:
        """Compute with these matrices, A (rank, in), B (out, rank), and row lengths (out,), from now on."""
        self.lora_a, self.lora_b, self._ratio = lora_a, lora_b, None
        if magnitude is not None:
            self.magnitude = magnitude

    def _stretch(self) -> mx.array:
        """(out,) what rows of W + scale * B A are multiplied by; kept between calls while no graph is traced."""
        if self._ratio is not None and not self.training:
            return self._ratio
        rows = dense_weight(self.base) + self.scale * (self.lora_b @ self.lora_a)
        ratio = self.magnitude / mx.stop_gradient(row_lengths(rows))
        if not self.training:
            self._ratio = ratio
        return ratio


def product(base: Any, x: mx.array) -> mx.array:
    """A linear layer's (..., in) -> (..., out) without its bias."""
    if isinstance(base, nn.QuantizedLinear):
        return mx.quantized_matmul(
            x, base.weight, scales=base.scales, biases=base.get("biases"), transpose=True,
            group_size=base.group_size, bits=base.bits, mode=base.mode,
        )  # fmt: skip
    out: mx.array = x @ base.weight.T
    return out


def dense_weight(base: Any) -> mx.array:
    """The (out, in) float32 weight a linear layer computes with."""
    if isinstance(base, nn.QuantizedLinear):
        weight = mx.dequantize(
            base.weight, base.scales, base.get("biases"), group_size=base.group_size, bits=base.bits, mode=base.mode
        )
        return weight.astype(mx.float32)
    plain: mx.array = base.weight.astype(mx.float32)
    return plain


def row_lengths(weight: mx.array) -> mx.array:
    """L2 norms of the rows, (out, in) -> (out,)."""
    return mx.sqrt(mx.square(weight).sum(axis=1))


@dataclass(frozen=True)
class Adapter:
    """The adapter's layers by module path, in model order, and the rows of added tokens."""

    layers: dict[str, LoraLinear]
    shape: ModelShape
    spec: LoraSpec
    tokens: TokenRows | None = None

    def bind(self, weights: Mapping[str, mx.array]) -> None:
        """Let the layers compute with `weights` (by PEFT name): arrays, or placeholders while a graph is traced."""
        for path, layer in self.layers.items():
            layer.bind(weights[lora_a_name(path)], weights[lora_b_name(path)], weights.get(magnitude_name(path)))
        if self.tokens is not None:
            self.tokens.bind(weights)

    def enable(self, enabled: bool) -> None:
        for layer in self.layers.values():
            layer.active = enabled
        if self.tokens is not None:
            self.tokens.active = enabled

    @contextmanager
    def dropout(self, key: mx.array | None) -> Iterator[None]:
        """Drop inputs inside the block, each layer by its own key; nothing is dropped when `key` is None.

        Keys are explicit, not drawn from a global state, so that a layer recomputed by gradient checkpointing
        drops the same inputs again and a resumed run the same as an uninterrupted one.
        """
        keys = [None] * len(self.layers) if key is None else mx.random.split(key, len(self.layers))
        for layer, layer_key in zip(self.layers.values(), keys, strict=True):
            layer._dropout_key = layer_key
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer._dropout_key = None


def attach_adapter(model: nn.Module, shape: ModelShape, spec: LoraSpec) -> tuple[Adapter, dict[str, mx.array]]:
    """Put LoRA layers into a frozen model in place. Returns them with their starting weights by PEFT name.

    Raises AdapterError for target modules that do not exist or may not be adapted.
    """
    layers = {}
    for linear in adapted_linears(shape, spec):
        parent, leaf = _locate(model, linear.path)
        layers[linear.path] = LoraLinear(parent[leaf], spec.scale, spec.dropout, spec.dora)
        parent[leaf] = layers[linear.path]
    rows, ids = token_row_shapes(shape, spec), mx.array(spec.token_ids, mx.int32)
    starting = start_rows(model, ids, rows) if rows else {}
    adapter = Adapter(layers, shape, spec, TokenRows(model, ids, shape.tied_embeddings) if rows else None)
    weights = to_device(initial_adapter(shape, spec))
    if spec.dora:
        weights |= {magnitude_name(path): row_lengths(dense_weight(layer.base)) for path, layer in layers.items()}
    weights |= starting
    adapter.bind(weights)
    return adapter, weights


def _locate(model: nn.Module, path: str) -> tuple[Any, str]:
    """Module that holds the layer at `path`, and the layer's name in it."""
    *parents, leaf = path.split(".")
    module: Any = model
    for name in parents:
        module = module[int(name)] if name.isdigit() else module[name]
    return module, leaf


def checked_weights(adapter: Adapter, weights: Mapping[str, np.ndarray]) -> dict[str, mx.array]:
    """Weights from disk or another engine as arrays. Raises AdapterError when names or shapes differ."""
    check_adapter(weights, adapter.shape, adapter.spec)
    return to_device(weights)


def to_device(weights: Mapping[str, np.ndarray]) -> dict[str, mx.array]:
    """Numpy arrays by name as float32 MLX arrays."""
    return {name: mx.array(np.asarray(value, np.float32)) for name, value in weights.items()}
