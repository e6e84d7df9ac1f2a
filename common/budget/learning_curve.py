"""Would more examples help? A projection of the loss to training sizes that were not tried, with an interval.

The law is the rectified one of Lin et al. 2024 (arXiv 2402.02314), L(D) = B / (D_l + D**beta) + E, where D_l stands
for what pre-training already taught; D_l = 0 is the plain power law. Eight points do not settle four constants:
least squares picks one of many curves that fit alike, and a wrong one can be far off at ten times the data. So the
projection averages over all of them, each weighted by how well it fits (a Bayesian average on a grid), and the
interval is the spread of that average. Weak assumptions, none tied to a model or data set:

- beta is equally likely at every order from 0.02 to 1.5;
- the size at which the power phase begins (D_l = size**beta) is 0, or any order from a quarter of the smallest to
  twice the largest size tried;
- the floor E is neither 0 nor the last loss, and anything between (a Beta(2, 2) on E over the least loss);
- a loss wobbles by about NOISE of its value at the largest size, and more at smaller ones (WEIGHT_POWER).

Knows nothing of where the losses come from. Accuracy: benchmarks/learning_curve.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError

Array = NDArray[np.float64]

# Chosen over all cut-offs from 800 to 51,200 of Lin et al.'s 30 curves, not for one of them: docs/decisions.md.
NOISE = 0.007
NOISE_DEGREES = 2.0  # how many observations that belief about NOISE counts as
WEIGHT_POWER = 0.25  # standard deviation of a residual goes as (largest size / size) ** WEIGHT_POWER
SMALLEST, LARGEST = 1e-9, 1e15  # sizes and losses that can be meant
MINIMUM_SIZES = 3

_BETAS = np.geomspace(0.02, 1.5, 40)
_ONSETS = 12
_FLOORS = (np.arange(40) + 0.5) / 40
# Five equally likely standard normal deviations, for the noise of a single new measurement.
_DEVIATIONS = np.array([-1.2816, -0.5244, 0.0, 0.5244, 1.2816])


@dataclass(frozen=True)
class Projection:
    """Projected loss at a training size, with the bounds of the 90 % interval for a measured loss."""

    size: float
    loss: float
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """The average over curves: for every curve of the grid its constants, its weight and its relative noise.

    sizes, losses  (n,) what was fitted, by growing size
    gain, beta, onset, floor, weight, noise  (curves,) flat; L(D) = gain / (onset**beta + (D/s)**beta) + floor with
    s the largest size and `onset` in units of it
    """

    sizes: Array
    losses: Array
    gain: Array
    beta: Array
    onset: Array
    floor: Array
    weight: Array
    noise: Array

    def project(self, size: float) -> Projection:
        """Median and 5 % and 95 % points of the loss at `size` examples."""
        relative = size / self.sizes[-1]
        curve = self.gain / (self.onset**self.beta + relative**self.beta) + self.floor
        values = (curve[:, None] * (1 + self.noise[:, None] * _DEVIATIONS)).ravel()
        weights = np.repeat(self.weight / len(_DEVIATIONS), len(_DEVIATIONS))
        order = np.argsort(values)
        cumulative = np.cumsum(weights[order])
        low, middle, high = values[order][np.searchsorted(cumulative, np.array([0.05, 0.5, 0.95]) * cumulative[-1])]
        return Projection(float(size), float(middle), float(low), float(high))

    def mean_constants(self) -> dict[str, float]:
        """Weighted means of beta and of the floor E, for a reader; the projection does not use them."""
        return {"beta": float(self.weight @ self.beta), "E": float(self.weight @ self.floor)}


def fit(sizes: Sequence[float], losses: Sequence[float], noise: float = NOISE) -> Fit:
    """Fit the law to losses (nats per token, or any positive loss) at training sizes (examples).

    `noise` is the believed relative wobble of a loss. Repeated sizes are allowed. Raises DataError unless there are
    at least MINIMUM_SIZES distinct sizes, all sizes and losses finite and above 0.
    """
    d, y = _checked(sizes, losses)
    beta = _BETAS[:, None, None]
    onset = (np.concatenate([[0.0], np.geomspace(d[0] / 4, 2 * d[-1], _ONSETS)]) / d[-1])[None, :, None]
    floor = (_FLOORS * y.min())[None, None, :]
    shape = (len(_BETAS), _ONSETS + 1, len(_FLOORS))

    relative = (d / d[-1])[:, None, None, None]
    trust = relative**WEIGHT_POWER / y[:, None, None, None]
    basis = trust / (onset**beta + relative**beta)
    target = trust * (y[:, None, None, None] - floor)
    # For a given beta, onset and floor the best gain is a one-dimensional least squares, never below 0.
    gain = np.maximum((basis * target).sum(0) / (basis**2).sum(0), 0.0)
    squares = ((target - gain * basis) ** 2).sum(0) + NOISE_DEGREES * noise**2
    degrees = len(d) + NOISE_DEGREES - 1
    log_weight = -0.5 * degrees * np.log(squares) + np.log(_FLOORS * (1 - _FLOORS))
    weight = np.exp(log_weight - log_weight.max())

    def flat(values: Array) -> Array:
        return np.broadcast_to(values, shape).ravel()

    return Fit(
        sizes=d,
        losses=y,
        gain=flat(gain),
        beta=flat(beta),
        onset=flat(onset),
        floor=flat(floor),
        weight=flat(weight / weight.sum()),
        noise=flat(np.sqrt(squares / degrees)),
    )


def _checked(sizes: Sequence[float], losses: Sequence[float]) -> tuple[Array, Array]:
    d, y = np.asarray(sizes, np.float64), np.asarray(losses, np.float64)
    if d.shape != y.shape or d.ndim != 1:
        raise DataError(f"learning curve: {d.size} sizes and {y.size} losses; give one loss for each size")
    for name, values in (("size", d), ("loss", y)):
        bad = ~(np.isfinite(values) & (values > 0))
        if bad.any():
            raise DataError(f"learning curve: {name} {values[bad][0]:g} is not a finite number above 0")
        bad = (values < SMALLEST) | (values > LARGEST)
        if bad.any():
            raise DataError(
                f"learning curve: {name} {values[bad][0]:g} is not between {SMALLEST:g} and {LARGEST:g}; is the column "
                "the right one?"
            )
    distinct = len(np.unique(d))
    if distinct < MINIMUM_SIZES:
        raise DataError(
            f"learning curve: {distinct} distinct training sizes; at least {MINIMUM_SIZES} are needed "
            "(five or more, each twice the one before, project far better)"
        )
    order = np.argsort(d, kind="stable")
    return d[order], y[order]


def advice(fitted: Fit, double: Projection, tenfold: Projection) -> str:
    """One sentence: whether the projected gain stands out from what the interval leaves open."""
    largest, least = fitted.losses[-1], fitted.losses.min()
    if largest > 1.02 * least:
        return (
            f"The loss does not fall with more examples ({least:.4g}, then {largest:.4g} at the largest size): "
            "look at the data or the settings before adding examples."
        )
    now = fitted.project(fitted.sizes[-1]).loss
    by_two, by_ten = 1 - double.loss / now, 1 - tenfold.loss / now
    gains = f"twice as many promise {by_two:.1%} less loss, ten times as many {by_ten:.1%}"
    if by_ten < 0.02:
        return f"More examples of this kind should hardly help: {gains}."
    if tenfold.high > now:
        return f"More examples may help, but no gain at all is also possible: {gains}."
    return f"More examples should help: {gains}."
