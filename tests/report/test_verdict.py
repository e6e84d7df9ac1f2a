"""The verdict follows from the intervals, and from nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.report.verdict import judge
from common.run.contents import RunFiles
from common.run.predictions import PredictionRow

BETTER = {"mean": 8.1, "low": 6.9, "high": 9.4}
WORSE = {"mean": -3.0, "low": -4.5, "high": -1.5}
SUPPORTED = {"mean": 91.0, "low": 86.0, "high": 95.0}
CHECKER = {
    "name": "built-in",
    "balanced_accuracy": {"mean": 0.81, "low": 0.77, "high": 0.85},
    "measured_on": "planted errors",
    "found": {"entity": 0.9, "relation": 0.6},
}
UNCLEAR = {"mean": 0.4, "low": -0.8, "high": 1.6, "detectable": 1.9}


def run_with(
    differences: dict[str, dict[str, float]],
    stops: dict[str, Any] | None = None,
    metrics: tuple[dict[str, Any], ...] = (),
    predictions: tuple[PredictionRow, ...] = (),
    examples: int = 200,
    state: dict[str, Any] | None = None,
    systems: tuple[str, ...] = ("tuned", "base"),
    supported: dict[str, float] | None = SUPPORTED,
    against_base: dict[str, float] = UNCLEAR,
    tells: bool = True,
) -> RunFiles:
    results = {
        "examples": examples,
        "systems": {
            name: {"rouge1": {"mean": 30.0}, **({"supported": supported} if supported else {})} for name in systems
        },
        "checker": {**CHECKER, "tells": tells} if supported else {},
        "differences": {
            name: {"rouge1": value, "supported": against_base if name == "tuned-base" else UNCLEAR}
            for name, value in differences.items()
        },
        "stop_reasons": stops or {},
    }
    return RunFiles(Path("runs/x"), {"a": 1}, {}, metrics, predictions, {}, results, state or {})


def test_a_gain_over_everything_is_said_with_its_intervals() -> None:
    verdict = judge(run_with({"tuned-lead3": BETTER, "tuned-base": BETTER, "tuned-lead1": BETTER}))
    assert verdict.tone == "good"
    assert verdict.headline == (
        "Higher ROUGE-1 than the untuned model, Lead-1 and Lead-3, and 91 % of the summaries are supported by their "
        "documents"
    )
    assert verdict.sentence == (
        "Better than the untuned model by 8.1 ROUGE-1 [6.9, 9.4]; better than Lead-3 by 8.1 ROUGE-1 [6.9, 9.4]; "
        "better than Lead-1 by 8.1 ROUGE-1 [6.9, 9.4]."
    )


def test_a_model_that_copying_equals_is_not_called_a_success() -> None:
    verdict = judge(run_with({"tuned-base": BETTER, "tuned-lead1": BETTER, "tuned-lead3": UNCLEAR}))
    assert verdict.tone == "mixed"
    assert verdict.headline == "Higher ROUGE-1 than the untuned model, but not than Lead-3"
    assert "not distinguishable from Lead-3 (+0.4 ROUGE-1 [−0.8, 1.6])" in verdict.sentence
    assert "a gain over Lead-3 of 1.9 ROUGE-1 or more" in verdict.detectable


@pytest.mark.parametrize(
    ("base", "tone", "headline", "part"),
    [
        (
            WORSE,
            "bad",
            "Lower ROUGE-1 than the untuned model",
            "Worse than the untuned model by 3.0 ROUGE-1 [1.5, 4.5]",
        ),
        (UNCLEAR, "none", "Cannot tell whether fine-tuning helped", "Not distinguishable from the untuned model (+0.4"),
    ],
)
def test_no_gain_over_the_untuned_model_is_said_first(
    base: dict[str, float], tone: str, headline: str, part: str
) -> None:
    verdict = judge(run_with({"tuned-base": base, "tuned-lead3": BETTER}))
    assert (verdict.tone, verdict.headline) == (tone, headline)
    assert verdict.sentence.startswith(part)


def test_an_interval_that_touches_zero_is_no_difference() -> None:
    touching = {"mean": 1.0, "low": 0.0, "high": 2.0}
    assert judge(run_with({"tuned-base": touching})).tone == "none"
    assert judge(run_with({"tuned-base": {**touching, "low": 0.01}})).tone == "good"


def test_below_six_documents_nothing_is_tested() -> None:
    known = {"mean": 9.0, "low": 8.0, "high": 10.0, "p_value": 0.01, "detectable": 3.0}
    few, enough = (judge(run_with({"tuned-base": {**known, "examples": n}}, examples=n)) for n in (5, 6))
    assert (few.tone, enough.tone) == ("none", "good")
    assert few.detectable == ""
    assert "too few documents for a test" in few.sentence
    assert "p =" not in few.sentence


def test_a_gain_that_chance_may_have_made_says_why_it_does_not_count() -> None:
    few = {"mean": 9.0, "low": 2.0, "high": 15.0, "p_value": 0.125}
    verdict = judge(run_with({"tuned-base": few}))
    assert verdict.tone == "none"
    assert verdict.sentence == (
        "Not distinguishable from the untuned model (+9.0 ROUGE-1 [2.0, 15.0], p = 0.12: could be chance)."
    )


def test_earlier_runs_are_compared_by_their_name_and_the_oracle_stays_out_of_the_sentence() -> None:
    verdict = judge(run_with({"tuned-runs/a-b": UNCLEAR, "tuned-oracle": WORSE, "tuned-base": BETTER}))
    assert "not distinguishable from runs/a-b" in verdict.sentence
    assert "oracle" not in verdict.sentence
    assert [item.other for item in verdict.comparisons] == ["base", "oracle", "runs/a-b"]


def test_a_run_without_results_is_not_judged_by_its_loss() -> None:
    metrics = ({"step": 1, "loss": 3.0}, {"step": 2, "loss": 1.0})
    run = RunFiles(Path("x"), {}, {}, metrics, (), {}, {})
    verdict = judge(run)
    assert (verdict.tone, verdict.headline) == ("none", "Not evaluated yet")
    assert "2 training steps are logged, the loss of the last one was 1.00" in verdict.sentence


def test_an_evaluation_of_the_untuned_model_alone_is_not_called_fine_tuning() -> None:
    verdict = judge(run_with({"base-lead3": BETTER}, systems=("base", "lead3")))
    assert (verdict.tone, verdict.headline) == ("none", "The untuned model's scores")
    assert verdict.sentence.startswith("Better than Lead-3 by 8.1")


def warnings_of(**given: Any) -> str:
    return "\n".join(judge(run_with({"tuned-base": BETTER}, **given)).warnings)


def test_cut_off_failed_and_empty_summaries_are_counted_aloud() -> None:
    rows = (PredictionRow("a", "d", "r", "", "eos"), PredictionRow("b", "d", "r", "fine", "eos"))
    said = warnings_of(stops={"tuned": {"eos": 80, "length": 17, "error": 3}}, predictions=rows)
    assert "17 of 100 summaries (17 %) were cut off at the token limit" in said
    assert "3 of 100 generations failed; they count as zero" in said
    assert "1 of 2 summaries are empty" in said
    assert warnings_of(stops={"tuned": {"eos": 98, "length": 2, "error": 0}}) == ""


def test_a_baseline_that_never_stops_is_named_as_part_of_the_gain() -> None:
    said = warnings_of(stops={"tuned": {"eos": 100}, "base": {"eos": 7, "length": 93}})
    assert "untuned model ran into the token limit in 93 %" in said


def test_few_examples_overfitting_and_unfinished_training_are_warned_of() -> None:
    assert "Only 20 test examples" in warnings_of(examples=20)
    rising = tuple({"step": step, "dev_loss": loss} for step, loss in ((10, 2.5), (20, 2.0), (30, 2.2)))
    said = warnings_of(metrics=rising, state={"best_step": 20})
    assert "lowest at step 20 (2.000) and rose to 2.200 by step 30" in said
    assert "the adapter of the best step is the one kept" in said
    assert "Training has not finished" in warnings_of(metrics=rising)
    assert "Training has not finished" not in said


GAIN = {"tuned-lead3": BETTER, "tuned-base": BETTER, "tuned-lead1": BETTER}


def test_a_gain_is_no_success_where_the_checker_cannot_tell() -> None:
    verdict = judge(run_with(GAIN, tells=False))
    assert verdict.tone == "mixed"
    assert verdict.headline.endswith("Lead-3. Whether the summaries are true is not known")
    assert "91" not in verdict.support
    assert "81 % [77, 85] on planted errors (50 % is chance)" in verdict.support
    assert "90 % of wrong names, 60 % of wrong relations" in verdict.support


def test_a_gain_is_no_success_where_nothing_was_checked() -> None:
    verdict = judge(run_with(GAIN, supported=None))
    assert (verdict.tone, verdict.support) == ("mixed", "")
    assert "not known" in verdict.headline


def test_a_gain_is_no_success_where_few_summaries_are_supported() -> None:
    verdict = judge(run_with(GAIN, supported={"mean": 60.0, "low": 50.0, "high": 70.0}))
    assert verdict.tone == "mixed"
    assert verdict.headline.endswith("but only 60 % of the summaries are supported by their documents")


def test_a_gain_that_costs_support_is_bad() -> None:
    verdict = judge(run_with(GAIN, against_base=WORSE))
    assert verdict.tone == "bad"
    assert "fewer summaries are supported" in verdict.headline


def test_a_finding_names_every_system_and_the_checkers_worth() -> None:
    verdict = judge(run_with(GAIN))
    assert verdict.support.startswith("Supported by their documents: fine-tuned 91.0 [86.0, 95.0] %; untuned 91.0")
    assert "The checker built-in has a balanced accuracy of 81 % [77, 85]" in verdict.support
