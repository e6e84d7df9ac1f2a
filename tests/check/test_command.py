"""`sumkit check`: its JSON, its file of single summaries, its refusals."""

from __future__ import annotations

import json

import pytest

from common.cli.main import group, run
from common.data.named import demo_tables

ROWS = [row.values for row in demo_tables("test")["test"].rows]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "out.jsonl"
    lines = [{name: row[name] for name in ("id", "document", "summary")} for row in ROWS]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_json_holds_the_contracts_figures(file, tmp_path, capsys):
    single = tmp_path / "single.jsonl"
    assert run(group, ["check", str(file), "--json", "--per-example", str(single)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["examples"] == len(ROWS)
    assert 0 <= found["supported"]["low"] <= found["supported"]["mean"] <= found["supported"]["high"] <= 100
    assert 0 <= found["support"]["mean"] <= 1
    checker = found["checker"]
    assert checker["name"] == "built-in"
    assert {"mean", "low", "high"} <= checker["balanced_accuracy"].keys()
    assert {"auc", "measured_on", "threshold"} <= checker.keys()
    rows = [json.loads(line) for line in single.read_text().splitlines()]
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    for row, source in zip(rows, ROWS, strict=True):
        assert row["support"] == min(sentence["support"] for sentence in row["sentences"])
        assert row["supported"] == (row["support"] >= checker["threshold"])
        for sentence in row["sentences"]:
            assert source["summary"][sentence["start"] : sentence["end"]].strip()
            for passage in sentence["evidence"]:
                assert source["document"][passage["start"] : passage["end"]].strip()
                assert 0 < passage["support"] <= 1


def test_summaries_and_documents_may_lie_in_two_files(file, tmp_path, capsys):
    summaries, documents = tmp_path / "s.csv", tmp_path / "d.jsonl"
    summaries.write_text("id,prediction\n" + "".join(f"{row['id']},Nothing happened.\n" for row in ROWS[:5]))
    documents.write_text("".join(json.dumps({"id": row["id"], "document": row["document"]}) + "\n" for row in ROWS))
    assert run(group, ["check", str(summaries), "--documents", str(documents), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 5


def test_human_summaries_beside_the_checked_ones_set_the_threshold(tmp_path, capsys):
    path = tmp_path / "predictions.csv"
    import csv

    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "document", "reference", "prediction"])
        writer.writerows([row["id"], row["document"], row["summary"], row["document"][:80]] for row in ROWS)
    assert run(group, ["check", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["checker"]
    assert found["measured_on"] == "planted errors"
    assert found["true_summaries"] > 30


def test_the_text_names_the_checkers_worth_and_the_weakest_summaries(file, capsys):
    assert run(group, ["check", str(file), "--checker", "rules"]) == 0
    shown = capsys.readouterr().out
    assert "balanced accuracy" in shown
    assert "50 % is chance" in shown


def test_a_missing_document_is_named(file, tmp_path, capsys):
    summaries = tmp_path / "s.jsonl"
    summaries.write_text('{"id": "a-1", "summary": "Nothing."}\n')
    assert run(group, ["check", str(summaries)]) == 1
    assert "has no column document" in capsys.readouterr().err
    assert run(group, ["check", str(summaries), "--documents", str(file)]) == 1
    assert "a-1" in capsys.readouterr().err
