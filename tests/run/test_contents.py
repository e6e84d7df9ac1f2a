"""Reading run directories that are whole, partial, damaged or something else."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from common.errors import CheckpointError, DataError
from common.run.contents import read_run
from tests.report.example_runs import write_evaluation, write_training


def test_a_whole_run_is_read_without_a_note(tmp_path: Path) -> None:
    write_training(tmp_path)
    write_evaluation(tmp_path)
    run = read_run(tmp_path)
    assert run.notes == ()
    assert (len(run.metrics), len(run.predictions)) == (90, 40)
    assert set(run.others) == {"base", "lead1", "lead3"}
    assert run.setting("training.learning_rate") == 0.0005
    assert run.state["best_step"] == 69
    assert set(run.predictions[0].scores) == {"rouge1", "rouge2", "rougeL"}


def test_rows_that_a_crash_cut_short_are_left_out_and_counted(tmp_path: Path) -> None:
    write_training(tmp_path, steps=5, planned=90)
    write_evaluation(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "loss": 2.')
    with (tmp_path / "predictions.csv").open("a") as file:
        file.write("last-id,some docu")
    run = read_run(tmp_path)
    assert (len(run.metrics), len(run.predictions)) == (5, 40)
    assert run.state == {}
    assert any("1 damaged rows left out, the first at line 6" in note for note in run.notes)
    assert any("1 rows with too few or too many columns" in note for note in run.notes)


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("results.json", "[1, 2]", "results.json must hold a JSON object, not list"),
        ("results.json", "{", "results.json cannot be read as JSON"),
        ("environment.json", "", "environment.json cannot be read as JSON"),
        ("config.yaml", "a: [", "config.yaml, line"),
        ("predictions.csv", "x,y\n1,2\n", "has no column id or prediction"),
        ("metrics.jsonl", "\x00\n[]\n", "2 damaged rows left out"),
    ],
)
def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path, name: str, content: str, note: str) -> None:
    write_training(tmp_path)
    write_evaluation(tmp_path)
    (tmp_path / name).write_text(content)
    assert any(note in said for said in read_run(tmp_path).notes)


def test_numbers_that_are_none_are_not_scores(tmp_path: Path) -> None:
    row = "a,doc,ref,pred,eos,nan,,inf\n"
    (tmp_path / "predictions.csv").write_text(
        "id,document,reference,prediction,stop_reason,rouge1,rouge2,rougeL\n" + row
    )
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": True}) + '\n{"step": NaN}\n{"step": 3, "loss": NaN}\n')
    run = read_run(tmp_path)
    assert run.predictions[0].scores == {}
    assert [metric["step"] for metric in run.metrics] == [3]


def test_a_cell_longer_than_the_csv_default_is_read(tmp_path: Path) -> None:
    document = "word " * 40_000
    (tmp_path / "predictions.csv").write_text(f'id,document,prediction\na,"{document}",short\n')
    assert read_run(tmp_path).predictions[0].document == document


def test_what_is_no_run_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run directory"):
        read_run(tmp_path / "missing")
    with pytest.raises(CheckpointError, match=r"not a run directory, it holds none of config\.yaml"):
        read_run(tmp_path)


def test_a_prediction_beside_another_document_than_its_own_is_an_error(tmp_path: Path) -> None:
    """Summaries moved against their documents are the mistake that scores cannot show."""
    write_training(tmp_path)
    write_evaluation(tmp_path)
    file = tmp_path / "predictions.csv"
    with file.open(newline="") as lines:
        rows = list(csv.reader(lines))
    documents = [row[1] for row in rows[1:]]
    for row, document in zip(rows[1:], [*documents[1:], documents[0]], strict=True):
        row[1] = document
    with file.open("w", newline="") as lines:
        csv.writer(lines).writerows(rows)
    with pytest.raises(DataError, match="40 of 40 predictions stand beside another document"):
        read_run(tmp_path)
