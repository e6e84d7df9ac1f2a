"""What the rows of a micro-batch have in common, by looking at every token."""

from __future__ import annotations

import numpy as np
import pytest

from common.data.batching import pad_batch
from common.generation.shared import LEAST_SHARED, common_beginning, join_rows
from common.types import IGNORED_LABEL, Batch, EncodedExample

PAD = 3


def examples(seed: int) -> list[EncodedExample]:
    """A few rows of few distinct tokens, padding's among them, that begin alike for a random while."""
    generator = np.random.default_rng(seed)
    beginning = generator.integers(0, 5, 40).astype(np.int32)
    found = []
    for index in range(int(generator.integers(2, 5))):
        length, alike = int(generator.integers(22, 70)), int(generator.integers(10, 40))
        tokens = generator.integers(2, 5, length).astype(np.int32)
        tokens[:alike] = beginning[:alike][:length]
        labels = np.full(length, IGNORED_LABEL, np.int32)
        trained = int(generator.integers(1, 6))
        labels[-trained:] = tokens[-trained:]
        found.append(EncodedExample(str(index), tokens, labels))
    return found


def micro_batch(rows: list[EncodedExample]) -> Batch:
    return pad_batch(rows, [np.ones(int((row.labels >= 0).sum()), np.float32) for row in rows], PAD)


def longest_common(rows: list[EncodedExample]) -> int:
    """The longest beginning that is the same in all rows and before every row's first target row."""
    shared = 0
    while all(row.tokens[shared] == rows[0].tokens[shared] and row.labels[shared + 1] < 0 for row in rows):
        shared += 1
    return shared if shared >= LEAST_SHARED else 0


@pytest.mark.parametrize("seed", range(60))
def test_joined_rows_hold_every_token_of_every_row(seed: int) -> None:
    rows = examples(seed)
    batch, shared = micro_batch(rows), longest_common(rows)
    assert common_beginning(rows) == shared
    joined = join_rows(batch)
    if joined is None:
        assert shared == 0
        return
    assert (joined.beginning.tokens, joined.beginning.rows) == (shared, len(rows))
    own = batch.tokens.shape[1] - shared
    assert joined.tokens.shape == joined.positions.shape == (1, shared + len(rows) * own)
    tokens, positions = joined.tokens[0], joined.positions[0]
    for index in range(len(rows)):
        part = slice(shared + index * own, shared + (index + 1) * own)
        np.testing.assert_array_equal(np.concatenate([tokens[:shared], tokens[part]]), batch.tokens[index])
        np.testing.assert_array_equal(np.concatenate([positions[:shared], positions[part]]), np.arange(own + shared))
    np.testing.assert_array_equal(tokens[joined.rows], batch.tokens.ravel()[batch.rows])
    np.testing.assert_array_equal(positions[joined.rows], batch.rows % batch.tokens.shape[1])
    assert (joined.rows >= shared).all()


def test_most_of_the_cases_share_something_and_some_nothing() -> None:
    shared = [longest_common(examples(seed)) > 0 for seed in range(60)]
    assert 15 < sum(shared) < 55


def test_one_row_and_none_have_nothing_in_common() -> None:
    assert join_rows(micro_batch(examples(0)[:1])) is None
    assert common_beginning([]) == 0
