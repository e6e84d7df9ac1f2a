"""The output head and the cross-entropy, on target rows only and a chunk of them at a time.

Neither (B, T, V) logits nor logits of all N target rows ever exist: a chunk's logits give its losses and, in
training, at once the gradient of its hidden states (the head is frozen, so that is all upstream needs), and are
gone before the next chunk starts. Knows nothing of batches' origin or of the optimizer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def target_rows(hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(B, T, H) hidden states -> (N, H), those at the flat indices `rows`."""
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, rows)


def training_loss(
    head: nn.Linear,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    rows: int,
    trained: torch.Tensor | None = None,
    ids: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of weight * nll, sum of nll over rows with a weight), float32; only the first has a gradient, to `hidden`.

    `trained` (n, H) float32, the head's rows of the tokens `ids` (n,), has a gradient too where given.

    `hidden` (N, H), `targets` (N,) int64, `weights` (N,) float32; `rows` at a time. The gradient,
    (softmax - onehot) * weight times the head's weights, is computed in the forward pass while a chunk's logits are
    at hand (as in Liger Kernel, Hsu et al. 2024). In float16 it carries the loss scale through `weights`, since it
    is rounded to the dtype of `hidden` here.
    """
    return _TargetLoss.apply(hidden, head.weight, head.bias, targets, weights, rows, trained, ids)  # type: ignore[no-any-return]


def loss_sum(
    head: nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, rows: int
) -> torch.Tensor:
    """Sum of nll over the rows with a weight, for evaluation: shapes as in `training_loss`, no gradient."""
    return torch.where(weights != 0, token_losses(head, hidden, targets, rows), 0.0).sum()


def token_losses(head: nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, rows: int) -> torch.Tensor:
    """nll of each row, (N,) float32, no gradient: shapes as in `training_loss`."""
    nll = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    with torch.no_grad():
        for start in range(0, len(targets), rows):
            part = slice(start, start + rows)
            logits = nn.functional.linear(hidden[part], head.weight, head.bias).float()
            nll[part] = nn.functional.cross_entropy(logits, targets[part], reduction="none")
    return nll


class _TargetLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        weights: torch.Tensor,
        rows: int,
        trained: torch.Tensor | None,
        ids: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        gradient = torch.empty_like(hidden)
        trained_gradient = None if trained is None else torch.zeros_like(trained)
        weighted = torch.zeros((), dtype=torch.float32, device=hidden.device)
        total = torch.zeros_like(weighted)
        for start in range(0, len(targets), rows):
            part = slice(start, start + rows)
            chosen, row_weights = targets[part, None], weights[part]
            logits = nn.functional.linear(hidden[part], weight, bias).float()
            target_logits = logits.gather(1, chosen)
            largest = logits.amax(1, keepdim=True)
            exponentials = logits.sub_(largest).exp_()
            sums = exponentials.sum(1, keepdim=True)
            nll = (largest + sums.log() - target_logits)[:, 0]
            weighted += (row_weights * nll).sum()
            total += torch.where(row_weights != 0, nll, 0.0).sum()
            difference = exponentials.mul_(row_weights[:, None] / sums)
            difference.scatter_add_(1, chosen, -row_weights[:, None])
            torch.mm(difference.to(hidden.dtype), weight, out=gradient[part])
            if trained_gradient is not None:
                trained_gradient.addmm_(difference[:, ids].T, hidden[part].float())
        ctx.save_for_backward(gradient, trained_gradient)
        ctx.mark_non_differentiable(total)
        return weighted, total

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient, trained = ctx.saved_tensors
        rows = None if trained is None else trained * upstream
        return gradient * upstream.to(gradient.dtype), None, None, None, None, None, rows, None
