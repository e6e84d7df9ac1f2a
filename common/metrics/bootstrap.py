"""How sure a mean score is, whether two systems differ, and what difference a test set could show at all.

Intervals are BCa bootstrap intervals (Efron 1987) of the mean over examples, widened for small samples, and Student's
below eight examples, where no resampling helps; differences are paired, with the p value of approximate randomisation
(Noreen 1989) by sign flips. Everything is seeded: the same scores give the same figures. Knows nothing of what the
scores measure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isfinite, pi, sqrt, tan
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import DataError

Values = NDArray[np.float64]
RESAMPLES = 2000
FLIPS = 10_000
LEVEL = 0.05
PERCENT = (0.0, 100.0)  # where the mean of scores in percent lies
FEWEST_RESAMPLED = 8  # of fewer examples an interval by resampling holds the mean too seldom: 3 examples, 75 % of cases
Outcome = Literal["better", "worse", "unclear"]
CELLS_AT_ONCE = 4_000_000  # resampled values held in memory at a time
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds of its confidence interval, in the unit of the scores."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Mean paired difference (ours minus theirs) with its interval.

    p_value      two-sided, of approximate randomisation: how often chance alone differs this much
    detectable   the smallest true difference that this test set shows in 80 % of cases at the 5 % level
    """

    mean: float
    low: float
    high: float
    p_value: float
    detectable: float
    examples: int

    def as_dict(self) -> dict[str, float | None]:
        """Plain values for JSON, which has no infinity: what a single example cannot tell is None."""
        return {**asdict(self), "detectable": self.detectable if isfinite(self.detectable) else None}


def bootstrap_interval(
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    bounds: tuple[float, float] | None = PERCENT,
) -> Interval:
    """BCa interval of the mean of per-example scores, shape (examples,). See `bootstrap_intervals`."""
    return bootstrap_intervals(
        {"value": np.asarray(values, float)}, confidence=confidence, resamples=resamples, seed=seed, bounds=bounds
    )["value"]


def bootstrap_intervals(
    scores: Mapping[str, ArrayLike],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    bounds: tuple[float, float] | None = PERCENT,
) -> dict[str, Interval]:
    """BCa intervals of the means of several measures of the same examples, all from the same resamples.

    With one example, or equal values, both bounds are the mean. Of two to seven examples the interval is Student's,
    cut at `bounds` where every value lies within them. Raises DataError for no examples, measures of
    different length, or values that are not finite.
    """
    table = _table(scores)
    means = table.mean(axis=0)
    resampled = resampled_means(table, resamples, seed)
    few = 1 < len(table) < FEWEST_RESAMPLED
    lows, highs = (
        _student_bounds(table, means, confidence, bounds) if few else _bca_bounds(table, means, resampled, confidence)
    )
    return {
        name: Interval(float(means[column]), float(lows[column]), float(highs[column]))
        for column, name in enumerate(scores)
    }


def paired_difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    flips: int = FLIPS,
    seed: int = 0,
) -> Difference:
    """Compare two systems on the same examples in the same order, arrays of shape (examples,).

    Raises DataError when they differ in length, are empty, or hold values that are not finite.
    """
    table = _table({"ours": ours, "theirs": theirs})
    differences = table[:, 0] - table[:, 1]
    interval = bootstrap_interval(differences, confidence=confidence, resamples=resamples, seed=seed, bounds=None)
    return Difference(
        interval.mean,
        interval.low,
        interval.high,
        _sign_flip_p_value(differences, flips, seed),
        minimum_detectable_difference(differences),
        len(differences),
    )


def minimum_detectable_difference(differences: ArrayLike, *, level: float = 0.05, power: float = 0.8) -> float:
    """Smallest true mean difference found with `power` at a two-sided `level`, from the spread of paired differences.

    (z(1 - level/2) + z(power)) * s / sqrt(n), the usual sample-size formula solved for the effect; infinite for
    fewer than two examples.
    """
    values = np.asarray(differences, float)
    if len(values) < 2:
        return float("inf")
    quantiles = _NORMAL.inv_cdf(1 - level / 2) + _NORMAL.inv_cdf(power)
    return float(quantiles * values.std(ddof=1) / sqrt(len(values)))


def outcome(low: float, high: float, p_value: float | None) -> Outcome:
    """What a difference says: its interval has to leave zero out, and its p value, where known, to be at most 5 %.

    The second holds back what an interval alone would claim of very few examples: below six, no difference counts.
    """
    if (p_value is not None and p_value > LEVEL) or low <= 0 <= high:
        return "unclear"
    return "better" if low > 0 else "worse"


