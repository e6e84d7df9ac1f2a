"""An earlier run beside the one that is scored: the same documents, its stored summaries or new ones, a paired test."""

import json
import os

import pytest

from common.cli.main import group, run
from common.errors import ConfigError
from common.evaluation.earlier_runs import earlier_predictions, name_runs, stored_predictions
from common.types import Example
from tests.tiny_runs import build_tiny_base, build_tiny_run

ROWS = [
    {"id": "a", "document": "The council closed the old bridge on Monday for repairs.", "summary": "A bridge closed."},
    {"id": "b", "document": "Nine hundred homes lost power in a storm last night.", "summary": "A storm cut power."},
    {"id": "c", "document": "The release is late because two tests fail and nobody knows why.", "summary": "Late."},
]
EXAMPLES = [Example(row["id"], row["document"], row["summary"]) for row in ROWS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    base = build_tiny_base(folder / "base")
    for seed in range(2):
        build_tiny_run(folder / f"run{seed}", base, seed)
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return folder


def evaluate(folder, *arguments: str) -> int:
    common = ["--data", str(folder / "test.jsonl"), "--no-base", "--json"]
    return run(group, ["eval", *map(str, arguments), *common])


def test_an_earlier_run_is_scored_on_the_same_documents_and_compared_in_pairs(folder, capsys):
    assert evaluate(folder, folder / "run0", "--beside", folder / "run1") == 0
    said = capsys.readouterr()
    results = json.loads(said.out)
    assert "summaries (run1)" in said.err
    assert {"tuned", "run1", "lead1", "lead3", "random", "oracle"} == results["systems"].keys()
    assert results["beside"] == {"run1": str(folder / "run1")}
    assert sum(results["stop_reasons"]["run1"].values()) == 3
    assert results["systems"]["tuned"]["perplexity"]["mean"] > 1
    difference = results["differences"]["tuned-run1"]["rouge1"]
    gap = results["systems"]["tuned"]["rouge1"]["mean"] - results["systems"]["run1"]["rouge1"]["mean"]
    assert difference["mean"] == pytest.approx(gap)
    assert "run1" in (folder / "run0" / "report.html").read_text(encoding="utf-8")
    # its own evaluation gives the same summaries, and they are then read in place of being made again
    made = earlier_predictions(folder / "run1", EXAMPLES)
    assert evaluate(folder, folder / "run1") == 0
    assert [p.text for p in stored_predictions(folder / "run1", EXAMPLES) or []] == [p.text for p in made]
    assert evaluate(folder, folder / "run0", "--beside", folder / "run1") == 0
    assert "taken from its predictions.csv" in capsys.readouterr().err


def test_stored_summaries_serve_only_for_these_documents_and_this_adapter(folder):
    assert evaluate(folder, folder / "run1") == 0
    assert stored_predictions(folder / "run1", EXAMPLES) is not None
    changed = [*EXAMPLES[:2], Example("c", EXAMPLES[2].document + " Or so.", "Late.")]
    assert stored_predictions(folder / "run1", changed) is None
    assert stored_predictions(folder / "run1", [*EXAMPLES, Example("d", "x y", "z")]) is None
    adapter, predictions = folder / "run1" / "adapter" / "adapter_model.safetensors", folder / "run1/predictions.csv"
    later = predictions.stat().st_mtime + 10
    os.utime(adapter, (later, later))
    assert stored_predictions(folder / "run1", EXAMPLES) is None


def test_names_that_would_mix_are_refused(tmp_path):
    for name in ("one/a", "two/a", "tuned", "own"):
        (tmp_path / name).mkdir(parents=True)
    assert name_runs([tmp_path / "one/a"], tmp_path / "own") == {"a": tmp_path / "one/a"}
    with pytest.raises(ConfigError, match="is named 'a', like"):
        name_runs([tmp_path / "one/a", tmp_path / "two/a"], tmp_path / "own")
    with pytest.raises(ConfigError, match="like a system that is scored anyway"):
        name_runs([tmp_path / "tuned"], tmp_path / "own")
    with pytest.raises(ConfigError, match="is the run being scored"):
        name_runs([tmp_path / "own"], tmp_path / "own")
    with pytest.raises(ConfigError, match="no such run directory"):
        name_runs([tmp_path / "gone"], tmp_path / "own")
