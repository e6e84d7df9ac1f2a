"""What a checker is worth: laws of the measures, and checkers whose worth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from common.check.calibration import area_under_curve, balanced_accuracy, best_threshold, calibrate
from common.check.results import IN_THESE, accuracy_text, check_summaries
from common.check.support import Checked, DocumentSummary, SentenceSupport
from common.data.named import demo_tables

ROWS = [(row.values["document"], row.values["summary"]) for row in demo_tables("test")["test"].rows]
TRUE = {summary for _, summary in ROWS}


class Known:
    """A checker that knows which summaries are true, with a given chance of being wrong."""

    default_threshold = 0.5

    def __init__(self, wrong: float) -> None:
        self.name, self._wrong, self._generator = f"wrong {wrong}", wrong, np.random.default_rng(0)

    def check(self, items: Sequence[DocumentSummary]) -> list[Checked]:
        found = []
        for item in items:
            knows = self._generator.random() >= self._wrong
            support = 0.9 if (item.summary in TRUE) == knows else 0.1
            found.append(Checked((SentenceSupport(0, len(item.summary), support),)))
        return found


def test_a_checker_that_knows_is_perfect_and_one_that_guesses_cannot_tell():
    perfect, guess = calibrate(Known(0.0), ROWS), calibrate(Known(0.5), ROWS)
    assert perfect is not None
    assert guess is not None
    assert (perfect.balanced_accuracy.mean, perfect.auc, perfect.tells) == (1.0, 1.0, True)
    assert set(perfect.found.values()) == {1.0}
    assert guess.balanced_accuracy.low < 0.5 < guess.balanced_accuracy.high
    assert not guess.tells
    assert abs(guess.auc - 0.5) < 0.1


def test_the_interval_holds_the_mean_and_is_not_empty():
    found = calibrate(Known(0.2), ROWS)
    assert found is not None
    rate = found.balanced_accuracy
    assert rate.low < rate.mean < rate.high
    assert abs(rate.mean - 0.8) < 0.08


def test_measures_by_hand():
    truth, support = [True, True, False, False], [0.9, 0.4, 0.4, 0.1]
    assert area_under_curve(truth, support) == (1 + 1 + 0.5 + 1) / 4
    assert balanced_accuracy(truth, np.array(support) >= 0.5) == 0.75
    assert 0.1 < best_threshold(truth, support) <= 0.4


def test_where_nothing_can_be_planted_nothing_is_said_of_the_checker():
    assert calibrate(Known(0.0), [("Nothing.", "Fine!")]) is None
    results = check_summaries(Known(0.0), [DocumentSummary("Nothing.", "Fine!")])
    assert results.as_dict()["checker"]["balanced_accuracy"] is None
    assert "nobody knows" in accuracy_text(results.as_dict()["checker"])


def test_without_human_summaries_errors_are_planted_in_the_checked_ones_and_the_threshold_stays():
    items = [DocumentSummary(*row) for row in ROWS]
    results = check_summaries(Known(0.0), items)
    assert results.threshold == 0.5
    assert results.as_dict()["checker"]["measured_on"] == IN_THESE
    assert results.as_dict()["supported"]["mean"] == pytest.approx(100.0)


def test_a_checker_that_cannot_tell_is_said_not_to():
    results = check_summaries(Known(0.5), [DocumentSummary(*row) for row in ROWS], ROWS)
    assert "cannot tell true from false" in accuracy_text(results.as_dict()["checker"])
