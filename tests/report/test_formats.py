"""Numbers as they are written in a report, and the tables they stand in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.report.examples import choose_examples, faithfulness_note
from common.report.tables import key_figures, other_measures, repeat_commands, score_table, settings_table, stop_counts
from common.report.verdict import judge
from common.run.contents import RunFiles
from common.run.predictions import PredictionRow
from common.text.amounts import Interval, bytes_text, decimal, duration, quantity, read_interval, share, signed


def run_with(**given: Any) -> RunFiles:
    values: dict[str, Any] = {"config": {}, "environment": {}, "metrics": (), "predictions": (), "others": {}}
    return RunFiles(path=Path("runs/my run"), **{**values, "results": {}, **given})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (decimal(-0.04), "0.0"),
        (decimal(-1.25, 2), "−1.25"),
        (signed(0.04), "0.0"),
        (signed(2.0), "+2.0"),
        (share(1, 1000), "<1 %"),
        (share(999, 1000), ">99 %"),
        (share(0, 0), "0 %"),
        (duration(3.21), "3.2 s"),
        (duration(5), "5 s"),
        (duration(59.7), "1 min 00 s"),
        (duration(3661), "1 h 01 min"),
        (bytes_text(1.5 * 2**30), "1.50 GiB"),
        (bytes_text(60 * 2**20), "60.0 MiB"),
        (quantity(1234567), "1,234,567"),
        (quantity(0.0005), "0.0005"),
        (quantity([]), "none"),
        (quantity(True), "yes"),
        (str(Interval(31.2, 30.1, 32.4)), "31.2 [30.1, 32.4]"),
        (str(Interval(31.2)), "31.2"),
    ],
)
def test_numbers_are_written_the_same_everywhere(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize("value", [None, "12", {}, {"mean": float("nan")}, [1.0], True, {"low": 1.0}])
def test_what_is_no_score_is_read_as_none(value: Any) -> None:
    assert read_interval(value) is None


def test_the_best_system_is_marked_and_the_oracle_never_is() -> None:
    systems = {
        "oracle": {"rouge1": 60.0},
        "tuned": {"rouge1": 30.0, "rouge2": 9.0},
        "base": {"rouge1": 20.0, "rouge2": 9.5},
    }
    metrics, rows = score_table({"systems": systems})
    assert metrics == ("rouge1", "rouge2")
    assert [(row.system, row.best) for row in rows] == [
        ("tuned", (True, False)),
        ("base", (False, True)),
        ("oracle", (False, False)),
    ]


def test_measures_without_a_column_of_their_own_have_a_table() -> None:
    table = other_measures({"systems": {"tuned": {"rouge1": 1.0, "coverage": {"mean": 88.5}}, "base": {"empty": 3}}})
    assert table is not None
    assert table.columns == ("measure", "fine-tuned", "untuned")
    assert table.rows == (("coverage: copied words, %", "88.5", "–"), ("empty", "–", "3"))


def test_stop_reasons_are_counted_from_predictions_where_results_are_missing() -> None:
    rows = tuple(PredictionRow(str(i), "d", "r", "p", reason) for i, reason in enumerate(["eos", "eos", "length"]))
    assert stop_counts(run_with(predictions=rows)) == {"tuned": {"eos": 2, "length": 1, "error": 0}}


def test_key_figures_come_from_results_log_and_environment() -> None:
    run = run_with(
        results={"systems": {"tuned": {"rouge1": {"mean": 31.23, "low": 30.0, "high": 32.0}}}, "examples": 1460},
        metrics=({"step": 10, "tokens": 100, "tokens_per_second": 50.0, "peak_memory_bytes": 2**31, "epoch": 0.5},),
        environment={"trainable_parameters": 4_884_480, "parameters": 134_515_008},
    )
    assert key_figures(run, judge(run)) == [
        ("ROUGE-1", "31.2", "[30.0, 32.0]"),
        ("test examples", "1,460", ""),
        ("training steps", "10", "0.5 epochs"),
        ("training time", "2 s", ""),
        ("peak memory", "2.00 GiB", ""),
        ("trained parameters", "4,884,480", "3.6 % of all"),
    ]


def test_commands_repeat_the_run_with_every_changed_setting_quoted() -> None:
    config = {"data": {"data": "my notes/", "limit_train": 0}, "output": {"final_eval": False, "run": "x"}}
    results = {
        "data": "a.jsonl", "split": "dev", "limit": 50, "multi_reference": "mean", "base_template": "chat",
        "beside": {"old": "runs/old one"}, "bertscore_model": "roberta-large", "systems": {"tuned": {}, "base": {}},
    }  # fmt: skip
    commands = [line for _, line in repeat_commands(run_with(config=config, results=results))]
    assert commands == [
        "sumkit train --config 'runs/my run/config.yaml' --run 'runs/my run-again'",
        "sumkit train --data 'my notes/' --no-final-eval --run 'runs/my run-again'",
        "sumkit eval 'runs/my run' --data a.jsonl --split dev --limit 50 --multi-reference mean --base-template chat "
        "--bertscore roberta-large --beside 'runs/old one'",
        "sumkit report 'runs/my run'",
    ]
    changed = {path: differs for path, _, differs in settings_table(run_with(config=config))}
    assert changed == {
        "--data": True,
        "--limit-train": False,
        "--final-eval": True,
        "--run": True,
    }


def rows_scored(scores: list[float]) -> tuple[PredictionRow, ...]:
    return tuple(PredictionRow(str(i), "d", "r", "p", scores={"rouge1": s}) for i, s in enumerate(scores))


def test_best_median_and_worst_are_chosen_by_score_and_none_twice() -> None:
    chosen = choose_examples(rows_scored([50, 10, 30, 20, 40, 60, 0, 90, 80, 70, 100]))
    picked = {group: [row.scores["rouge1"] for row in rows] for group, rows in chosen.items()}
    assert picked == {"best": [100, 90, 80], "median": [60, 50, 40], "worst": [0, 10, 20]}
    few = choose_examples(rows_scored([1, 2, 3, 4]))
    assert len({row.id for rows in few.values() for row in rows}) == sum(map(len, few.values())) == 3
    assert list(choose_examples(rows_scored([1, 2]))) == ["all, best first"]
    assert choose_examples(()) == {}


def test_unsupported_claims_are_counted_beside_those_of_the_references() -> None:
    rows = (
        PredictionRow("a", "The bridge closed on Monday.", "It closed.", "It cost 40 million."),
        PredictionRow("b", "The bridge closed on Monday.", "It closed.", "It closed on Monday."),
    )
    note = faithfulness_note(run_with(predictions=rows))
    assert note.startswith("Of all 2 summaries, 1 (50 %) hold a number")
    assert "of their references, 0 (0 %)" in note
    assert faithfulness_note(run_with()) == ""
