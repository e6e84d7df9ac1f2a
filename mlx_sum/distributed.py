"""Sums over data-parallel processes, once an optimizer step. Knows nothing of batches or models.

Processes are started by `mlx.launch`; alone, there is one of them and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx


def join_group() -> mx.distributed.Group:
    """The group of processes that `mlx.launch` started, or a group of one."""
    return mx.distributed.init()


def sum_over_ranks(
    group: mx.distributed.Group, gradients: Mapping[str, mx.array], loss_sum: mx.array, target_tokens: int
) -> tuple[dict[str, mx.array], mx.array, mx.array]:
    """Gradients, loss sum and target-token count summed over all ranks (unchanged when there is one).

    Everything travels as one float32 vector. The count is split at 2^12 so that its two parts are added exactly.
    """
    if group.size() == 1:
        return dict(gradients), loss_sum, mx.array(target_tokens)
    high, low = divmod(target_tokens, 4096)
    flat = [gradients[name].reshape(-1) for name in sorted(gradients)]
    total = mx.distributed.all_sum(
        mx.concatenate([*flat, loss_sum.reshape(1), mx.array([high, low], mx.float32)]), group=group
    )
    summed, start = {}, 0
    for name in sorted(gradients):
        size = gradients[name].size
        summed[name] = total[start : start + size].reshape(gradients[name].shape)
        start += size
    count = total[start + 1].astype(mx.int64) * 4096 + total[start + 2].astype(mx.int64)
    return summed, total[start], count
