"""`sumkit summarize` as people use it: mixed folders, pipes, formats, and files that cannot be read."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from common.cli.summarize import command
from common.errors import DataError
from common.summarize.summarizer import Summarizer
from tests.documents.make_files import docx_bytes, pdf_bytes

TEXT = "The council voted on Monday to close the old bridge for repairs."
Run = Callable[..., Result]


@pytest.fixture
def run(tiny_runs: list[Path]) -> Run:
    """Runs the command on the first tiny run, on the torch engine."""

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(command, ["--run", str(tiny_runs[0]), "--engine", "cuda", *arguments], input=stdin)

    return invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five documents of five kinds, one of them damaged, and a file of another kind."""
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.md").write_text(f"# Bridge\n\n{TEXT}")
    (tmp_path / "c.html").write_text(f"<p>{TEXT}</p>")
    (tmp_path / "d.pdf").write_bytes(pdf_bytes([[TEXT]]))
    (tmp_path / "e.docx").write_bytes(docx_bytes())
    (tmp_path / "f.pdf").write_bytes(b"%PDF-1.4 damaged")
    (tmp_path / "g.zip").write_bytes(b"PK")
    return tmp_path


def test_a_folder_of_mixed_files_gives_a_summary_each_and_names_the_one_that_failed(run: Run, folder: Path) -> None:
    result = run(str(folder), "--jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(row["file"]).name for row in rows] == ["a.txt", "b.md", "c.html", "d.pdf", "e.docx"]
    assert rows[0]["summary"] == rows[2]["summary"] == rows[3]["summary"] != rows[4]["summary"], (
        "same text, same summary"
    )
    assert isinstance(result.exception, DataError)
    assert "1 of 6 documents have no summary" in str(result.exception)
    assert "f.pdf: is damaged" in str(result.exception)
    assert "1 files of other kinds left out: 1 .zip" in result.stderr


def test_standard_input_gives_just_the_summary(run: Run, load: Callable[[str], Summarizer]) -> None:
    expected = load("cuda").summarize(TEXT).text
    assert run("-", stdin=TEXT).stdout == expected + "\n"
    assert run(stdin=TEXT).stdout == expected + "\n"


def test_json_is_one_document_with_the_model_the_summaries_and_the_failures(run: Run, folder: Path) -> None:
    result = run(
        str(folder / "a.txt"), str(folder / "f.pdf"), str(folder / "missing.txt"), "--json", "--sentences", "1"
    )
    document = json.loads(result.stdout)
    assert document["model"] == "run0"
    assert [Path(row["file"]).name for row in document["summaries"]] == ["a.txt"]
    assert [Path(name).name for name in document["failed"]] == ["f.pdf", "missing.txt"]
    assert {"stop_reason", "tokens", "prompt_tokens", "unread_tokens", "parts"} <= document["summaries"][0].keys()


def test_a_flag_that_would_have_no_effect_is_refused(run: Run, folder: Path) -> None:
    for flags in (("--model", "phi-2"), ("--quantize", "4bit"), ("--json", "--csv")):
        result = run(str(folder / "a.txt"), *flags)
        assert result.exit_code == 2
        assert flags[0] in result.stderr


def test_parts_of_one_long_document_are_progress_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(f"{TEXT} " * 30)
    result = run(str(tmp_path / "long.txt"), "--long", "map-reduce")
    assert re.search(r"parts: (\d+)/\1$", result.stderr, re.MULTILINE)


def test_csv_has_a_row_for_each_document(run: Run, folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(str(folder / "a.txt"), str(folder / "b.md"), "--csv").stdout)))
    assert [Path(row["file"]).name for row in rows] == ["a.txt", "b.md"]
    assert all(row["summary"] and row["stop_reason"] in ("eos", "length") for row in rows)


def test_several_files_get_headings_in_text_output(run: Run, folder: Path) -> None:
    out = run(str(folder / "a.txt"), str(folder / "b.md")).stdout
    assert [line for line in out.splitlines() if line.startswith("== ")] == [
        f"== {folder / name}" for name in ("a.txt", "b.md")
    ]


def test_what_was_not_read_of_a_long_document_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(f"{TEXT} " * 30)
    result = run(str(tmp_path / "long.txt"), "--long", "truncate")
    assert result.exit_code == 0
    assert "tokens of it were not read (--long truncate)" in result.stderr
    assert "not read" not in run(str(tmp_path / "long.txt"), "--long", "map-reduce").stderr
    assert re.search(r"from its \d+ key sentences, \d+ tokens left out", run(str(tmp_path / "long.txt")).stderr)


def test_several_runs_are_an_ensemble_or_a_usage_error(run: Run, tiny_runs: list[Path], folder: Path) -> None:
    more = ["--run", str(tiny_runs[1]), "--run", str(tiny_runs[2]), str(folder / "a.txt")]
    assert "need --ensemble vote or average" in run(*more).stderr
    voted = json.loads(run(*more, "--ensemble", "vote", "--json").stdout)
    assert len(voted["summaries"][0]["candidates"]) == 3
    assert voted["model"] == "vote of run0, run1, run2"


def test_without_a_run_the_model_is_untuned_and_that_is_said(tiny_base: Path, folder: Path) -> None:
    arguments = ["--model", str(tiny_base), "--quantize", "none", "--engine", "cuda", str(folder / "a.txt")]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0
    assert "without training (zero-shot)" in result.stderr


def test_a_folder_without_documents_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no document in" in str(run(str(tmp_path / "empty")).exception)
