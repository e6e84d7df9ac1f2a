"""Measures of closeness, by hand-worked numbers and by what they must tell apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from common.export.answers import Answers, Sample, Summary
from common.export.comparison import (
    LogitComparison,
    SummaryComparison,
    compare_logits,
    compare_summaries,
    find_problems,
)
from common.types import Example


def test_logits_are_compared_by_their_spread_whatever_constant_each_row_has() -> None:
    run = np.array([[2.0, 0.0, -2.0], [1.0, 1.0, -2.0]])
    untuned = np.zeros((2, 3))
    export = run + np.array([[0.2, -0.2, 0.0], [0.0, 0.0, 0.0]]) + np.array([[7.0], [-3.0]])
    found = compare_logits([run], [untuned], [export])
    spread = math.sqrt((4 + 0 + 4 + 1 + 1 + 4) / 6)
    assert found.rows == 2
    assert found.error == pytest.approx(math.sqrt(0.08 / 6) / spread)
    assert found.effect == pytest.approx(1.0)
    # projection of the export's change on the run's: (14 + 2 * 0.2) / 14
    assert found.kept == pytest.approx(14.4 / 14)
    assert found.same_choice == 1.0


def test_divergence_is_that_of_the_two_distributions() -> None:
    run, export = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.5, 0.25]])
    found = compare_logits([run], [run], [export])
    assert found.divergence == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2))
    assert found.effect == 0.0
    assert found.kept == 1.0  # an adapter that changes nothing cannot be lost
    assert found.same_choice == 0.0


def test_an_export_without_the_adapter_keeps_none_of_it_and_noise_does_not_count_as_kept() -> None:
    generator = np.random.default_rng(0)
    untuned = generator.normal(size=(50, 200))
    run = untuned + 0.3 * generator.normal(size=untuned.shape)
    noise = 0.1 * generator.normal(size=untuned.shape)
    assert compare_logits([run], [untuned], [untuned + noise]).kept == pytest.approx(0.0, abs=0.03)
    assert compare_logits([run], [untuned], [run + noise]).kept == pytest.approx(1.0, abs=0.03)


def _answers(*texts: str, ended: int = 9) -> Answers:
    summaries = [Summary(text, "eos" if index < ended else "length") for index, text in enumerate(texts)]
    return Answers("", "float32", (), tuple(summaries))


def test_summaries_are_compared_with_the_run_and_with_the_references() -> None:
    examples = (Example("a", "d", "the cat sat"), Example("b", "d", "a dog ran off"), Example("c", "d", ""))
    sample = Sample(examples, (), (), (), 8, (0,))
    found = compare_summaries(
        _answers("the cat sat", "a dog ran", "…"), _answers("the cat sat", "one dog", "…", ended=1), sample
    )
    assert (found.documents, found.identical, found.ended) == (3, 2, (3, 1))
    # "one dog" and "a dog ran" share "dog": precision 1/2, recall 1/3, F 0.4; equal texts without words count as equal
    assert found.agreement == pytest.approx((100 + 40 + 100) / 3)
    assert found.run["rouge1"] == pytest.approx((100 + 100 * 6 / 7) / 2)
    assert found.export["rouge1"] == pytest.approx((100 + 100 * 2 / 6) / 2)


GOOD = LogitComparison(rows=9, error=0.01, effect=0.3, kept=0.99, same_choice=1.0, divergence=0.0)
SAME = SummaryComparison(documents=8, identical=8, agreement=100.0, run={}, export={}, ended=(8, 8))


def test_only_what_rounding_cannot_explain_is_a_problem() -> None:
    from dataclasses import replace

    assert find_problems(GOOD, SAME, 0.02) == []
    assert find_problems(GOOD, SAME, 0.005) == [
        "its logits differ from the run's by 1.00%, more than rounding can (0.50%)"
    ]
    assert find_problems(replace(GOOD, error=0.4), SAME, None) == []
    assert find_problems(replace(GOOD, kept=0.2), SAME, None) == ["only 20% of what the adapter changes is left"]
    assert find_problems(GOOD, replace(SAME, ended=(8, 3)), None) == [
        "only 3 of its 8 summaries end by themselves, 8 of the run's do"
    ]
    assert find_problems(replace(GOOD, error=math.nan), SAME, None) == ["its logits are not finite numbers"]
