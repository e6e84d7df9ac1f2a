"""Tokens added to a tokenizer: names, shapes and limits of the embedding rows that are trained with an adapter.

Stored as PEFT's `trainable_token_indices` are: the rows themselves, not differences. With an output head of its own
the model gets rows there too; where the head has a bias (Phi) it gets none, because PEFT's layer for such rows would
leave the bias out. Knows nothing of arrays on a device or of tokenizers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from common.engine import LoraSpec
from common.errors import AdapterError
from common.model.architecture import ModelShape

EMBEDDING, HEAD = "model.embed_tokens", "lm_head"
EMBEDDING_ROWS = f"base_model.model.{EMBEDDING}.token_adapter.trainable_tokens_delta"
HEAD_ROWS = f"base_model.model.{HEAD}.token_adapter.trainable_tokens_delta"
MOST_TOKENS = 4096


def has_head_rows(shape: ModelShape) -> bool:
    """Whether rows of the output head are trained beside the embedding's."""
    return not shape.tied_embeddings and not shape.head_bias


def token_row_shapes(shape: ModelShape, lora: LoraSpec) -> dict[str, tuple[int, int]]:
    """Shape (tokens, hidden) by PEFT name of what is trained for added tokens; empty where there are none.

    Raises AdapterError for token ids that leave a gap behind the vocabulary, and where a head with a bias has no
    spare rows.
    """
    if not lora.token_ids:
        return {}
    grown_shape(shape, lora)
    size = (len(lora.token_ids), shape.hidden_size)
    return {EMBEDDING_ROWS: size} | ({HEAD_ROWS: size} if has_head_rows(shape) else {})


def grown_shape(shape: ModelShape, lora: LoraSpec | None) -> ModelShape:
    """The model's shape with room for the added tokens: its own where spare rows take them all."""
    ids = lora.token_ids if lora else ()
    needed = max(ids, default=-1) + 1
    if needed <= shape.vocab_size:
        return shape
    if set(range(shape.vocab_size, needed)) - set(ids):
        raise AdapterError(
            f"the adapter trains token {needed - 1}, the model has {shape.vocab_size} rows and the adapter does not "
            "give all between; it belongs to another model"
        )
    if shape.head_bias:
        raise AdapterError(
            f"added tokens need {needed} rows, the model has {shape.vocab_size}, and a {shape.model_type} model's head "
            "cannot grow; add fewer tokens"
        )
    return dataclasses.replace(shape, vocab_size=needed)


def stored_token_ids(lora: LoraSpec, names: Mapping[str, Any]) -> dict[str, list[int]]:
    """What `trainable_token_indices` says in adapter_config.json about weights of these names."""
    layers = {"embed_tokens": EMBEDDING_ROWS, HEAD: HEAD_ROWS}
    return {layer: list(lora.token_ids) for layer, name in layers.items() if name in names}


def read_token_ids(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The token ids of `trainable_token_indices`. Raises ValueError for what is not one list of distinct ids."""
    value = config.get("trainable_token_indices")
    if not value:
        return ()
    lists = list(value.values()) if isinstance(value, dict) else [value]
    if isinstance(value, dict) and not set(value) <= {"embed_tokens", HEAD}:
        raise ValueError(f"trainable_token_indices names {', '.join(map(str, value))}, only embed_tokens and {HEAD}")
    ids = lists[0]
    if not isinstance(ids, list) or len(ids) > MOST_TOKENS or any(type(i) is not int or i < 0 for i in ids):
        raise ValueError(f"trainable_token_indices is not a list of at most {MOST_TOKENS} token ids")
    if len(set(ids)) != len(ids) or any(other != ids for other in lists[1:]):
        raise ValueError("trainable_token_indices must hold the same distinct ids for every layer")
    return tuple(ids)
