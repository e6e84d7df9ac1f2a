"""From encoded examples to optimizer steps and micro-batches.

The order is a pure function of (data, seed, epoch, effective batch): large windows sorted by length are cut into
steps, the steps shuffled; only then is a step split into micro-batches by a token budget and among ranks. Weights
are computed over the whole step before it is split, so that neither split changes the update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.data.token_store import TokenStore
from common.types import IGNORED_LABEL, Batch, EncodedExample, FloatArray

WINDOW_STEPS = 64  # steps in one length-sorted window: lengths inside a step are then nearly equal
MAX_PADDING = 1.08  # a micro-batch is closed when its longest row would exceed its shortest by more


@dataclass(frozen=True)
class BoundaryLoss:
    """The boundary term: weights b_i = 1 + (position_weight - 1)(1 - i/window) on the first `window` targets."""

    weight: float = 0.0
    position_weight: float = 2.0
    window: int = 4


def plan_epoch(
    encoded: Sequence[EncodedExample], batch_size: int, seed: int, epoch: int, batch_target_tokens: int = 0
) -> list[list[int]]:
    """Indices of each optimizer step's examples, every example once.

    With `batch_target_tokens` a step holds as many examples (in order of length) as reach that many target tokens.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(len(encoded))
    lengths = token_counts(encoded)
    window = batch_size * WINDOW_STEPS
    steps: list[list[int]] = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        if batch_target_tokens:
            steps += _cut_by_targets(part, encoded, batch_target_tokens)
        else:
            steps += [part[i : i + batch_size].tolist() for i in range(0, len(part), batch_size)]
    return [steps[i] for i in generator.permutation(len(steps))]


def token_counts(encoded: Sequence[EncodedExample]) -> np.ndarray:
    """Tokens of each example, (examples,) int64; a set on disk knows them without opening its examples."""
    if isinstance(encoded, TokenStore):
        return encoded.lengths
    return np.array([len(item) for item in encoded], dtype=np.int64)


def _cut_by_targets(part: np.ndarray, encoded: Sequence[EncodedExample], budget: int) -> list[list[int]]:
    steps: list[list[int]] = [[]]
    filled = 0
    for index in part.tolist():
        if filled >= budget:
            steps.append([])
            filled = 0
        steps[-1].append(index)
        filled += int((encoded[index].labels != IGNORED_LABEL).sum())
    return steps


def build_step(
    examples: Sequence[EncodedExample],
    micro_batch_tokens: int,
    pad_id: int,
    boundary: BoundaryLoss | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> list[Batch]:
    """The micro-batches of one optimizer step that belong to this rank (may be none on a rank of a tiny step)."""
    weights = step_weights(examples, boundary or BoundaryLoss())
    budget = micro_batch_tokens
    if world_size > 1:
        share = -(-sum(len(item) for item in examples) // world_size)
        budget = min(budget, max(share, max(len(item) for item in examples)))
    mine = split_by_prompt(examples, budget)[rank::world_size]
    return [pad_batch([examples[i] for i in group], [weights[i] for i in group], pad_id) for group in mine]


def evaluation_batches(encoded: Sequence[EncodedExample], batch_tokens: int, pad_id: int) -> list[Batch]:
    """Batches in order of length, those with one prompt first, with weight 1 for every target token."""
    groups = split_by_prompt(encoded, batch_tokens)
    ones = [np.ones(int((item.labels != IGNORED_LABEL).sum()), np.float32) for item in encoded]
    return [pad_batch([encoded[i] for i in group], [ones[i] for i in group], pad_id) for group in groups]


def step_weights(examples: Sequence[EncodedExample], boundary: BoundaryLoss) -> list[FloatArray]:
    """Weight of each target token's negative log-likelihood, over a whole step: 1/T plus the boundary term."""
    counts = [int((item.labels != IGNORED_LABEL).sum()) for item in examples]
    total = sum(counts)
    weights = [np.full(count, 1.0 / total, dtype=np.float64) for count in counts]
    if boundary.weight:
        ramp = 1.0 + (boundary.position_weight - 1.0) * (1.0 - np.arange(boundary.window) / boundary.window)
        mass = sum(float(ramp[:count].sum()) for count in counts)
        for weight, count in zip(weights, counts, strict=True):
            first = min(count, boundary.window)
            weight[:first] += boundary.weight * ramp[:first] / mass
    return [weight.astype(np.float32) for weight in weights]


def split_by_prompt(examples: Sequence[EncodedExample], budget: int) -> list[list[int]]:
    """`split_by_tokens`, where examples with one prompt (several summaries of a document) have groups of their own.

    Their prompt is then a common beginning, which engines run once.
    """
    by_prompt: dict[bytes, list[int]] = {}
    for index, example in enumerate(examples):
        before = int((example.labels != IGNORED_LABEL).argmax())
        by_prompt.setdefault(example.tokens[:before].tobytes(), []).append(index)
    together = [indices for indices in by_prompt.values() if len(indices) > 1]
    alone = [indices[0] for indices in by_prompt.values() if len(indices) == 1]
    return [
        [indices[place] for place in group]
        for indices in (*together, alone)
        for group in split_by_tokens([len(examples[index]) for index in indices], budget)
    ]


def split_by_tokens(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group indices in order of length so that rows x padded length stays within `budget` and little is padding.

    A single row longer than the budget is a group of its own.
    """
    groups: list[list[int]] = []
    for index in np.argsort(np.asarray(lengths), kind="stable").tolist():
        length = pad_length(lengths[index])
        if groups:
            shortest = pad_length(lengths[groups[-1][0]])
            fits = (len(groups[-1]) + 1) * length <= budget
            if fits and length <= max(shortest * MAX_PADDING, shortest + 16):
                groups[-1].append(index)
                continue
        groups.append([index])
    return groups


def pad_length(length: int) -> int:
    """Round a length up so that few distinct ones occur: to 8, above 512 to 16, above 1024 to 32, and so on."""
    grain = 8
    while length > 64 * grain:
        grain *= 2
    return -(-length // grain) * grain


def pad_batch(examples: Sequence[EncodedExample], weights: Sequence[FloatArray], pad_id: int) -> Batch:
    """Right-pad rows of a micro-batch and list the positions whose next token is a target.

    `weights[i]` has one entry for each target of row i, in order. The first token is never a target.
    """
    lengths = np.array([len(item) for item in examples], dtype=np.int32)
    width = pad_length(int(lengths.max()))
    tokens = np.full((len(examples), width), pad_id, dtype=np.int32)
    rows, targets = [], []
    for row, item in enumerate(examples):
        tokens[row, : len(item)] = item.tokens
        positions = np.flatnonzero(item.labels != IGNORED_LABEL)
        rows.append(row * width + positions - 1)
        targets.append(item.labels[positions])
    flat_rows, flat_targets = np.concatenate(rows), np.concatenate(targets)
    flat_weights = np.concatenate(list(weights))
    extra = pad_length(len(flat_rows)) - len(flat_rows)
    return Batch(
        tokens=tokens,
        lengths=lengths,
        rows=np.concatenate([flat_rows, np.full(extra, flat_rows[-1])]).astype(np.int32),
        targets=np.concatenate([flat_targets, np.full(extra, flat_targets[-1])]).astype(np.int32),
        weights=np.concatenate([flat_weights, np.zeros(extra)]).astype(np.float32),
        ids=tuple(item.id for item in examples),
    )


def sequence_rows(batch: Batch) -> NDArray[np.int64]:
    """Which sequence of the micro-batch each target row belongs to, shape (N,)."""
    return batch.rows.astype(np.int64) // batch.tokens.shape[1]
