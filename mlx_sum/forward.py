"""The forward pass of training and of the dev loss: hidden states at target rows only.

What the head does not need is not computed: in the last layer only keys, values and queries exist for every token;
its output projection and its feed-forward part, most of its work, run on target rows (5 to 15 % of the tokens in
summarization). The result is the full model's, not an approximation. Knows no losses, caches or adapters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from common.generation.shared import Beginning
from mlx_sum.attention import attend, project_out
from mlx_sum.loss import target_rows
from mlx_sum.model import final_norm, is_recomputed, recompute


def target_states(
    model: nn.Module,
    tokens: mx.array,
    rows: mx.array,
    noise: Callable[[mx.array], mx.array] | None = None,
    beginning: Beginning | None = None,
) -> mx.array:
    """(B, T) token ids and (N,) flat indices b*T + t -> (N, H) normed hidden states there, ready for the head.

    `noise` changes the embeddings (B, T, H) first. With `beginning` the tokens are (1, M), those of joined
    rows, and `rows` are indices among them.
    """
    trunk = model.model
    hidden = trunk.embed_tokens(tokens)
    if noise is not None:
        hidden = noise(hidden)
    if model.model_type == "gemma":
        hidden = hidden * model.args.hidden_size**0.5
    *earlier, last = trunk.layers
    for layer in earlier:
        hidden = layer(hidden, "causal", beginning)

    def finish(hidden: mx.array) -> mx.array:
        return _layer_at_rows(last, hidden, rows, beginning)

    hidden = recompute(last, finish, hidden) if is_recomputed(last) else finish(hidden)
    normed: mx.array = final_norm(model)(hidden)
    return normed


def add_noise(hidden: mx.array, lengths: mx.array, alpha: float, key: mx.array) -> mx.array:
    """NEFTune (Jain et al. 2023): (B, T, H) embeddings plus noise uniform in +-alpha / sqrt(L H), L (B,) tokens."""
    size = alpha * mx.rsqrt(lengths.astype(mx.float32) * hidden.shape[-1])
    noise = mx.random.uniform(-1.0, 1.0, hidden.shape, key=key) * size[:, None, None]
    return hidden + noise.astype(hidden.dtype)


def _layer_at_rows(layer: Any, x: mx.array, rows: mx.array, beginning: Beginning | None) -> mx.array:
    """(B, T, H) -> (N, H): a transformer layer's output at `rows`."""
    normed = layer.input_layernorm(x)
    attended = project_out(layer.self_attn, target_rows(attend(layer.self_attn, normed, beginning), rows))
    residual = target_rows(x, rows)
    if "post_attention_layernorm" not in layer:  # Phi: attention and feed-forward side by side
        parallel: mx.array = attended + layer.mlp(target_rows(normed, rows)) + residual
        return parallel
    middle = residual + attended
    out: mx.array = middle + layer.mlp(layer.post_attention_layernorm(middle))
    return out
