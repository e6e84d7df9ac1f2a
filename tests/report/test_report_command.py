"""`sumkit report` as a person and a script use it, and the two text versions it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from common.cli.main import run
from common.cli.report import command
from common.report.content import ReportContent, gather
from common.report.markdown import render_markdown
from common.report.samples import sample_text
from tests.report.example_runs import corpus, write_evaluation, write_training
from tests.report.test_page import hostile_examples


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "demo"
    write_training(folder)
    write_evaluation(folder)
    return folder


@pytest.fixture(scope="module")
def content(path: Path) -> ReportContent:
    return gather(path)


def test_it_prints_the_verdict_and_where_the_page_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, [str(path), "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "Higher ROUGE-1 than the untuned model, Lead-1 and Lead-3. Whether the summaries are true is not known. Better "
    )
    assert f"report: {path / 'report.html'}" in printed
    assert f"report: {path / 'report.md'}" in printed
    for name in ("report.html", "report.md", "sample_predictions.txt", "plots/loss.png", "plots/scores.png"):
        assert (path / name).stat().st_size > 500


def test_json_is_one_document_with_verdict_warnings_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_training(tmp_path, steps=3, planned=90, dev=False)
    assert run(command, [str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"]["headline"] == "Not evaluated yet"
    assert answer["warnings"] == [
        "Training has not finished; its log ends at step 3. `sumkit train --resume` with the same --run continues it."
    ]
    assert answer["missing"] == [
        "predictions.csv is missing: no examples can be shown.",
        "results.json is missing: the run has not been evaluated.",
    ]
    assert all(Path(file).is_file() for file in answer["files"])


def test_what_is_no_run_exits_with_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, [str(tmp_path / "none")]) == 1
    caught = capsys.readouterr()
    assert caught.out == ""
    assert (
        caught.err == f"sumkit: {tmp_path / 'none'}: no such run directory; give the folder that train or eval wrote\n"
    )


def test_markdown_links_plots_that_exist_and_tables_that_are_whole(content: ReportContent) -> None:
    text = render_markdown(content)
    linked = re.findall(r"!\[[^]]*\]\(plots/(\w+)\.png\)", text)
    assert sorted(linked) == sorted(plot.name for plot in content.plots)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert "**Higher ROUGE-1" in text


def test_hostile_documents_stay_text_in_markdown_and_in_a_terminal(tmp_path: Path) -> None:
    write_evaluation(tmp_path, hostile_examples())
    content = gather(tmp_path)
    markdown, samples = render_markdown(content), sample_text(content)
    assert "<" not in markdown.replace("<!--", "<")
    assert "](javascript" not in markdown
    for text in (markdown, samples):
        assert not any((ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) <= 0x9F for c in text)
        assert not any(0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069 for c in text)


def test_samples_show_whole_examples_with_reference_and_both_models(content: ReportContent) -> None:
    text = " ".join(sample_text(content).split())
    shown = [example for group in content.examples.values() for example in group]
    assert len(shown) == 9
    references = {example.id: example.summary for example in corpus()}
    for example in shown:
        assert references[example.id] in text
    assert text.count(" untuned:") == 9
    assert "fine-tuned, not in the document: 1987" in text
