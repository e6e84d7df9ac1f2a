"""An evaluation never overwrites one that answers more: it is written beside, with a report of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from common.cli.main import group, run
from common.evaluation.place import place_results
from common.files import write_json
from common.run.contents import read_run
from common.run.directory import RunDirectory
from tests.tiny_runs import build_tiny_base, build_tiny_run

SYSTEMS = ("tuned", "base", "lead1", "lead3")


def results(examples: int = 40, systems: tuple[str, ...] = SYSTEMS, **facts: Any) -> dict[str, Any]:
    told = {"data": "notes/", "split": "test", "multi_reference": "best", "base_template": "chat", **facts}
    return {**told, "examples": examples, "systems": {name: {} for name in systems}}


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    found = RunDirectory(tmp_path / "run")
    found.path.mkdir()
    found.predictions.write_text("id,prediction\na,the old summary\n")
    write_json(found.results, results())
    return found


@pytest.mark.parametrize(
    "new",
    [results(), results(41), results(bertscore_model="m"), results(systems=(*SYSTEMS, "rank16"))],
    ids=["the same again", "more documents", "a further score", "a further system"],
)
def test_results_that_answer_all_that_is_there_replace_it(directory: RunDirectory, new: dict[str, Any]) -> None:
    assert place_results(directory, new, own=True) == directory.path


@pytest.mark.parametrize(
    ("new", "own", "name"),
    [
        (results(2), True, "test-2"),
        (results(split="train"), False, "train-40"),
        (results(data="other/mine.jsonl"), False, "mine-test-40"),
        (results(multi_reference="mean"), True, "test-40-mean"),
        (results(base_template="direct"), True, "test-40-base-direct"),
        (results(base_template=None, systems=("tuned", "lead1", "lead3")), True, "test-40-no-base"),
    ],
)
def test_narrower_or_different_results_go_beside(
    directory: RunDirectory, new: dict[str, Any], own: bool, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = place_results(directory, new, own)
    assert place == directory.evaluations / name
    assert f"written to {place}" in capsys.readouterr().err
    write_json(RunDirectory(place).results, new)
    assert place_results(directory, new, own) == place
    if name == "mine-test-40":
        other = results(data="elsewhere/mine.jsonl")
        assert place_results(directory, other, own) == directory.evaluations / "mine-test-40-2"


def test_the_runs_own_documents_take_the_top_from_others_which_are_kept(directory: RunDirectory) -> None:
    directory.report.write_text("a report")
    new = results(10, data="own/")
    assert place_results(directory, new, own=True) == directory.path
    kept = RunDirectory(directory.evaluations / "notes-test-40")
    assert json.loads(kept.results.read_text()) == results()
    assert kept.predictions.read_text().endswith("the old summary\n")
    assert kept.report.read_text() == "a report"
    assert not directory.results.exists()
    assert not directory.predictions.exists()


def test_results_of_an_earlier_adapter_are_replaced(directory: RunDirectory) -> None:
    assert place_results(directory, results(2), own=True) != directory.path
    directory.adapter.mkdir()
    weights = directory.adapter / "adapter_model.safetensors"
    weights.write_bytes(b"")
    later = directory.results.stat().st_mtime + 10
    os.utime(weights, (later, later))
    assert place_results(directory, results(2), own=True) == directory.path


def test_eval_with_a_limit_leaves_the_wider_results_and_out_refuses_to_mix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_tiny_run(tmp_path / "run", build_tiny_base(tmp_path / "base"))
    rows = [{"id": str(i), "document": f"Storm {i} cut power in the town.", "summary": "A storm."} for i in range(4)]
    data = tmp_path / "test.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def evaluate(*more: str) -> int:
        return run(group, ["eval", str(tmp_path / "run"), "--data", str(data), "--no-base", *more])

    assert evaluate() == 0
    top = RunDirectory(tmp_path / "run")
    before = {file: file.read_bytes() for file in (top.results, top.predictions, top.report, top.samples)}
    capsys.readouterr()
    assert evaluate("--limit", "2") == 0
    beside = RunDirectory(top.evaluations / "test-2")
    said = capsys.readouterr()
    assert f"report: {beside.report}" in said.out
    assert f"the results in {top.path} (4 test documents of {data}) stay" in said.err
    assert {file: file.read_bytes() for file in before} == before
    files = read_run(beside.path)
    assert len(files.predictions) == files.results["examples"] == 2
    assert files.config == read_run(top.path).config != {}
    assert "run, test-2" in beside.report.read_text(encoding="utf-8")
    # --out: the same again or wider is fine, another evaluation is not
    out = tmp_path / "out"
    assert evaluate("--limit", "2", "--out", str(out)) == 0
    assert evaluate("--out", str(out)) == 0
    capsys.readouterr()
    assert evaluate("--limit", "2", "--out", str(out)) == 1
    assert f"holds the results of another evaluation (run on 4 test documents of {data})" in capsys.readouterr().err
