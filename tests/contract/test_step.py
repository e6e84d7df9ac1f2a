"""An optimizer step means the same on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.data.batching import BoundaryLoss
from common.engine import Engine, GenerationSpec, LoraSpec, OptimizerSpec
from common.errors import CheckpointError, EngineError, NonFiniteError
from common.model.adapter import initial_adapter
from common.model.architecture import read_shape
from tests.contract.cases import (
    LORA,
    ModelDir,
    dev_batches,
    largest_difference,
    random_adapter,
    random_examples,
    same_bits,
    step_batches,
)

Build = Callable[..., Engine]
WITH_DROPOUT = replace(LORA, dropout=0.2)


def test_training_starts_from_the_values_drawn_in_common(build: Build, tiny_model: ModelDir) -> None:
    assert same_bits(build().adapter(), initial_adapter(read_shape(tiny_model("qwen2")), LORA))


def test_trainable_parameters_are_counted_exactly(build: Build) -> None:
    engine = build("phi", lora=LoraSpec(rank=4, target_modules=("q_proj", "dense", "fc1")))
    # per layer: q 4*(64+64), dense 4*(64+64), fc1 4*(64+128); 2 layers (sizes in tests/tiny_models.py)
    assert engine.trainable_parameters == 2 * 4 * (128 + 128 + 192)
    assert engine.trainable_parameters == sum(value.size for value in engine.adapter().values())


def test_only_the_last_layers_are_adapted_when_asked(build: Build) -> None:
    names = build(lora=replace(LORA, layers=1)).adapter()
    assert names
    assert all(".layers.1." in name for name in names)


def test_the_way_a_step_is_split_does_not_change_the_update(build: Build) -> None:
    examples = random_examples()
    adapters = {}
    for budget in (4096, 160, 1):
        engine = build()
        engine.load_adapter(random_adapter(engine))
        batches = step_batches(examples, budget)
        stats = engine.step(batches, 1e-3)
        adapters[len(batches)] = engine.adapter()
        assert stats.target_tokens == sum(int((item.labels != -100).sum()) for item in examples)
    whole, *others = [adapters[count] for count in sorted(adapters)]
    assert len(others) == 2, "the three budgets must give three different splits"
    assert largest_difference(whole, random_adapter(build())) > 5e-4  # Adam's first step moves by about the rate
    for other in others:
        assert largest_difference(whole, other) < 2e-5


def test_the_first_update_is_adamw_with_bias_correction_decay_and_clipping(build: Build) -> None:
    rate, decay, epsilon, largest_norm = 1e-2, 0.1, 1e-3, 0.5
    engine = build(optimizer=OptimizerSpec(epsilon=epsilon, weight_decay=decay, max_grad_norm=largest_norm))
    start = random_adapter(engine)
    engine.load_adapter(start)
    batches = step_batches(random_examples())
    gradients = engine.gradients(batches)
    norm = float(np.sqrt(sum((value.astype(np.float64) ** 2).sum() for value in gradients.values())))
    assert norm > 2 * largest_norm, "clipping must matter"

    stats = engine.step(batches, rate)

    assert stats.grad_norm == pytest.approx(norm, rel=1e-4)
    after = engine.adapter()
    for name, gradient in gradients.items():
        clipped = gradient.astype(np.float64) * largest_norm / norm
        # corrected for bias, the first moments are g and g*g (Kingma and Ba 2015)
        expected = start[name] * (1 - rate * decay) - rate * clipped / (np.abs(clipped) + epsilon)
        np.testing.assert_allclose(after[name], expected, atol=2e-5)


def test_weights_in_the_batch_weigh_the_gradient_and_not_the_logged_loss(build: Build) -> None:
    engine = build()
    engine.load_adapter(random_adapter(engine))
    (plain,) = step_batches(random_examples())
    (boundary,) = step_batches(random_examples(), boundary=BoundaryLoss(weight=0.5))
    extra = replace(plain, weights=boundary.weights - plain.weights)
    assert np.abs(extra.weights).max() > 0.01

    parts = [engine.gradients([batch]) for batch in (plain, extra, boundary)]

    summed = {name: parts[0][name] + parts[1][name] for name in parts[0]}
    assert largest_difference(parts[2], summed) < 1e-5
    assert largest_difference(parts[2], parts[0]) > 1e-3
    plain_loss = engine.step([plain], 0.0).loss_sum
    assert engine.step([boundary], 0.0).loss_sum == pytest.approx(plain_loss, rel=1e-5)
    assert engine.evaluate([boundary]).loss_sum == pytest.approx(plain_loss, rel=1e-5)


def test_rows_of_weight_zero_count_for_nothing(build: Build) -> None:
    engine = build()
    engine.load_adapter(random_adapter(engine))
    (batch,) = step_batches(random_examples(6))
    kept = np.flatnonzero(batch.weights)
    assert len(kept) < len(batch.weights), "the case needs rows that only keep the shape"
    short = replace(batch, rows=batch.rows[kept], targets=batch.targets[kept], weights=batch.weights[kept])

    assert largest_difference(engine.gradients([batch]), engine.gradients([short])) < 1e-6
    assert engine.evaluate([batch]).loss == pytest.approx(engine.evaluate([short]).loss, rel=1e-6)


def test_gradient_checkpointing_changes_no_update_even_with_dropout(build: Build) -> None:
    adapters = []
    for checkpointing in (False, True):
        engine = build(lora=WITH_DROPOUT, gradient_checkpointing=checkpointing)
        engine.load_adapter(random_adapter(engine))
        engine.step(step_batches(random_examples()), 1e-3)
        adapters.append(engine.adapter())
    assert largest_difference(*adapters) < 1e-6
    without = build()
    without.load_adapter(random_adapter(without))
    without.step(step_batches(random_examples()), 1e-3)
    assert largest_difference(adapters[0], without.adapter()) > 1e-4, "dropout must matter"


def test_dropout_is_off_outside_steps(build: Build) -> None:
    dropped, plain = build(lora=WITH_DROPOUT), build()
    for engine in (dropped, plain):
        engine.load_adapter(random_adapter(engine))
    batches = step_batches(random_examples())
    assert dropped.evaluate(batches).loss == plain.evaluate(batches).loss
    assert same_bits(dropped.gradients(batches), plain.gradients(batches))
    assert dropped.step(batches, 0.0).loss_sum != plain.step(batches, 0.0).loss_sum


def test_what_a_step_drops_is_a_function_of_seed_step_and_rank_alone(build: Build) -> None:
    batches = step_batches(random_examples())

    def losses(seed: int = 0, rank: int = 0, work_between: bool = False) -> list[float]:
        engine = build(lora=WITH_DROPOUT, seed=seed)
        engine.load_adapter(random_adapter(engine))
        engine.rank = rank
        found = []
        for _ in range(2):
            found.append(engine.step(batches, 0.0).loss_sum)
            if work_between:
                engine.evaluate(batches)
                engine.generate([[1, 2, 3]], GenerationSpec(max_new_tokens=2, temperature=1.0))
        return found

    first, second = losses()
    assert losses(work_between=True) == [first, second]
    assert len({first, second, *losses(seed=1), *losses(rank=1)}) == 6


def test_steps_lower_the_loss(build: Build) -> None:
    engine = build()
    batches = step_batches(random_examples())
    before = engine.evaluate(dev_batches(random_examples())).loss
    for _ in range(5):
        engine.step(batches, 1e-2)
    assert engine.evaluate(dev_batches(random_examples())).loss < 0.7 * before


def test_saved_and_restored_continues_bit_for_bit(build: Build, tmp_path: Path) -> None:
    steps = [step_batches(random_examples(seed=seed), 160) for seed in range(4)]
    whole = build(lora=WITH_DROPOUT)
    for index, batches in enumerate(steps):
        if index == 2:
            whole.save(tmp_path)
            halfway = whole.adapter()
        whole.step(batches, 1e-2)

    resumed, forgetful = build(lora=WITH_DROPOUT), build(lora=WITH_DROPOUT)
    for engine in (resumed, forgetful):
        engine.load_adapter(halfway)
    resumed.restore(tmp_path)
    resumed.generate([[1, 2, 3]], GenerationSpec(max_new_tokens=4))  # what happens between steps must not disturb them
    for batches in steps[2:]:
        resumed.step(batches, 1e-2)
        forgetful.step(batches, 1e-2)

    assert same_bits(resumed.adapter(), whole.adapter())
    assert not same_bits(forgetful.adapter(), whole.adapter())


def test_restoring_from_nothing_or_from_another_adapter_is_an_error(build: Build, tmp_path: Path) -> None:
    engine = build()
    with pytest.raises(CheckpointError, match="missing"):
        engine.restore(tmp_path)
    engine.step(step_batches(random_examples()), 1e-3)
    engine.save(tmp_path)
    with pytest.raises(CheckpointError):
        build(lora=replace(LORA, rank=8)).restore(tmp_path)


def test_a_non_finite_loss_raises_before_anything_changes(build: Build) -> None:
    spoiled, clean = build(), build()
    (batch,) = step_batches(random_examples())
    before = spoiled.adapter()
    for value in (np.nan, np.inf):
        weights = batch.weights.copy()
        weights[0] = value
        with pytest.raises(NonFiniteError, match=r"example-\d"):
            spoiled.step([replace(batch, weights=weights)], 1e-3)
    assert same_bits(spoiled.adapter(), before)

    for engine in (spoiled, clean):
        engine.step([batch], 1e-3)
    assert same_bits(spoiled.adapter(), clean.adapter())
    assert not same_bits(clean.adapter(), before)


def test_an_engine_without_an_adapter_does_not_train(build: Build) -> None:
    engine = build(lora=None)
    assert engine.trainable_parameters == 0
    assert engine.adapter() == {}
    with pytest.raises(EngineError, match="adapter"):
        engine.step(step_batches(random_examples()), 1e-3)
