"""`sumkit score`: its JSON, its table, its file of single scores, and every way in which files may fail to pair."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from common.cli.main import group, run
from common.errors import CheckpointError
from common.files import sha256_text, write_text
from common.metrics.bertscore import bert_scores
from common.metrics.rouge import rouge_scores
from tests.metrics.tiny_encoder import build_tiny_encoder

DOCUMENTS = {
    "a": "The bridge closed on Monday. Heavy rain had washed out a pier. Repairs take a year.",
    "b": "A fire broke out at a mill. Nobody was hurt. Police suspect a faulty wire.",
    "c": "The council voted on the budget. Taxes stay the same. Fees for parking rise.",
}
SUMMARIES = {"a": "Rain closed the bridge.", "b": "Nobody was hurt in a mill fire.", "c": "Parking fees rise."}
PREDICTIONS = {"c": "Fees for parking rise.", "a": "A bridge was closed by rain.", "b": ""}


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return write_jsonl(
        tmp_path / "predictions.jsonl", [{"id": name, "prediction": text} for name, text in PREDICTIONS.items()]
    )


@pytest.fixture
def references(tmp_path: Path) -> Path:
    return write_jsonl(
        tmp_path / "references.jsonl", [{"id": name, "summary": text} for name, text in SUMMARIES.items()]
    )


def score(*arguments: str | Path) -> int:
    return run(group, ["score", *map(str, arguments)])


def test_json_holds_means_with_intervals_of_the_pairs_joined_on_id(
    predictions: Path, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("-p", predictions, "-r", references, "--json") == 0
    results = json.loads(capsys.readouterr().out)
    expected = rouge_scores([PREDICTIONS[name] for name in "abc"], [SUMMARIES[name] for name in "abc"]).fmeasure
    assert results["examples"] == 3
    assert results["empty_predictions"] == 1
    for measure in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        assert results[measure]["mean"] == pytest.approx(expected[measure].mean())
        assert 0 <= results[measure]["low"] <= results[measure]["mean"] <= results[measure]["high"] <= 100
    assert results["tokenizer"] == "rouge-score (Porter stemmer)"


def test_csv_is_read_like_jsonl_and_ids_match_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "predictions.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "prediction"], ["1", "two\nlines, quoted"], ["2", "x"]])
    references = tmp_path / "references.csv"
    with references.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "references"], ["2", '["y", "x"]'], ["1", "two lines quoted"]])
    assert score("-p", table, "-r", references, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rouge1"]["mean"] == pytest.approx(100)
    numbers = write_jsonl(tmp_path / "references.jsonl", [{"id": 1, "summary": "a"}, {"id": 2, "summary": "x"}])
    assert score("-p", table, "-r", numbers, "--json") == 0


def test_per_example_scores_are_written_for_each_id(
    predictions: Path, references: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.jsonl"
    assert score("-p", predictions, "-r", references, "--per-example", out, "--json") == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["id"], row["empty"]) for row in rows] == [("a", False), ("b", True), ("c", False)]
    mean = sum(row["rouge1"] for row in rows) / 3
    assert mean == pytest.approx(json.loads(capsys.readouterr().out)["rouge1"]["mean"], abs=1e-5)


def test_several_references_count_by_the_best_or_by_their_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = write_jsonl(tmp_path / "p.jsonl", [{"id": 1, "prediction": "a b"}])
    theirs = write_jsonl(tmp_path / "r.jsonl", [{"id": 1, "summary": "ignored", "references": ["a b", "c d"]}])
    for choice, expected in (("best", 100), ("mean", 50)):
        assert score("-p", ours, "-r", theirs, "--multi-reference", choice, "--json") == 0
        results = json.loads(capsys.readouterr().out)
        assert (results["rouge1"]["mean"], results["multi_reference"]) == (expected, choice)


def test_documents_bring_the_leads_and_the_differences_to_them(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": name, "document": DOCUMENTS[name], "summary": SUMMARIES[name]} for name in "abc"]
    references = write_jsonl(tmp_path / "full.jsonl", rows)
    assert score("-p", predictions, "-r", references, "--json") == 0
    results = json.loads(capsys.readouterr().out)
    lead = results["baselines"]["lead1"]["rouge1"]["mean"]
    assert results["differences"]["lead1"]["rouge1"]["mean"] == pytest.approx(results["rouge1"]["mean"] - lead)
    assert score("-p", predictions, "-r", references) == 0
    shown = capsys.readouterr().out
    for system in ("Lead-1", "random sentence", "extractive oracle (ceiling)"):
        header = next(line for line in shown.splitlines() if line.startswith(f"{system}  "))
        assert header.split("  ")[-1].strip() == "detectable"
        assert "difference to it" in header
    assert f"{lead:.1f} [" in shown


def test_bertscore_is_that_of_the_encoder_named_and_the_best_reference_counts(
    tmp_path: Path, predictions: Path, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = build_tiny_encoder(tmp_path / "encoder", [*DOCUMENTS.values(), *PREDICTIONS.values()])
    assert score("-p", predictions, "-r", references, "--bertscore", encoder, "--json") == 0
    found = json.loads(capsys.readouterr().out)["bertscore"]
    expected = bert_scores([PREDICTIONS[name] for name in "abc"], [SUMMARIES[name] for name in "abc"], encoder)
    assert found["mean"] == pytest.approx(expected.fmeasure.mean())
    assert f"bertscore|{Path(encoder).name}|layer:3" in found["signature"]
    several = write_jsonl(
        tmp_path / "several.jsonl",
        [{"id": name, "references": ["quite another text", PREDICTIONS[name] or "x"]} for name in "abc"],
    )
    assert score("-p", predictions, "-r", several, "--bertscore", encoder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["bertscore"]["mean"] == pytest.approx(200 / 3, abs=0.01)
    assert score("-p", predictions, "-r", several, "--bertscore", encoder, "--json", "--multi-reference", "mean") == 0
    assert json.loads(capsys.readouterr().out)["bertscore"]["mean"] < 65
    assert score("-p", predictions, "-r", references, "--bertscore", str(tmp_path / "absent")) == 1
    assert "there is no such folder" in capsys.readouterr().err


def test_the_table_shows_means_intervals_tokenizer_and_empty_predictions(
    predictions: Path, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score("-p", predictions, "-r", references, "--also", "chrf") == 0
    shown = capsys.readouterr().out
    for part in ("3 examples", "ROUGE-1", "ROUGE-Lsum", "chrF", "95 % interval", "Porter", "1 predictions are empty"):
        assert part in shown


def test_missing_and_extra_ids_are_counted_and_named(
    references: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = write_jsonl(tmp_path / "p.jsonl", [{"id": "b", "prediction": "x"}, {"id": "z", "prediction": "x"}])
    assert score("-p", ours, "-r", references) == 1
    message = capsys.readouterr().err
    assert "ids without a prediction: 2 of 3 (a, c)" in message
    assert "does not have: 1 (z)" in message


def test_repeated_ids_are_counted_and_named(
    references: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": name, "prediction": "x"} for name in "abcaab"]
    assert score("-p", write_jsonl(tmp_path / "p.jsonl", rows), "-r", references) == 1
    assert "rows that repeat an id: 3 (a, a, b)" in capsys.readouterr().err


def test_every_broken_row_is_listed_with_its_line_and_remedy(
    references: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ['{"id": "a", "prediction": "x"}', "{broken", '{"id": "b", "prediction": null}', '{"id": true}', "[1]"]
    path = write_jsonl(tmp_path / "p.jsonl", rows)
    assert score("-p", path, "-r", references) == 1
    message = capsys.readouterr().err
    assert f"{path}, line 2: is not valid JSON" in message
    assert f"{path}, line 3: prediction is missing or null; it must be a text" in message
    assert f"{path}, line 4: id is a truth value" in message
    assert f"{path}, line 5: holds a list" in message
    assert "Traceback" not in message


def test_whole_numbers_that_a_library_made_floats_of_are_the_same_ids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = write_jsonl(tmp_path / "p.jsonl", [{"id": 1.0, "prediction": "a b"}, {"id": 2.0, "prediction": "c"}])
    theirs = write_jsonl(tmp_path / "r.jsonl", [{"id": 1, "summary": "a b"}, {"id": "2", "summary": "c"}])
    assert score("-p", ours, "-r", theirs) == 0
    assert score("-p", write_jsonl(tmp_path / "q.jsonl", [{"id": 1.5, "prediction": "a"}]), "-r", theirs) == 1
    assert "line 1: id is a number; it must be a text or a whole number" in capsys.readouterr().err


def test_wrong_columns_empty_references_and_missing_files_are_explained(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headline = write_jsonl(tmp_path / "r.jsonl", [{"id": name, "headline": "x"} for name in "abc"])
    assert score("-p", predictions, "-r", headline) == 1
    assert "has no column references or summary; its columns are id, headline" in capsys.readouterr().err
    assert score("-p", predictions, "-r", headline, "--reference-column", "headline") == 0
    rows = [{"id": "a", "summary": " "}, {"id": "b", "references": ["x", 3]}, {"id": "c", "references": []}]
    assert score("-p", predictions, "-r", write_jsonl(tmp_path / "e.jsonl", rows)) == 1
    message = capsys.readouterr().err
    assert "line 1: summary is empty; it must be a text that is not empty" in message
    assert "line 2: references holds an entry that is a number; it must be" in message
    assert score("-p", predictions, "-r", tmp_path / "absent.jsonl") == 1
    assert "there is no such file" in capsys.readouterr().err
    assert score("-p", predictions) == 2


def test_every_score_asked_for_is_written_for_each_id(predictions: Path, references: Path, tmp_path: Path) -> None:
    file = tmp_path / "each.jsonl"
    assert score("-p", predictions, "-r", references, "--also", "chrf", "--also", "meteor", "--per-example", file) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(0 <= row["chrf"] <= 100 and 0 <= row["meteor"] <= 100 for row in rows)
    assert {row["id"]: row["chrf"] for row in rows}["b"] == 0


def test_predictions_of_other_documents_under_the_same_ids_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write_jsonl(
        tmp_path / "made.jsonl",
        [{"id": n, "prediction": text, "document_sha256": sha256_text(DOCUMENTS[n])} for n, text in SUMMARIES.items()],
    )
    rows = [{"id": n, "summary": text, "document": DOCUMENTS[n]} for n, text in SUMMARIES.items()]
    assert score("-p", made, "-r", write_jsonl(tmp_path / "right.jsonl", rows)) == 0
    for row, other in zip(rows, "bca", strict=True):
        row["document"] = DOCUMENTS[other]
    capsys.readouterr()
    assert score("-p", made, "-r", write_jsonl(tmp_path / "wrong.jsonl", rows)) == 1
    assert "3 of 3 predictions were made from other documents" in capsys.readouterr().err


def test_per_example_scores_never_take_the_place_of_a_folder(
    predictions: Path, references: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("kept")
    for taken in (folder, "."):
        assert score("-p", predictions, "-r", references, "--per-example", taken) == 2
        assert "is a directory" in capsys.readouterr().err
    assert (folder / "thesis.txt").read_text() == "kept"
    with pytest.raises(CheckpointError, match="is a folder; give the name of a file"):
        write_text(folder, "x")
    real, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    real.write_text("old")
    link.symlink_to(real)
    assert score("-p", predictions, "-r", references, "--per-example", link) == 0
    assert link.is_symlink()
    assert "rouge1" in real.read_text()
    capsys.readouterr()
    write_text(Path(os.devnull), "x")
    assert not Path(os.devnull).is_file()
    assert score("-p", predictions, "-r", references, "--seed", "-1") == 2


def test_an_empty_file_and_a_directory_are_named_as_such(
    predictions: Path, references: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = write_jsonl(tmp_path / "empty.jsonl", [])
    for arguments in (("-p", predictions, "-r", empty), ("-p", empty, "-r", references)):
        assert score(*arguments) == 1
        assert "empty.jsonl" in capsys.readouterr().err
    assert score("-p", predictions, "-r", tmp_path) == 1
    assert "is a directory; give the file in it" in capsys.readouterr().err
