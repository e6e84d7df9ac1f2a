"""Comparing runs: pairs by id, tests that are honest about their number, and refusals where nothing is comparable."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.cli.compare import command
from common.cli.main import run
from common.errors import DataError
from common.report.comparison import compare_runs, holm, paired_differences
from tests.report.example_runs import COLUMNS, changed, corpus, write_predictions, write_training


def make_run(path: Path, share: float, seed: int, reverse: bool = False, count: int = 40) -> Path:
    """A run whose summaries have `share` of their words replaced; rows in reverse order if asked."""
    write_training(path, steps=3, planned=3)
    examples = corpus(count)[::-1] if reverse else corpus(count)
    generator = random.Random(seed)
    texts = [changed(example, share, generator) for example in examples]
    write_predictions(path / "predictions.csv", examples, texts, ["eos"] * count)
    return path


def test_a_better_run_is_found_whatever_the_order_of_rows(tmp_path: Path) -> None:
    good = make_run(tmp_path / "good", 0.2, 1)
    bad = make_run(tmp_path / "bad", 0.6, 2, reverse=True)
    compared = compare_runs([bad, good])
    first = compared.differences[0]
    assert (first.first, first.second, first.measure) == ("good", "bad", "rouge1")
    expected = compared.means["good"]["rouge1"].mean - compared.means["bad"]["rouge1"].mean
    assert first.difference.mean == pytest.approx(expected)
    assert first.difference.low > 0
    assert first.adjusted_p < 0.01
    texts = {row.id: row for row in compared.examples}
    for example in corpus():
        if example.id in texts:
            assert texts[example.id].reference == example.summary


def test_only_shared_documents_are_compared(tmp_path: Path) -> None:
    compared = compare_runs([make_run(tmp_path / "a", 0.3, 1, count=40), make_run(tmp_path / "b", 0.3, 1, count=25)])
    assert (compared.shared, compared.own) == (25, {"a": 40, "b": 25})
    assert compared.differences[0].difference.examples == 25


def test_holm_agrees_with_a_hand_worked_example() -> None:
    # 0.01*4, max(0.04, 0.03*3), max(0.09, 0.04*2), max(0.09, 0.06*1)
    assert holm([0.04, 0.01, 0.06, 0.03]) == pytest.approx([0.09, 0.04, 0.09, 0.09])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02]


def test_more_runs_make_the_same_difference_harder_to_believe() -> None:
    generator = np.random.default_rng(0)
    scores = {name: generator.normal(30, 5, 60) for name in "abcd"}
    scores["a"] = scores["b"] + generator.normal(1.4, 4, 60)
    two = paired_differences({name: scores[name] for name in "ab"}, "rouge1")
    four = paired_differences(scores, "rouge1")
    same = next(pair for pair in four if {pair.first, pair.second} == {"a", "b"})
    assert same.difference == two[0].difference
    assert two[0].adjusted_p == two[0].difference.p_value
    assert same.adjusted_p > two[0].adjusted_p


def edit(path: Path, column: str, value: str) -> None:
    file = path / "predictions.csv"
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    rows[4][column] = value
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("document_sha256", "f" * 64, "1 of 40 predictions stand beside another document"),
        ("reference", "another", "1 ids stand for different references in a and b"),
        ("id", "appeal-01", "ids repeat"),
        ("rouge1", "", "1 rows have no scores"),
    ],
)
def test_rows_that_do_not_mean_the_same_are_refused(tmp_path: Path, column: str, value: str, message: str) -> None:
    first, second = make_run(tmp_path / "a", 0.3, 1), make_run(tmp_path / "b", 0.3, 2)
    edit(second, column, corpus(1)[0].id if column == "id" else value)
    with pytest.raises(DataError, match=message):
        compare_runs([first, second])


def test_the_same_ids_of_other_documents_are_refused(tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a", 0.3, 1), make_run(tmp_path / "b", 0.3, 2)
    examples = [replace(example, document=f"Another text. {n}") for n, example in enumerate(corpus())]
    write_predictions(second / "predictions.csv", examples, ["a text"] * 40, ["eos"] * 40)
    with pytest.raises(DataError, match="40 ids stand for different documents in a and b"):
        compare_runs([first, second])


def test_runs_without_predictions_or_given_twice_are_refused(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", 0.3, 1)
    write_training(tmp_path / "b", steps=2, planned=2)
    with pytest.raises(DataError, match=r"has no predictions\.csv to compare; evaluate it first: sumkit eval"):
        compare_runs([first, tmp_path / "b"])
    with pytest.raises(DataError, match="given twice"):
        compare_runs([first, tmp_path / "a"])
    with pytest.raises(DataError, match="two runs or more"):
        compare_runs([first])


def test_the_command_prints_tables_and_sentences_and_one_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = make_run(tmp_path / "good", 0.2, 1), make_run(tmp_path / "bad", 0.6, 2)
    config = (bad / "config.yaml").read_text().replace("rank: 16", "rank: 64")
    (bad / "config.yaml").write_text(config)
    assert run(command, [str(good), str(bad), "--examples", "2"]) == 0
    printed = capsys.readouterr().out
    assert "good is better than bad by" in printed
    assert "lora.rank: good 16, bad 64" in printed
    assert printed.count("reference:") == 2
    assert run(command, [str(good), str(bad), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["shared"] == 40
    assert answer["settings"] == {"lora.rank": {"good": 16, "bad": 64}}
    assert set(answer["differences"][0]["difference"]) >= {"mean", "low", "high", "p_value"}
    assert run(command, [str(good), str(tmp_path / "none")]) == 1
    assert "no such run directory" in capsys.readouterr().err


def test_runs_that_were_scored_on_different_ones_of_the_same_references_are_compared(tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a", 0.2, 1), make_run(tmp_path / "b", 0.6, 2)
    for path, place in ((a, 0), (b, 1)):
        with (path / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            several = [row["reference"], f"Another one of {row['id']}."]
            row.update(reference=several[place], references=json.dumps(several))
        with (path / "predictions.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    assert compare_runs([a, b]).shared == 40


def test_predictions_that_hold_no_row_are_named_as_such(tmp_path: Path) -> None:
    a, b = make_run(tmp_path / "a", 0.2, 1), make_run(tmp_path / "b", 0.6, 2)
    (b / "predictions.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(DataError, match=r"predictions.csv holds no row that can be read"):
        compare_runs([a, b])
