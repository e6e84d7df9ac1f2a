"""Scored documents that were trained on, and notes on scores: said, and every score shown without such documents."""

import json
from pathlib import Path

from common.report.content import gather
from common.report.html import render_html
from common.report.markdown import render_markdown
from tests.report.example_runs import write_evaluation, write_training


def with_overlap(path: Path, **overlap: object) -> Path:
    write_training(path)
    results = write_evaluation(path)
    (path / "results.json").write_text(json.dumps({**results, "overlap": overlap}), encoding="utf-8")
    return path


def test_scores_are_shown_with_and_without_the_documents_trained_on(tmp_path):
    without = {name: {"rouge1": {"mean": 11.25, "low": 10.0, "high": 12.5}} for name in ("tuned", "base")}
    gain = {"tuned-base": {"rouge1": {"mean": 2.0, "low": 1.0, "high": 3.0, "p_value": 0.01, "detectable": 1.4}}}
    content = gather(
        with_overlap(tmp_path, trained_on=4, trained_on_ids=["a"], without_them=without, differences_without_them=gain)
    )
    (warning,) = [text for text in content.verdict.warnings if "training data" in text]
    assert "4 of 40 scored documents" in warning
    assert "without them is 11.2 [10.0, 12.5]" in warning
    assert warning.endswith("the honest ones: better than the untuned model by 2.0 ROUGE-1 [1.0, 3.0].")
    for page in (render_html(content), render_markdown(content)):
        assert "Without the documents that stand in the training data" in page
        assert page.count("11.2 [10.0, 12.5]") == 3  # the warning and two systems


def test_where_every_document_was_trained_on_nothing_is_left_to_believe(tmp_path):
    content = gather(with_overlap(tmp_path, trained_on=40, trained_on_ids=["a"]))
    assert any("say nothing about new documents" in text for text in content.verdict.warnings)


def test_without_overlap_nothing_is_said(tmp_path):
    content = gather(with_overlap(tmp_path, trained_on=0, trained_on_ids=[]))
    assert not any("training data" in text for text in content.verdict.warnings)
    assert "Without the documents" not in render_html(content)


def test_what_a_reader_must_know_of_a_score_stands_under_the_table(tmp_path):
    write_training(tmp_path)
    results = write_evaluation(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({**results, "notes": ["METEOR without <synonyms>."]}))
    content = gather(tmp_path)
    assert '<p class="note">METEOR without &lt;synonyms&gt;.</p>' in render_html(content)
    assert "- METEOR without &lt;synonyms&gt;." in render_markdown(content)
