"""Intervals cover what they promise, p values are uniform under no difference, and words follow the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from common.errors import DataError
from common.metrics import bootstrap
from common.metrics.bootstrap import (
    bootstrap_interval,
    bootstrap_intervals,
    minimum_detectable_difference,
    outcome,
    paired_difference,
    student_quantile,
)


@pytest.mark.parametrize("examples", [40, 150])
@pytest.mark.parametrize("shape", ["skewed", "piled up at zero", "symmetric"])
def test_a_nominal_95_percent_interval_covers_the_mean_in_92_to_97_percent_of_samples(
    shape: str, examples: int
) -> None:
    generator = np.random.default_rng(5)
    # Means: of a gamma(1.5, 10), of max(0, normal(5, 12)) = 12 phi(5/12) + 5 Phi(5/12), and of a normal(30, 12).
    means = {"skewed": 15.0, "piled up at zero": 12 * 0.36578 + 5 * 0.66154, "symmetric": 30.0}
    draws = {
        "skewed": lambda: generator.gamma(1.5, 10, examples),
        "piled up at zero": lambda: np.maximum(0, generator.normal(5, 12, examples)),
        "symmetric": lambda: generator.normal(30, 12, examples),
    }
    intervals = [bootstrap_interval(draws[shape](), resamples=600, seed=seed) for seed in range(700)]
    coverage = np.mean([interval.low <= means[shape] <= interval.high for interval in intervals])
    assert 0.92 <= coverage <= 0.97


def test_a_sample_that_is_not_skewed_gets_nearly_the_classical_interval() -> None:
    values = np.random.default_rng(0).normal(50, 10, 400)
    interval = bootstrap_interval(values, resamples=4000)
    half = 1.966 * values.std(ddof=1) / math.sqrt(400)  # Student's t, 399 degrees of freedom
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.05)


def test_a_skewed_sample_gets_an_interval_that_reaches_further_to_the_long_side() -> None:
    interval = bootstrap_interval(np.random.default_rng(0).gamma(0.5, 20, 80))
    assert interval.high - interval.mean > 1.15 * (interval.mean - interval.low)


def test_the_same_seed_gives_the_same_interval_and_measures_share_resamples() -> None:
    values = np.random.default_rng(1).normal(size=50)
    together = bootstrap_intervals({"one": values, "two": 2 * values}, seed=3)
    assert together == bootstrap_intervals({"one": values, "two": 2 * values}, seed=3)
    assert together["one"].low == pytest.approx(bootstrap_interval(values, seed=3).low)
    assert together["two"].low == pytest.approx(2 * together["one"].low)
    assert bootstrap_interval(values, seed=4).low != pytest.approx(together["one"].low)


def test_chunked_resampling_equals_resampling_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=50)
    whole = bootstrap_interval(values)
    monkeypatch.setattr(bootstrap, "CELLS_AT_ONCE", 1000)
    parts = bootstrap_interval(values)
    assert parts.low == pytest.approx(whole.low)
    assert parts.high == pytest.approx(whole.high)


@pytest.mark.parametrize("values", [[7.0], [7.0, 7.0, 7.0], [0.1 + 0.2, 0.3]])
def test_values_that_do_not_vary_give_an_interval_without_width(values: list[float]) -> None:
    interval = bootstrap_interval(values)
    assert interval.high - interval.low == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"rouge1": []}, "no examples"),
        ({}, "no examples"),
        ({"rouge1": [1.0], "rouge2": [1.0, 2.0]}, "rouge1 1, rouge2 2"),
        ({"rouge1": [1.0, math.nan]}, "rouge1: 1 scores are not finite"),
    ],
)
def test_scores_without_a_mean_are_refused(scores: dict[str, list[float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        bootstrap_intervals(scores)


def test_the_p_value_of_a_small_case_equals_the_count_of_all_sign_flips() -> None:
    """Differences 1, 2, 3, 4: of the 16 sign patterns 2 reach |10|, so p is 2/16."""
    difference = paired_difference([1.0, 2, 3, 4], [0.0, 0, 0, 0], flips=40_000)
    assert difference.mean == 2.5
    assert difference.p_value == pytest.approx(2 / 16, abs=0.005)


def test_p_values_are_uniform_where_there_is_no_difference() -> None:
    generator = np.random.default_rng(2)
    values = [
        paired_difference(generator.normal(size=30), generator.normal(size=30), resamples=10, flips=400).p_value
        for _ in range(400)
    ]
    assert np.mean(np.array(values) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)


def test_pairing_finds_a_difference_that_the_two_intervals_hide() -> None:
    generator = np.random.default_rng(3)
    theirs = generator.normal(30, 15, 200)
    ours = theirs + generator.normal(1, 2, 200)
    assert bootstrap_interval(ours).low < bootstrap_interval(theirs).high
    difference = paired_difference(ours, theirs)
    assert difference.low > 0
    assert difference.p_value < 0.001
    assert paired_difference(theirs, ours).mean == pytest.approx(-difference.mean)


def test_the_detectable_difference_is_found_with_the_stated_power() -> None:
    generator = np.random.default_rng(4)
    assert minimum_detectable_difference(np.array([-10.0, 10.0] * 50)) == pytest.approx(2.8016 * 10.0504 / 10, rel=1e-3)
    effect = 2.8016 * 10 / math.sqrt(100)
    found = [
        paired_difference(generator.normal(effect, 10, 100), np.zeros(100), resamples=400, flips=10).low > 0
        for _ in range(500)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
    assert minimum_detectable_difference([1.0]) == math.inf


@pytest.mark.parametrize("examples", [3, 4, 6, 7])
def test_the_interval_of_a_few_examples_covers_the_mean_of_a_normal_sample_as_promised(examples: int) -> None:
    generator = np.random.default_rng(8)
    intervals = [bootstrap_interval(generator.normal(30, 12, examples)) for _ in range(2000)]
    assert 0.93 <= np.mean([interval.low <= 30 <= interval.high for interval in intervals]) <= 0.97


def test_students_quantiles_are_those_of_the_tables() -> None:
    for freedom, wanted in ((1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (30, 2.042)):
        assert student_quantile(0.975, freedom) == pytest.approx(wanted, rel=2e-3)


def test_a_difference_counts_by_its_interval_and_its_p_value() -> None:
    assert outcome(6.9, 9.4, 0.0001) == "better"
    assert outcome(-3.1, -0.9, 0.001) == "worse"
    assert outcome(-0.5, 1.1, 0.4) == "unclear"
    assert outcome(4.0, 55.4, 0.25) == "unclear", "what three examples say is not enough"
    assert outcome(1.0, 2.0, None) == "better"
    five = paired_difference([30.0, 31.0, 29.0, 33.0, 32.0], [20.0] * 5)
    assert five.low > 0
    assert outcome(five.low, five.high, five.p_value) == "unclear"
