"""Blockwise attention equals MLX's own and does not keep the score matrix."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest

from mlx_sum.attention import causal_attention

Attention = Callable[[mx.array, mx.array, mx.array], mx.array]
SCALE = 0.3


def blockwise(block: int) -> Attention:
    return lambda queries, keys, values: causal_attention(queries, keys, values, SCALE, block)


def builtin(queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=SCALE, mask="causal")


def inputs(length: int, heads: int, key_heads: int, width: int = 16, batch: int = 2) -> list[mx.array]:
    keys = mx.random.split(mx.random.key(length), 4)
    counts = (heads, key_heads, key_heads, heads)  # the last is the gradient from above
    return [mx.random.normal((batch, count, length, width), key=key) for count, key in zip(counts, keys, strict=True)]


def gradients(attention: Attention, queries: mx.array, keys: mx.array, values: mx.array, above: mx.array) -> list:
    def weighted(queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
        return (attention(queries, keys, values) * above).sum()

    return list(mx.grad(weighted, (0, 1, 2))(queries, keys, values))


@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("length", [17, 32, 33, 100])
def test_outputs_and_gradients_equal_the_builtin_attention(length: int, heads: int, key_heads: int) -> None:
    *qkv, above = inputs(length, heads, key_heads)
    for block in (16, 32):
        assert mx.abs(blockwise(block)(*qkv) - builtin(*qkv)).max().item() < 1e-5
        for ours, theirs in zip(gradients(blockwise(block), *qkv, above), gradients(builtin, *qkv, above), strict=True):
            assert mx.abs(theirs).max().item() > 0.1
            assert mx.abs(ours - theirs).max().item() < 2e-5


def test_large_scores_do_not_overflow() -> None:
    queries, keys, values, above = inputs(40, 2, 2)
    for result in gradients(blockwise(16), queries * 100, keys * 100, values, above):
        assert mx.isfinite(result).all().item()


def test_it_can_be_compiled_and_recomputed() -> None:
    *qkv, above = inputs(40, 4, 2)
    expected = gradients(blockwise(16), *qkv, above)
    recomputed = mx.checkpoint(blockwise(16))
    for ours, theirs in zip(gradients(recomputed, *qkv, above), expected, strict=True):
        assert mx.abs(ours - theirs).max().item() < 1e-6


def test_memory_of_the_backward_pass_grows_with_length_and_not_with_its_square() -> None:
    """The trap: MLX 0.32's own backward pass keeps score matrices of every layer, and so grows fourfold."""

    def peak(attention: Attention, length: int, layers: int = 3) -> int:
        *qkv, above = inputs(length, 4, 4, batch=1)

        def stacked(queries: mx.array, keys: mx.array, values: mx.array) -> mx.array:
            for _ in range(layers):
                queries = queries + attention(queries, keys, values)
            return queries

        mx.eval(qkv, above)
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(gradients(stacked, *qkv, above))
        return mx.get_peak_memory() - before

    assert peak(builtin, 512) > 3.5 * peak(builtin, 256)
    assert peak(blockwise(32), 512) < 2.5 * peak(blockwise(32), 256)
    assert peak(blockwise(32), 512) < 0.3 * peak(builtin, 512)
