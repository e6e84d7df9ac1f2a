"""Krippendorff's alpha: how far human raters agree beyond chance, with missing ratings allowed.

Formulas and the example it is checked against: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".
Knows nothing of rating sheets.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import DataError

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(ratings: ArrayLike, level: Level) -> float:
    """Alpha of ratings of shape (raters, units); NaN marks a rating that was not given.

    1 is full agreement, 0 what chance gives, below 0 systematic disagreement; NaN where every rating is the same,
    for then nothing can be said. Units with fewer than two ratings are left out. Raises DataError when no unit has
    two.
    """
    table = np.asarray(ratings, float)
    given = ~np.isnan(table)
    pairable = given.sum(axis=0) >= 2
    table, given = table[:, pairable], given[:, pairable]
    if not table.size:
        raise DataError("agreement needs units that at least two raters rated; there are none")
    values = np.unique(table[given])
    counts = np.stack([(table == value).sum(axis=0) for value in values], axis=1).astype(float)  # (units, values)
    weighted = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidences = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    totals = coincidences.sum(axis=1)
    distance = _distance(values, totals, level)
    expected = float(totals @ distance @ totals)
    if expected == 0:
        return float("nan")
    return 1 - float((totals.sum() - 1) * (coincidences * distance).sum() / expected)


def _distance(values: NDArray[np.float64], totals: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    """Squared difference between each two values on the given scale, shape (values, values)."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return (values[:, None] - values[None, :]) ** 2
    # Ordinal: how many ratings lie between two ranks, half of each end counted.
    ranks = np.cumsum(totals) - totals / 2
    return (ranks[:, None] - ranks[None, :]) ** 2
