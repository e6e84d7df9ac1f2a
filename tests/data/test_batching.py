"""Order, micro-batches and weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.batching import (
    BoundaryLoss,
    build_step,
    pad_length,
    plan_epoch,
    split_by_prompt,
    split_by_tokens,
    step_weights,
)
from common.generation.shared import join_rows
from common.types import IGNORED_LABEL, EncodedExample


def example(index: int, prompt: int, summary: int) -> EncodedExample:
    tokens = np.arange(1, prompt + summary + 1, dtype=np.int32) + 1000 * index
    labels = tokens.copy()
    labels[:prompt] = IGNORED_LABEL
    return EncodedExample(f"e{index}", tokens, labels)


def random_examples(count: int, seed: int = 0) -> list[EncodedExample]:
    generator = np.random.default_rng(seed)
    lengths = np.clip(generator.lognormal(5.0, 0.6, count), 20, 900).astype(int)
    return [example(i, int(length), int(generator.integers(5, 40))) for i, length in enumerate(lengths)]


def test_every_example_is_seen_exactly_once_in_an_epoch():
    encoded = random_examples(213)
    steps = plan_epoch(encoded, 16, seed=3, epoch=1)
    assert sorted(i for step in steps for i in step) == list(range(213))
    assert max(len(step) for step in steps) == 16


def test_order_depends_on_seed_and_epoch_and_on_nothing_else():
    encoded = random_examples(100)
    assert plan_epoch(encoded, 8, 1, 0) == plan_epoch(encoded, 8, 1, 0)
    assert plan_epoch(encoded, 8, 1, 0) != plan_epoch(encoded, 8, 1, 1)
    assert plan_epoch(encoded, 8, 1, 0) != plan_epoch(encoded, 8, 2, 0)


def test_a_step_by_target_tokens_reaches_its_budget_and_not_one_example_more():
    encoded = random_examples(200)
    targets = [int((item.labels != IGNORED_LABEL).sum()) for item in encoded]
    steps = plan_epoch(encoded, 16, 0, 0, batch_target_tokens=120)
    assert sorted(i for step in steps for i in step) == list(range(200))
    full = [step for step in steps if sum(targets[i] for i in step) >= 120]
    assert len(full) >= len(steps) - 1
    assert all(sum(targets[i] for i in step[:-1]) < 120 for step in steps)


@given(st.lists(st.integers(2, 3000), min_size=1, max_size=60), st.integers(64, 8192))
@settings(max_examples=200, deadline=None)
def test_micro_batches_hold_every_row_once_within_the_token_budget(lengths, budget):
    groups = split_by_tokens(lengths, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        size = len(group) * pad_length(max(lengths[i] for i in group))
        assert size <= budget or len(group) == 1


def test_summaries_of_one_document_share_a_micro_batch_whose_prompt_runs_once():
    several = [example(7, 100, summary) for summary in (5, 9, 7)]
    others = random_examples(6)
    mixed = [others[0], several[0], *others[1:4], several[1], *others[4:], several[2]]
    groups = split_by_prompt(mixed, 4096)
    assert sorted(i for group in groups for i in group) == list(range(9))
    assert sorted(groups[0]) == [1, 5, 8]
    batch = build_step(mixed, 4096, 0)[0]
    joined = join_rows(batch)
    assert joined is not None
    assert joined.beginning.tokens == 99  # all but the token that predicts the first target
    assert joined.tokens.size == 99 + 3 * (pad_length(109) - 99)
    assert split_by_prompt(others, 1024) == split_by_tokens([len(item) for item in others], 1024)
    assert len(split_by_prompt(mixed, 250)) > len(groups)


def test_splitting_a_step_changes_no_weight_and_no_target():
    examples = random_examples(16)
    boundary = BoundaryLoss(0.1, 2.0, 4)

    def pairs(batches):
        found = []
        for batch in batches:
            flat = batch.tokens.reshape(-1)
            for row, target, weight in zip(batch.rows, batch.targets, batch.weights, strict=True):
                if weight:
                    found.append((int(flat[row]), int(target), float(weight)))
        return sorted(found)

    whole = pairs(build_step(examples, 1 << 20, 0, boundary))
    small = pairs(build_step(examples, 1024, 0, boundary))
    ranks = pairs(build_step(examples, 4096, 0, boundary, 0, 2) + build_step(examples, 4096, 0, boundary, 1, 2))
    assert whole == small == ranks
    assert all(target == token + 1 for token, target, _ in whole)


def test_padding_is_never_a_target_and_weightless_rows_point_into_the_batch():
    for batch in build_step(random_examples(16), 4096, pad_id=7):
        real = batch.weights > 0
        position = batch.rows % batch.tokens.shape[1]
        row = batch.rows // batch.tokens.shape[1]
        assert (position[real] + 1 < batch.lengths[row[real]]).all()
        assert batch.rows.max() < batch.tokens.size
        assert not batch.weights[~real].any()
        assert len(batch.rows) % 8 == 0


def test_plain_weights_are_one_over_all_target_tokens_of_the_step():
    weights = step_weights([example(0, 5, 3), example(1, 9, 5)], BoundaryLoss())
    assert [len(w) for w in weights] == [3, 5]
    assert np.concatenate(weights) == pytest.approx(np.full(8, 1 / 8))


def test_boundary_weights_equal_the_formula_worked_by_hand():
    # Targets 3 and 5, window 4, first weight 2: b = 2, 1.75, 1.5, 1.25; first row 5.25, second 6.5, in all 11.75.
    weights = step_weights([example(0, 5, 3), example(1, 9, 5)], BoundaryLoss(0.1, 2.0, 4))
    mean, b = 1 / 8, 0.1 / 11.75
    assert weights[0] == pytest.approx([mean + 2 * b, mean + 1.75 * b, mean + 1.5 * b])
    assert weights[1] == pytest.approx([mean + 2 * b, mean + 1.75 * b, mean + 1.5 * b, mean + 1.25 * b, mean])
    assert sum(w.sum() for w in weights) == pytest.approx(1.1)


def test_at_least_95_percent_of_the_tokens_are_useful_on_lengths_like_real_data():
    encoded = random_examples(2000)
    batches = [
        batch for step in plan_epoch(encoded, 16, 0, 0) for batch in build_step([encoded[i] for i in step], 4096, 0)
    ]
    assert sum(batch.real_tokens for batch in batches) / sum(batch.tokens.size for batch in batches) >= 0.95
    unsorted = [b for i in range(0, 2000, 16) for b in [np.max([len(e) for e in encoded[i : i + 16]]) * 16]]
    assert sum(len(item) for item in encoded) / sum(unsorted) < 0.75  # what the order is for


def test_few_distinct_widths_occur():
    assert len({pad_length(n) for n in range(1, 2049)}) <= 130
    assert all(n <= pad_length(n) <= max(n * 1.06, n + 8) for n in range(1, 4097))
