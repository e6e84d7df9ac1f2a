"""Embedding and head rows of added tokens, trained with the adapter.

The rows in use lie in the frozen matrices themselves, so that forward passes are what they are without them; only
gradients take a way of their own. Knows nothing of adapters, losses or optimizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from common.model.token_rows import EMBEDDING_ROWS, HEAD_ROWS


class TokenRows:
    """Trained rows (n, H), float32, of a model's embedding and, where it has its own, output head.

    ids   (n,) int64, the tokens
    rows  the trained parameters by PEFT name
    head  those that stand in the output head (the embedding's where tied), None where the head's are frozen
    """

    def __init__(self, model: Any, ids: torch.Tensor, rows: Mapping[str, nn.Parameter]) -> None:
        self.ids = ids
        self.rows = dict(rows)
        tied = model.lm_head.weight is model.model.embed_tokens.weight
        self.head = self.rows.get(EMBEDDING_ROWS if tied else HEAD_ROWS)
        self._matrices = {EMBEDDING_ROWS: model.model.embed_tokens.weight.data}
        if HEAD_ROWS in self.rows:
            self._matrices[HEAD_ROWS] = model.lm_head.weight.data
        self._original = {name: matrix[ids].clone() for name, matrix in self._matrices.items()}
        self.enabled = True
        model.model.embed_tokens.register_forward_hook(self._with_gradient)

    def write(self) -> None:
        """Put the rows in use into the matrices: the trained ones, or the model's own where switched off."""
        for name, matrix in self._matrices.items():
            rows = self.rows[name].data if self.enabled else self._original[name]
            matrix[self.ids] = rows.to(matrix.dtype)

    def _with_gradient(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], hidden: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled() or not self.enabled:
            return hidden
        scale = float(getattr(module, "embed_scale", 1.0))  # Gemma's embedding multiplies what it gives
        return _EmbeddedRows.apply(hidden, self.rows[EMBEDDING_ROWS], inputs[0], self.ids, scale)  # type: ignore[no-any-return]


class _EmbeddedRows(torch.autograd.Function):
    """Embeddings (B, T, H) as they are; backward, each row gets the sum over the places where its token stands."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor, ids: torch.Tensor, scale: float
    ) -> torch.Tensor:
        ctx.scale = scale
        ctx.save_for_backward(tokens, ids)
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        tokens, ids = ctx.saved_tensors
        stands = (tokens.reshape(1, -1) == ids[:, None]).float() * ctx.scale
        return None, stands @ grad.reshape(-1, grad.shape[-1]).float(), None, None, None


def start_rows(model: Any, ids: torch.Tensor, names: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """What new rows start from, (n, H) float32: the mean of the rows before them (Hewitt 2021)."""
    weights = {EMBEDDING_ROWS: model.model.embed_tokens.weight, HEAD_ROWS: model.lm_head.weight}
    first = int(ids.min())
    return {
        name: weights[name].detach()[:first].mean(0, dtype=torch.float32).expand(len(ids), -1).clone() for name in names
    }


def make_room(model: Any, rows: int) -> None:
    """Let embedding and head have `rows` rows and memory of their own; new rows are the mean of the others."""
    embedding, head = model.model.embed_tokens, model.lm_head
    tied = head.weight is embedding.weight
    embedding.weight = _with_rows(embedding.weight, rows)
    embedding.num_embeddings = rows
    head.weight = embedding.weight if tied else _with_rows(head.weight, rows)
    head.out_features = rows
    model.config.vocab_size = rows


def _with_rows(weight: torch.Tensor, rows: int) -> nn.Parameter:
    own = weight.detach()
    mean = own.mean(0, dtype=torch.float32).to(own.dtype).expand(rows - len(own), -1)
    return nn.Parameter(torch.cat([own, mean]), requires_grad=False)
