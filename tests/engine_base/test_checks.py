"""Hand-worked cases of what both engines check and count alike."""

import pytest

from common.engine_base.checks import check_finite, clip_factor, dropout_seed, require_built, require_enabled
from common.errors import AdapterError, EngineError, NonFiniteError
from tests.contract.cases import random_examples, step_batches


def test_clipping_leaves_small_gradients_alone_and_zero_switches_it_off():
    assert clip_factor(0.5, 1.0) == 1.0
    assert clip_factor(4.0, 1.0) == pytest.approx(0.25, rel=1e-6)
    assert clip_factor(4.0, 0.0) == 1.0


def test_a_loss_or_a_norm_that_is_not_finite_names_the_examples_of_its_step():
    batches = step_batches(random_examples(2))
    check_finite(1.0, 2.0, batches)
    for loss, norm in ((float("nan"), 1.0), (1.0, float("inf"))):
        with pytest.raises(NonFiniteError, match=r"example-., example-.; the weights are unchanged"):
            check_finite(loss, norm, batches)
    with pytest.raises(NonFiniteError, match="no examples"):
        check_finite(float("nan"), 1.0, [])


def test_an_adapter_that_is_missing_or_switched_off_is_told_apart():
    assert require_enabled("adapter", True, "a step") == require_built("adapter") == "adapter"
    with pytest.raises(EngineError, match="a step needs the adapter, which is switched off"):
        require_enabled("adapter", False, "a step")
    with pytest.raises(EngineError, match="a step needs the adapter, which was not built"):
        require_enabled(None, True, "a step")
    with pytest.raises(AdapterError, match="without an adapter"):
        require_built(None)


def test_each_seed_step_and_rank_draws_numbers_of_its_own():
    seeds = {dropout_seed(seed, step, rank) for seed in range(5) for step in range(5) for rank in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert dropout_seed(1, 2, 3) == 12997252459554536576
