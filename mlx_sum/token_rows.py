"""Embedding and head rows of added tokens, trained with the adapter.

The frozen matrices stay as they are; results for added tokens are replaced after them. Knows nothing of adapters,
losses or optimizers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from common.errors import AdapterError
from common.model.token_rows import EMBEDDING_ROWS, HEAD_ROWS

Head = Callable[[mx.array], mx.array]


class TokenRows(nn.Module):
    """A model's embedding with trained rows (n, H), float32, in place of its own for the tokens `ids` (n,).

    Put where the embedding was. `head` is the rows that stand in the output head (the embedding's where tied), None
    where the head's are frozen. Inactive, it is the embedding and nothing else.
    """

    def __init__(self, model: Any, ids: mx.array, tied: bool) -> None:
        super().__init__()
        self.base = model.model.embed_tokens
        self._ids = ids
        self._head_name = EMBEDDING_ROWS if tied else HEAD_ROWS
        self._rows: dict[str, mx.array] = {}
        self.active = True
        model.model.embed_tokens = self

    def __call__(self, tokens: mx.array) -> mx.array:
        """(B, T) -> (B, T, H) in the embedding's dtype."""
        hidden: mx.array = self.base(tokens)
        if not self.active:
            return hidden
        stands = tokens[..., None] == self._ids
        replaced = stands.astype(hidden.dtype) @ self._rows[EMBEDDING_ROWS].astype(hidden.dtype)
        return mx.where(stands.any(axis=-1, keepdims=True), replaced, hidden)

    def bind(self, weights: Mapping[str, mx.array]) -> None:
        """Compute with these rows, by PEFT name, from now on."""
        self._rows = {name: weights[name] for name in (EMBEDDING_ROWS, HEAD_ROWS) if name in weights}

    @property
    def ids(self) -> mx.array:
        return self._ids

    @property
    def head(self) -> mx.array | None:
        return self._rows.get(self._head_name) if self.active else None


def head_with_rows(head: Head, rows: mx.array | None, ids: mx.array | None) -> Head:
    """The output head (..., H) -> (..., V) with the logits of the tokens `ids` (n,) from `rows` (n, H)."""
    if rows is None or ids is None:
        return head

    def replaced(hidden: mx.array) -> mx.array:
        logits = head(hidden)
        own = hidden @ rows.astype(hidden.dtype).T
        return mx.put_along_axis(logits, mx.broadcast_to(ids, own.shape), own.astype(logits.dtype), axis=-1)

    return replaced


def start_rows(model: Any, ids: mx.array, names: Mapping[str, Any]) -> dict[str, mx.array]:
    """What new rows start from, (n, H) float32: the mean of the rows before them (Hewitt 2021).

    Raises AdapterError where embedding or head are quantized.
    """
    first, found = int(np.array(ids.min())), {}
    for name in names:
        module = model.model.embed_tokens if name == EMBEDDING_ROWS else model.lm_head
        mean = _plain(module).weight[:first].astype(mx.float32).mean(axis=0)
        found[name] = mx.repeat(mean[None], ids.size, axis=0)
    return found


def make_room(model: Any, rows: int) -> None:
    """Let embedding and head have `rows` rows; new rows are the mean of the others."""
    for module in (model.model.embed_tokens, *((model.lm_head,) if "lm_head" in model else ())):
        own = _plain(module).weight
        missing = rows - own.shape[0]
        if missing > 0:
            mean = own.astype(mx.float32).mean(axis=0).astype(own.dtype)
            module.weight = mx.concatenate([own, mx.repeat(mean[None], missing, axis=0)])
            mx.eval(module.weight)


def _plain(module: Any) -> Any:
    if not isinstance(module, nn.Embedding | nn.Linear):
        raise AdapterError(
            "added tokens need an embedding and a head in 16 bit, and this model's are quantized; use the model that "
            "it was quantized from"
        )
    return module
