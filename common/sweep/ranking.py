"""Which trial is best on the shared dev documents, and how sure that is.

Every figure comes from the same resamples of the documents (percentile bootstrap, 10,000 draws): the interval of each
trial, its difference from the best, and the share of resamples in which a trial is the best one. That share is what
"how sure" means here; the spread between training seeds is not in it. Knows nothing of runs and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError
from common.metrics.bootstrap import Interval, resampled_means
from common.sweep.trial import TrialScores

Measure = Literal["dev_loss", "rouge1", "rouge2", "rougeL"]
RESAMPLES = 10_000


@dataclass(frozen=True)
class Ranked:
    """One trial's place among trials of the same round.

    score       dev loss in nats per target token, or ROUGE in percent, with its 95 % interval
    behind      how much worse than the best trial, paired, with its 95 % interval; None for the best
    best_share  share of the resamples in which it is the best
    """

    name: str
    score: Interval
    behind: Interval | None
    best_share: float


def rank(scores: Mapping[str, TrialScores], measure: Measure, seed: int = 0) -> list[Ranked]:
    """Trials from best to worst on the documents that all of them scored. Raises DataError where there is none."""
    names = list(scores)
    values, weights, documents = _table(scores, measure)
    if not documents:
        raise DataError("the trials share no scored dev document; give --data with a dev set, or raise --dev-fraction")
    sign = 1.0 if measure == "dev_loss" else -1.0
    means = values.sum(axis=0) / weights.sum()
    resampled = resampled_means(np.column_stack([values, weights]), RESAMPLES, seed)
    draws = resampled[:, :-1] / resampled[:, -1:]
    winners = np.bincount(np.argmin(sign * draws, axis=1), minlength=len(names)) / len(draws)
    best = int(np.argmin(sign * means))
    ranked = []
    for place in np.argsort(sign * means, kind="stable").tolist():
        behind = None
        if place != best:
            behind = _interval(sign * (means[place] - means[best]), sign * (draws[:, place] - draws[:, best]))
        ranked.append(Ranked(names[place], _interval(means[place], draws[:, place]), behind, float(winners[place])))
    return ranked


def _table(
    scores: Mapping[str, TrialScores], measure: Measure
) -> tuple[NDArray[np.float64], NDArray[np.float64], Sequence[str]]:
    """(documents, trials) values and the (documents,) weights that their sums are divided by.

    Losses are divided by the first trial's target tokens for all: where trials tokenize differently, it is the
    likelihood of the same text that is compared, in the unit of the first trial's tokens.
    """
    each = [trial.losses if measure == "dev_loss" else trial.rouge for trial in scores.values()]
    shared = [name for name in each[0] if all(name in other for other in each[1:])]
    if measure != "dev_loss":
        table = [[trial.rouge[name][measure] for trial in scores.values()] for name in shared]
        return np.array(table, float).reshape(len(shared), len(each)), np.ones(len(shared)), shared
    first = next(iter(scores.values()))
    table = [[trial.losses[name][0] for trial in scores.values()] for name in shared]
    tokens = [first.losses[name][1] for name in shared]
    return np.array(table, float).reshape(len(shared), len(each)), np.array(tokens, float), shared


def _interval(mean: float, draws: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(mean), float(min(low, mean)), float(max(high, mean)))


def sentence(ranked: Sequence[Ranked], labels: Mapping[str, str], documents: int, measure: Measure) -> str:
    """The chosen setting and how sure it is, in words."""
    best = ranked[0]
    unit = "dev loss" if measure == "dev_loss" else f"dev {measure}"
    said = f"chosen: {labels[best.name]}, {unit} {_shown(best.score)} on {documents:,} documents"
    if len(ranked) == 1:
        return f"{said}; there is no other finished trial to compare it with"
    second = ranked[1]
    assert second.behind is not None
    sure = f"best of {len(ranked)} finished trials in {100 * best.best_share:.0f} % of resamples of the documents"
    gap = f"ahead of {labels[second.name]} by {_shown(second.behind)}"
    if second.behind.low > 0:
        return f"{said}; {sure}, {gap}: sure, as far as these documents go"
    return f"{said}; {sure}, {gap}: not distinguishable on these documents"


def _shown(value: Interval) -> str:
    digits = 4 if abs(value.mean) < 10 else 2
    return f"{value.mean:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"
