"""The output head and the cross-entropy, on target rows only and a chunk of them at a time.

Neither (B, T, V) logits nor logits of all N target rows ever exist: a chunk's logits give its losses and, in
training, at once the gradient of its hidden states (they are the only thing upstream needs), and are gone before
the next chunk starts. Knows nothing of batches' origin or of the optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_sum.token_rows import head_with_rows

Head = Callable[[mx.array], mx.array]


def target_rows(hidden: mx.array, rows: mx.array) -> mx.array:
    """(B, T, H) hidden states -> (N, H), those at the flat indices `rows`."""
    return hidden.reshape(-1, hidden.shape[-1])[rows]


def negative_log_likelihood(logits: mx.array, targets: mx.array) -> mx.array:
    """(N, V) logits and (N,) targets -> (N,) float32 nats."""
    logits = logits.astype(mx.float32)
    chosen = mx.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return mx.logsumexp(logits, axis=-1) - chosen


def loss_sum(head: Head, hidden: mx.array, targets: mx.array, weights: mx.array, rows: int) -> mx.array:
    """Sum of nll over the rows with a weight, for evaluation: shapes as in `training_loss`, no gradient."""
    return mx.where(weights != 0, token_losses(head, hidden, targets, rows), 0.0).sum()


def token_losses(head: Head, hidden: mx.array, targets: mx.array, rows: int) -> mx.array:
    """nll of each row, (N,) float32, no gradient: shapes as in `training_loss`."""
    losses: list[mx.array] = []
    for start in range(0, targets.size, rows):
        part = slice(start, start + rows)
        chunk = mx.depends(hidden[part], losses[-1]) if losses else hidden[part]  # one chunk's logits at a time
        losses.append(negative_log_likelihood(head(chunk), targets[part]))
    return mx.concatenate(losses)


def _sums(nll: mx.array, weights: mx.array) -> mx.array:
    return mx.stack([(weights * nll).sum(), mx.where(weights != 0, nll, 0.0).sum()])


def training_loss(
    head: Head,
    hidden: mx.array,
    targets: mx.array,
    weights: mx.array,
    rows: int,
    trained: mx.array | None = None,
    ids: mx.array | None = None,
) -> tuple[mx.array, mx.array]:
    """(sum of weight * nll, sum of nll over rows with a weight), float32; only the first has a gradient, to `hidden`.

    `trained` (n, H) float32, the head's rows of the tokens `ids` (n,) in place of its own, has a gradient too where
    given.

    `hidden` (N, H), `targets` (N,), `weights` (N,) float32; `rows` at a time. The gradient, (softmax - onehot) * weight
    times the head's weights, is computed in the forward pass while a chunk's logits are at hand (as in Liger Kernel,
    Hsu et al. 2024). In float16 it carries the loss scale through `weights`, since it is rounded here.
    """

    def forward(hidden: mx.array, *trained: mx.array) -> tuple[mx.array, ...]:
        total = mx.zeros(2)
        gradients: list[mx.array] = []
        own = [mx.zeros(part.shape) for part in trained]
        whole = head_with_rows(head, trained[0] if trained else None, ids)
        for start in range(0, targets.size, rows):
            part = slice(start, start + rows)
            chunk = hidden[part]
            if gradients:  # one chunk after the other: logits of the next only when these are used up
                chunk = mx.depends(chunk, [total, gradients[-1], *own])
            nll, gradient, difference = _loss_and_gradient(whole, chunk, targets[part], weights[part])
            if ids is not None:
                own = [own[0] + difference[:, ids].T @ chunk.astype(mx.float32)]
            total = total + _sums(nll, weights[part])
            gradients.append(gradient)
        return total, mx.concatenate(gradients), *own

    def backward(primals: Any, cotangents: list[mx.array], outputs: list[mx.array]) -> Any:
        found = [(part.astype(mx.float32) * cotangents[0][0]).astype(part.dtype) for part in outputs[1:]]
        return found if trained is not None else found[0]

    fused: Any = mx.custom_function(forward)
    fused.vjp(backward)
    sums, *_ = fused(hidden) if trained is None else fused(hidden, trained)
    return sums[0], mx.stop_gradient(sums[1])


def _loss_and_gradient(
    head: Head, hidden: mx.array, targets: mx.array, weights: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    """nll (N,) float32, and the gradient of sum of weight * nll to hidden (N, H) and to the logits (N, V)."""
    raw = head(hidden)
    logits = raw.astype(mx.float32)
    chosen = mx.take_along_axis(logits, targets[:, None], axis=-1)
    largest = mx.max(logits, axis=-1, keepdims=True)
    exponentials = mx.exp(mx.depends(logits, chosen) - largest)
    total = exponentials.sum(axis=-1, keepdims=True)
    nll = (largest + mx.log(total) - chosen)[:, 0]
    difference = exponentials * (weights[:, None] / total)
    difference = difference.at[mx.arange(targets.size), targets].add(-weights)
    _, (gradient,) = mx.vjp(head, [hidden], [difference.astype(raw.dtype)])
    return nll, gradient, difference
