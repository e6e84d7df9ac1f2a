"""Causal attention for training, a block of queries at a time: memory grows with T, not with T squared.

`mx.fast.scaled_dot_product_attention` has no fused backward pass on Metal and on the CPU (MLX 0.32): there it keeps
more than two (T, T) score matrices per head and layer for the backward pass. Here only the output and each row's
normaliser are kept, scores are recomputed (Dao et al. 2022), and keys after a block's last query are never looked at,
which also saves almost half of the work on long rows. Right padding under a causal mask needs no mask of its own.
Rows of a micro-batch with a common beginning may come as one sequence. Knows no losses and no generation: with a
cache, or outside training, mlx-lm's own attention runs.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from common.engine_base.sizes import MLX_QUERIES
from common.generation.shared import Beginning


class _OwnAttention:
    """Mixed into the class of an mlx-lm attention layer: the same layer, with `attend` in training and for joined rows.

    Their common beginning comes in the place of a cache, which is what mlx-lm's layers hand on to their attention.
    """

    training: bool
    blockwise: bool

    def __call__(
        self, x: mx.array, mask: mx.array | str | None = None, cache: Beginning | object | None = None
    ) -> mx.array:
        layer: Any = self
        beginning = cache if isinstance(cache, Beginning) else None
        if beginning is None and (cache is not None or not (layer.training and layer.blockwise)):
            out: mx.array = super().__call__(x, mask, cache)  # type: ignore[misc]
            return out
        return project_out(layer, attend(layer, x, beginning))


def use_own_attention(model: nn.Module, blockwise: bool) -> None:
    """Let every attention layer of this mlx-lm model (and of no other) take joined rows, and use `causal_attention`
    in training if `blockwise`."""
    for layer in model.model.layers:
        base = type(layer.self_attn)
        layer.self_attn.__class__ = type(f"Own{base.__name__}", (_OwnAttention, base), {"blockwise": blockwise})


def attend(layer: Any, x: mx.array, beginning: Beginning | None = None) -> mx.array:
    """(B, T, H) normed input of an mlx-lm attention layer -> (B, T, heads * D), what its output projection gets.

    With `beginning` both are (1, M, ...), the tokens of joined rows.
    """
    phi = "dense" in layer  # other names, and queries in float32 because its scores overflow float16
    heads = (layer.num_heads, layer.num_key_value_heads) if phi else (layer.n_heads, layer.n_kv_heads)
    queries, keys, values = _heads(layer.q_proj(x), heads[0]), _heads(layer.k_proj(x), heads[1]), layer.v_proj(x)
    if "q_norm" in layer:
        queries, keys = layer.q_norm(queries), layer.k_norm(keys)
    queries, keys, values = (part.swapaxes(1, 2) for part in (queries, keys, _heads(values, heads[1])))
    blockwise, scale = layer.training and getattr(layer, "blockwise", False), queries.shape[-1] ** -0.5

    def causal(queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
        queries = queries.astype(mx.float32) if phi else queries
        if blockwise:
            out = causal_attention(queries, keys, values, scale)
        else:
            out = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask="causal")
        return out.astype(x.dtype).swapaxes(1, 2)

    if beginning is None:
        return causal(layer.rope(queries), layer.rope(keys), values).reshape(*x.shape[:2], -1)
    (queries, own_queries), (keys, own_keys), (values, own_values) = (
        _split(part, beginning) for part in (queries, keys, values)
    )
    keys = layer.rope(keys)
    own_queries, own_keys = (layer.rope(part, offset=beginning.tokens) for part in (own_queries, own_keys))
    parts = [
        causal(layer.rope(queries), keys, values),
        causal(own_queries, _in_each_row(keys, own_keys), _in_each_row(values, own_values)),
    ]
    return mx.concatenate([part.reshape(1, -1, heads[0] * part.shape[-1]) for part in parts], axis=1)


def _split(part: mx.array, beginning: Beginning) -> tuple[mx.array, mx.array]:
    """(1, heads, M, D) -> (1, heads, P, D) and (B, heads, T - P, D)."""
    own = part[0, :, beginning.tokens :].reshape(part.shape[1], beginning.rows, -1, part.shape[-1])
    return part[:, :, : beginning.tokens], own.swapaxes(0, 1)


def _in_each_row(first: mx.array, own: mx.array) -> mx.array:
    """(1, heads, P, D) and (B, heads, T - P, D) -> (B, heads, T, D)."""
    return mx.concatenate([mx.broadcast_to(first, (own.shape[0], *first.shape[1:])), own], axis=2)


def project_out(layer: Any, attended: mx.array) -> mx.array:
    """The output projection, which Phi calls by another name."""
    projected: mx.array = layer.dense(attended) if "dense" in layer else layer.o_proj(attended)
    return projected


def _heads(x: mx.array, count: int) -> mx.array:
    """(B, T, count * D) -> (B, T, count, D)."""
    return x.reshape(*x.shape[:2], count, -1)


def causal_attention(
    queries: mx.array, keys: mx.array, values: mx.array, scale: float, block: int = MLX_QUERIES
) -> mx.array:
    """softmax(scale * Q K^T + causal mask) V. (B, H, T, D), (B, K, S, D), (B, K, S, D) -> (B, H, T, D), H = K * R.

    S >= T, and the queries are the last T positions.
    """
    batch, heads, length, width = queries.shape
    if length <= block:
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask="causal")
    groups, earlier = keys.shape[1], keys.shape[2] - length
    spans = [(start, min(start + block, length)) for start in range(0, length, block)]

    def forward(queries: mx.array, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        outputs: list[mx.array] = []
        normalisers: list[mx.array] = []
        for start, end in spans:
            part = queries[:, :, :, start:end]
            if outputs:  # one block after the other, or all blocks' scores exist at once
                part = mx.depends(part, outputs[-1])
            seen = earlier + end
            scores = _scores(part, keys[:, :, None, :seen], scale, earlier + start)
            largest = mx.max(scores, axis=-1, keepdims=True)
            weights = mx.exp(scores - largest)
            total = weights.sum(axis=-1, keepdims=True)
            output = _unfold(_fold(weights.astype(values.dtype)) @ values[:, :, :seen], groups, heads // groups)
            outputs.append((output / total).astype(values.dtype))
            normalisers.append(largest + mx.log(total))
        return mx.concatenate(outputs, axis=3), mx.concatenate(normalisers, axis=3)

    def backward(primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]) -> tuple[mx.array, ...]:
        return _backward(primals, cotangents[0], outputs, scale, spans)

    attend: Any = mx.custom_function(forward)
    attend.vjp(backward)
    grouped = queries.reshape(batch, groups, heads // groups, length, width)
    output, _ = attend(grouped, keys, values)
    return output.reshape(batch, heads, length, width)


def _fold(x: mx.array) -> mx.array:
    """(B, K, R, n, m) -> (B, K, R * n, m): the R query heads of a key head become rows of one matrix product."""
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3], x.shape[4])


def _unfold(x: mx.array, groups: int, repeats: int) -> mx.array:
    """(B, K, R * n, m) -> (B, K, R, n, m)."""
    return x.reshape(x.shape[0], groups, repeats, x.shape[2] // repeats, x.shape[3])


def _scores(queries: mx.array, keys: mx.array, scale: float, start: int) -> mx.array:
    """(B, K, R, n, D), (B, K, 1, m, D) -> float32 (B, K, R, n, m) with -inf after each query's own position."""
    repeats, count = queries.shape[2:4]
    end = keys.shape[3]
    product = _fold(queries * scale) @ keys[:, :, 0].swapaxes(-1, -2)
    scores = _unfold(product, keys.shape[1], repeats).astype(mx.float32)
    visible = mx.arange(start, start + count)[:, None] >= mx.arange(end)
    return mx.where(visible, scores, -mx.inf)


