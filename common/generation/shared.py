"""What sequences that are run together have in common, so that it is run once. Knows token ids only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from common.types import IGNORED_LABEL, Batch, EncodedExample, IntArray

LEAST_SHARED = 16  # a shorter beginning is not worth a run of its own


@dataclass(frozen=True)
class Beginning:
    """The first `tokens` tokens of each of `rows` rows, where they are the same in all."""

    tokens: int
    rows: int


@dataclass(frozen=True)
class JoinedRows:
    """The rows of a micro-batch as one sequence: their common beginning once, then what is each row's own.

    Under causal attention hidden states of the beginning are the same in every row. M = P + B * (T - P), P its tokens.

    tokens     (1, M) int32, padding of the rows included
    positions  (1, M) int32, where each token stands in its row
    rows       (N,)   int32, index of each target row among the M tokens
    beginning  P and B
    """

    tokens: IntArray
    positions: IntArray
    rows: IntArray
    beginning: Beginning


def join_rows(batch: Batch) -> JoinedRows | None:
    """The micro-batch with its rows joined, or None where their common beginning is too short to count.

    No target row lies in the beginning: a hidden state there would have to predict one token for each row.
    """
    count, width = batch.tokens.shape
    if count < 2:
        return None
    room = min(int(batch.lengths.min()) - 1, int((batch.rows % width).min()))
    differs = (batch.tokens[:, :room] != batch.tokens[0, :room]).any(0)
    shared = int(differs.argmax()) if differs.any() else room
    if shared < LEAST_SHARED:
        return None
    own = np.arange(shared, width, dtype=np.int32)
    row, place = np.divmod(batch.rows, width)
    return JoinedRows(
        tokens=np.concatenate([batch.tokens[0, :shared], batch.tokens[:, shared:].ravel()])[None],
        positions=np.concatenate([np.arange(shared, dtype=np.int32), np.tile(own, count)])[None],
        rows=(shared + row * len(own) + place - shared).astype(np.int32),
        beginning=Beginning(shared, count),
    )


def common_beginning(examples: Iterable[EncodedExample]) -> int:
    """How many first tokens all training examples have in common, as `join_rows` counts them in one micro-batch."""
    first: IntArray | None = None
    for example in examples:
        before_targets = int((example.labels != IGNORED_LABEL).argmax()) - 1
        tokens = example.tokens[: max(0, before_targets)]
        if first is None:
            first = tokens
            continue
        room = min(len(first), len(tokens))
        differs = first[:room] != tokens[:room]
        first = first[: int(differs.argmax()) if differs.any() else room]
        if len(first) < LEAST_SHARED:
            return 0
    return 0 if first is None or len(first) < LEAST_SHARED else len(first)


def distinct_prompts(prompts: Sequence[Sequence[int]]) -> tuple[list[Sequence[int]], list[int]]:
    """The prompts without repetitions, in order, and for each prompt the place of its equal among them."""
    places: dict[tuple[int, ...], int] = {}
    index = [places.setdefault(tuple(prompt), len(places)) for prompt in prompts]
    return list(places), index


def shared_beginning(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all prompts have in common, at least one being left to each; 0 where too few to count."""
    if len(prompts) < 2:
        return 0
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))  # all others lie between these two in order
    room = min(len(prompt) for prompt in prompts) - 1
    shared = next((place for place in range(room) if first[place] != last[place]), room)
    return shared if shared >= LEAST_SHARED else 0
