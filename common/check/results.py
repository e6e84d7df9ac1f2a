"""The figures of a checked set of summaries: how many are supported, by which checker, and what that is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from common.check.calibration import Calibration, calibrate
from common.check.support import Checked, Checker, DocumentSummary
from common.errors import RemoteError
from common.metrics.bootstrap import bootstrap_interval

IN_THESE = "planted errors in these summaries"


@dataclass(frozen=True)
class CheckResults:
    """What a checker made of a set of summaries, in their order, and of planted errors (None: none could be planted).

    threshold   the support from which a summary counts as supported
    """

    checked: tuple[Checked, ...]
    calibration: Calibration | None
    threshold: float
    checker: str

    def supported(self, checked: Checked) -> bool:
        return bool(checked.sentences) and checked.support >= self.threshold

    def as_dict(self) -> dict[str, Any]:
        """`supported` in percent of the summaries and mean `support` in [0, 1], with 95 % intervals, and `checker`."""
        return {
            "examples": len(self.checked),
            **support_figures(self.checked, self.threshold),
            "checker": checker_entry(self.calibration, self.checker, self.threshold),
        }

    def row(self, index: int) -> dict[str, Any]:
        """The contract's values of one summary: its support, and its sentences with their evidence."""
        checked = self.checked[index]
        return {
            "support": None if checked.failure else checked.support,
            "supported": None if checked.failure else self.supported(checked),
            "sentences": [sentence.as_dict() for sentence in checked.sentences],
        }


@dataclass(frozen=True)
class SupportCheck:
    """How summaries were checked. `references` are checked too: what people wrote is the measure of what can be had."""

    checker: str
    threshold: float
    calibration: Calibration | None
    references: tuple[Checked, ...]

    def as_facts(self) -> dict[str, Any]:
        """`checker` and `references` of results.json."""
        return {
            "checker": checker_entry(self.calibration, self.checker, self.threshold),
            "references": support_figures(self.references, self.threshold),
        }


def checker_entry(calibration: Calibration | None, name: str, threshold: float) -> dict[str, Any]:
    """The `checker` entry of results; without figures where no error could be planted, so that nobody knows them."""
    if calibration:
        return calibration.as_dict()
    nothing = {"balanced_accuracy": None, "auc": None, "measured_on": None}
    return {"name": name, **nothing, "threshold": threshold, "tells": False}


def support_figures(checked: Sequence[Checked], threshold: float) -> dict[str, Any]:
    """`supported` and `support` of some summaries, as `asdict` of intervals.

    Over those that could be rated; how many could not is `unrated`. Raises RemoteError where none could.
    """
    rated = [item for item in checked if not item.failure]
    if not rated:
        raise RemoteError(f"the checker could rate none of {len(checked)} summaries: {first_failure(checked)}")
    support = np.array([item.support for item in rated])
    passes = np.array([bool(item.sentences) and item.support >= threshold for item in rated])
    unrated = len(checked) - len(rated)
    return {
        **({"unrated": unrated} if unrated else {}),
        "supported": asdict(bootstrap_interval(100.0 * passes)),
        "support": asdict(bootstrap_interval(support, bounds=(0.0, 1.0))),
    }


def check_summaries(
    checker: Checker, items: Sequence[DocumentSummary], true_rows: Sequence[tuple[str, str]] = ()
) -> CheckResults:
    """Check `items`, with the threshold and the accuracy measured on errors planted in `true_rows`, pairs of a
    document and a summary that people wrote.

    Without such rows errors are planted in `items` themselves, some of which may be false to begin with: the accuracy
    is then a lower bound, and the checker's own threshold stays.
    """
    if true_rows:
        calibration = calibrate(checker, true_rows)
    else:
        rows = [(item.document, item.summary) for item in items]
        calibration = calibrate(checker, rows, threshold=checker.default_threshold, measured_on=IN_THESE)
    threshold = calibration.threshold if calibration else checker.default_threshold
    return CheckResults(tuple(checker.check(items)), calibration, threshold, checker.name)


def first_failure(checked: Sequence[Checked]) -> str:
    """Why the first summary that could not be rated could not; empty where all could."""
    return next((item.failure for item in checked if item.failure), "")


def accuracy_text(checker: dict[str, Any]) -> str:
    """What the checker is worth here, in a sentence."""
    accuracy = checker["balanced_accuracy"]
    if accuracy is None:
        return f"checker {checker['name']}: no error could be planted, so nobody knows what it finds here"
    shown = (
        f"checker {checker['name']}: balanced accuracy {100 * accuracy['mean']:.0f} % "
        f"[{100 * accuracy['low']:.0f}, {100 * accuracy['high']:.0f}] on {checker['measured_on']}, 50 % is chance"
    )
    if checker["tells"]:
        return shown
    return f"{shown}\nThat is too close to chance: read the summaries; these figures cannot tell true from false here."
