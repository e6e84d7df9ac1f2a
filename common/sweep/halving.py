"""Successive halving (Jamieson and Talwalkar 2016): all trials train a little, the better ones go on from there.

The rounds are fixed beforehand: nothing depends on which trial happens to be first. Trials keep the schedule of
their whole run, so a loss at a part of it compares trials with equal shares of their own steps. Knows nothing of
runs and losses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Round:
    """`trials` runs are trained up to `share` of their steps."""

    trials: int
    share: float


def rounds(trials: int, factor: int) -> list[Round]:
    """Rounds for `trials` runs, of which the best 1/`factor` (at least two) go on; the last round is the whole run.

    `factor` 0 trains all of them to the end. Two or more finish wherever there are two or more, so that the best can
    be compared with another at full length.
    """
    counts = [trials]
    while factor and counts[-1] > max(2, factor):
        counts.append(max(2, math.ceil(counts[-1] / factor)))
    last = len(counts) - 1
    return [
        Round(count, float(factor) ** (place - last) if place < last else 1.0) for place, count in enumerate(counts)
    ]


def total_share(planned: list[Round]) -> float:
    """Training that the rounds take in all, in whole runs; what a trial has done before is not done again."""
    spent, before = 0.0, 0.0
    for step in planned:
        spent += step.trials * (step.share - before)
        before = step.share
    return spent
