"""Only common/run spells the names of a run's files, and each has one reader, whatever a document's length."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from common.corpus.demo import before_and_after
from common.evaluation.earlier_runs import stored_predictions
from common.journey import Outcome, with_samples
from common.run.contents import read_run
from common.run.directory import RunDirectory
from common.types import Example
from tests.report.example_runs import write_predictions

NAMES = (
    *("environment.json", "metrics.jsonl", "predictions.csv", "results.json", "report.html"),
    *("nonfinite.json", "finished.json", "previews.jsonl"),
)
COMMON = Path(__file__).parents[2] / "common"


def literals(path: Path) -> list[str]:
    """Text constants of a module that are not docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def test_only_the_owner_spells_the_names_of_a_runs_files() -> None:
    found = {
        (path.relative_to(COMMON).as_posix(), name)
        for path in COMMON.rglob("*.py")
        for text in literals(path)
        for name in NAMES
        if text == name or text.endswith("/" + name) or f"/{name}:" in text
    }
    found.discard(("report/html.py", "report.html"))  # the template's name
    assert {path for path, _ in found} == {"run/directory.py"}
    assert {name for path, name in found if path == "run/directory.py"} == set(NAMES)


def test_every_use_of_predictions_reads_a_document_of_300_kib(tmp_path: Path) -> None:
    document = "word " * 60_000
    examples = [Example("long", document, "a short summary")]
    run = RunDirectory(tmp_path)
    for file in (run.predictions, run.predictions_of("base")):
        write_predictions(file, examples, ["a summary"], ["eos"])
    assert read_run(tmp_path).predictions[0].document == document
    assert f"{document}\n\n" in before_and_after(tmp_path)
    summary = with_samples(Outcome(0, "", {"run": str(tmp_path)}), 1).summary
    assert summary["samples"][0]["document"] == document
    stored = stored_predictions(tmp_path, examples)
    assert stored is not None
    assert stored[0].text == "a summary"


def test_every_use_of_metrics_leaves_out_the_same_lines(tmp_path: Path) -> None:
    rows = [{"step": 2, "loss": 1.0}, {"loss": 2.0}, {"step": 1, "loss": 3.0}]
    run = RunDirectory(tmp_path)
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "lo')
    assert run.read_metrics() == [rows[2], rows[0]] == list(read_run(tmp_path).metrics)
    run.drop_rows_after(1)
    assert run.read_metrics() == [rows[2]]