def _backward(
    primals: list[mx.array],
    cotangent: mx.array,
    outputs: list[mx.array],
    scale: float,
    spans: list[tuple[int, int]],
) -> tuple[mx.array, ...]:
    """Gradients of queries (B, K, R, T, D), keys and values (B, K, S, D) from the longest block to the shortest."""
    queries, keys, values = primals
    output, normaliser = outputs
    inner = (cotangent.astype(mx.float32) * output.astype(mx.float32)).sum(axis=-1, keepdims=True)
    query_gradients: list[mx.array] = []
    key_gradient, value_gradient = mx.zeros_like(keys), mx.zeros_like(values)
    earlier = keys.shape[2] - queries.shape[3]
    for start, end in reversed(spans):
        rows = (slice(None), slice(None), slice(None), slice(start, end))
        part = queries[rows]
        if query_gradients:
            part = mx.depends(part, [query_gradients[-1], key_gradient, value_gradient])
        seen = earlier + end
        seen_keys, seen_values = keys[:, :, :seen], values[:, :, :seen]
        weights = mx.exp(_scores(part, seen_keys[:, :, None], scale, earlier + start) - normaliser[rows])
        above = _fold(cotangent[rows])
        upstream = _unfold(above @ seen_values.swapaxes(-1, -2), part.shape[1], part.shape[2]).astype(mx.float32)
        score_gradient = _fold((weights * (upstream - inner[rows]) * scale).astype(queries.dtype))
        query_gradients.append(_unfold(score_gradient @ seen_keys, part.shape[1], part.shape[2]))
        key_part = score_gradient.swapaxes(-1, -2) @ _fold(part)
        value_part = _fold(weights.astype(values.dtype)).swapaxes(-1, -2) @ above
        key_gradient = key_gradient.at[:, :, :seen].add(key_part.astype(keys.dtype))
        value_gradient = value_gradient.at[:, :, :seen].add(value_part)
    return mx.concatenate(query_gradients[::-1], axis=3), key_gradient, value_gradient
