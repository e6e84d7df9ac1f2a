"""Sizes by which the engines cut their work. The planner counts memory with the same ones."""

from __future__ import annotations

BFLOAT16_CAPABILITY = 8.0  # older NVIDIA GPUs only emulate bfloat16, whatever torch.cuda.is_bf16_supported() says
MLX_QUERIES = 128  # queries at once in training; rows that are not longer use MLX's own attention
CPU_QUERIES = 96  # of a block of torch's on a CPU: fewer waste less above the diagonal and cost more calls
CPU_SCORES = 1 << 19  # of such a block, 2 MiB in float32, so that they stay in the cache
MLX_GROUPS = (64, 32)  # weights that share a scale and an offset; the first that divides a layer's input width
# Logits of one chunk of target rows: 64 MiB in float32 on MLX, about five times that alive in training; 32 and 128 MiB
# on torch.
CHUNK_LOGITS = {"mlx": 1 << 24, "cpu": 1 << 23, "cuda": 1 << 25}


def chunk_rows(vocab_size: int, kind: str) -> int:
    """Target rows whose logits are computed at once, by a key of CHUNK_LOGITS (at least 16, a multiple of 16)."""
    return max(16, CHUNK_LOGITS[kind] // vocab_size // 16 * 16)


def group_size(width: int) -> int:
    """Weights in a group where MLX quantizes a layer with `width` inputs, 0 where it cannot."""
    return next((group for group in MLX_GROUPS if width % group == 0), 0)
