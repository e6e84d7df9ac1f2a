"""Projection of losses to sizes that were not tried: laws it must obey, and curves whose truth is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from common.budget.learning_curve import advice, fit
from common.errors import DataError

SIZES = [200 * 2**k for k in range(8)]


def rectified(size, gain=8.0, beta=0.3, onset=400.0, floor=1.2):
    """The law of Lin et al. 2024 with D_l = onset ** beta."""
    return gain / (onset**beta + size**beta) + floor


@pytest.mark.parametrize("beta", [0.15, 0.3])
def test_a_curve_that_follows_the_law_is_projected_sixteen_times_further(beta):
    projected = fit(SIZES, [rectified(n, beta=beta) for n in SIZES]).project(16 * SIZES[-1])
    truth = rectified(16 * SIZES[-1], beta=beta)
    assert projected.loss == pytest.approx(truth, rel=0.05)
    assert projected.low < truth < projected.high


def test_a_plain_power_law_is_a_member_of_the_family():
    losses = [rectified(n, onset=0.0) for n in SIZES]
    assert fit(SIZES, losses).project(16 * SIZES[-1]).loss == pytest.approx(
        rectified(16 * SIZES[-1], onset=0.0), rel=0.03
    )


def test_ninety_percent_intervals_hold_most_new_measurements_on_curves_of_many_shapes():
    generator = np.random.default_rng(1)
    held = 0
    for _ in range(50):
        beta, floor = generator.uniform(0.1, 0.6), generator.uniform(0.0, 1.2)
        onset = np.exp(generator.uniform(np.log(50), np.log(5000)))
        gain = generator.uniform(0.5, 3.0) * (onset**beta + 200**beta)
        noise = 1 + 0.007 * generator.normal(size=9)
        losses = [rectified(n, gain, beta, onset, floor) for n in [*SIZES, 8 * SIZES[-1]]] * noise
        projected = fit(SIZES, losses[:8]).project(8 * SIZES[-1])
        held += projected.low <= losses[8] <= projected.high
    assert 38 <= held <= 49


def test_the_interval_widens_with_distance_and_with_noise():
    clean = [rectified(n) for n in SIZES]
    rough = [loss * (1.03 if k % 2 else 0.97) for k, loss in enumerate(clean)]
    widths = [fit(SIZES, clean).project(n * SIZES[-1]) for n in (1, 4, 16)]
    assert widths[0].high - widths[0].low < widths[1].high - widths[1].low < widths[2].high - widths[2].low
    far = fit(SIZES, rough).project(16 * SIZES[-1])
    assert far.high - far.low > widths[2].high - widths[2].low


def test_more_data_never_projects_a_higher_loss():
    fitted = fit(SIZES, [rectified(n) for n in SIZES])
    losses = [fitted.project(n).loss for n in np.geomspace(200, 1e8, 30)]
    assert all(later <= earlier for earlier, later in pairwise(losses))


def test_the_unit_of_the_loss_does_not_matter():
    losses = [rectified(n) for n in SIZES]
    nats, bits = fit(SIZES, losses), fit(SIZES, [loss / np.log(2) for loss in losses])
    assert bits.project(1e6).loss == pytest.approx(nats.project(1e6).loss / np.log(2), rel=1e-9)


def test_order_of_the_points_does_not_matter():
    losses = [rectified(n) for n in SIZES]
    assert fit(SIZES[::-1], losses[::-1]).project(1e6) == fit(SIZES, losses).project(1e6)


def test_advice_tells_a_falling_curve_from_a_flat_and_a_rising_one():
    def said(losses):
        fitted = fit(SIZES, losses)
        return advice(fitted, fitted.project(2 * SIZES[-1]), fitted.project(10 * SIZES[-1]))

    assert "should help" in said([rectified(n) for n in SIZES])
    assert "hardly help" in said([2.0] * len(SIZES))
    assert "does not fall" in said([2.0 + 0.05 * k for k in range(len(SIZES))])


@pytest.mark.parametrize(
    ("sizes", "losses", "message"),
    [
        ([100, 200], [2.0, 1.9], "2 distinct training sizes"),
        ([100, 100, 100], [2.0, 1.9, 1.9], "1 distinct"),
        ([100, 200, 400], [2.0, float("nan"), 1.8], "loss nan"),
        ([100, 200, -4], [2.0, 1.9, 1.8], "size -4"),
        ([100, 200, 400], [2.0, 1.9], "3 sizes and 2 losses"),
    ],
)
def test_points_that_cannot_be_fitted_are_named(sizes, losses, message):
    with pytest.raises(DataError, match=message):
        fit(sizes, losses)