def _table(scores: Mapping[str, ArrayLike]) -> Values:
    """Columns of shape (examples, measures), checked."""
    columns = {name: np.asarray(values, float) for name, values in scores.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if not lengths or min(lengths.values()) == 0:
        raise DataError("no examples to take a mean of: at least one is needed")
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"scores of different numbers of examples cannot be compared: {counts}")
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise DataError(f"{name}: {int((~np.isfinite(values)).sum())} scores are not finite numbers")
    return np.stack(list(columns.values()), axis=1)


def _chunks(total: int, examples: int) -> Iterator[int]:
    """Sizes that sum to `total`, each small enough to hold that many rows of `examples` values."""
    size = max(1, CELLS_AT_ONCE // examples)
    while total > 0:
        yield min(size, total)
        total -= size


def resampled_means(table: Values, resamples: int, seed: int) -> Values:
    """Means of `resamples` draws of the rows of `table` with replacement, shape (resamples, columns)."""
    generator = np.random.default_rng(seed)
    examples = len(table)
    means = []
    for rows in _chunks(resamples, examples):
        drawn = generator.integers(0, examples, size=(rows, examples))
        drawn += np.arange(rows)[:, None] * examples
        counts = np.bincount(drawn.ravel(), minlength=rows * examples).reshape(rows, examples)
        means.append(counts @ table / examples)
    return np.concatenate(means)


def _student_bounds(
    table: Values, means: Values, confidence: float, bounds: tuple[float, float] | None
) -> tuple[Values, Values]:
    """The classical interval of each column's mean; what no mean can be is cut off."""
    quantile = student_quantile(1 - (1 - confidence) / 2, len(table) - 1)
    half = quantile * table.std(axis=0, ddof=1) / sqrt(len(table))
    lows, highs = means - half, means + half
    if bounds is not None:
        within = (table >= bounds[0]).all(axis=0) & (table <= bounds[1]).all(axis=0)
        lows, highs = np.where(within, lows.clip(bounds[0]), lows), np.where(within, highs.clip(None, bounds[1]), highs)
    return lows, highs


def _bca_bounds(table: Values, means: Values, resampled: Values, confidence: float) -> tuple[Values, Values]:
    """Bias-corrected and accelerated percentiles, by measure. For a mean the jackknife has a closed form."""
    z = _small_sample_quantile(1 - (1 - confidence) / 2, len(table))
    lows, highs = means.copy(), means.copy()
    for column, mean in enumerate(means):
        centred = table[:, column] - mean
        spread = float((centred**2).sum())
        if spread <= 1e-18 * max(1.0, float(mean) ** 2) * len(table):
            continue
        acceleration = float((centred**3).sum()) / (6 * spread**1.5)
        below = (resampled[:, column] < mean).mean() + 0.5 * (resampled[:, column] == mean).mean()
        edge = 1 / (len(resampled) + 1)
        bias = _NORMAL.inv_cdf(min(max(float(below), edge), 1 - edge))
        levels = [_adjusted(quantile, bias, acceleration) for quantile in (-z, z)]
        lows[column], highs[column] = np.quantile(resampled[:, column], levels)
    return lows, highs


def _small_sample_quantile(level: float, examples: int) -> float:
    """Student's t quantile times sqrt(n / (n - 1)), in place of the normal one.

    The bootstrap distribution of a mean is too narrow by that factor and knows no uncertainty of the spread, which
    costs coverage below some 100 examples ("expanded percentiles", Hesterberg 2015).
    """
    freedom = max(1, examples - 1)
    return student_quantile(level, freedom) * sqrt(examples / freedom)


def student_quantile(level: float, freedom: int) -> float:
    """Quantile of Student's t distribution: exact for 1 and 2 degrees of freedom, else Cornish and Fisher's expansion
    (Abramowitz and Stegun 26.7.5), within 0.2 % at 95 %.
    """
    if freedom == 1:
        return tan(pi * (level - 0.5))
    if freedom == 2:
        return (2 * level - 1) * sqrt(2 / (4 * level * (1 - level)))
    z = _NORMAL.inv_cdf(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))


def _adjusted(z: float, bias: float, acceleration: float) -> float:
    return _NORMAL.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))


def _sign_flip_p_value(differences: Values, flips: int, seed: int) -> float:
    """Share of random relabellings whose mean difference is at least as large, the observed one counted in."""
    generator = np.random.default_rng([seed, 1])
    examples = len(differences)
    total = float(differences.sum())
    reached = 0
    tolerance = 1e-9 * float(np.abs(differences).sum())
    for rows in _chunks(flips, examples):
        flipped = generator.integers(0, 256, size=(rows, (examples + 7) // 8), dtype=np.uint8)
        swapped = np.unpackbits(flipped, axis=1, count=examples) @ differences
        reached += int((np.abs(total - 2 * swapped) >= abs(total) - tolerance).sum())
    return (reached + 1) / (flips + 1)
