"""The HTML page: complete, correct, self-contained, and safe whatever the documents hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.report.content import gather
from common.report.html import render_html
from common.text.names import WORDS
from common.types import Example
from tests.report.example_runs import corpus, write_evaluation, write_training
from tests.report.page_reader import Page

HOSTILE = {
    "html": "</p></section><script>document.title='owned'</script><img src=x onerror=alert(1)><h1>big</h1> &amp; &lt;",
    "attribute": '"\' onmouseover=alert(1) x=" {{ 7*7 }} {% raw %} ${7*7} <svg/onload=alert(1)> ]]> --> <!--',
    "terminal": "\x1b[2J\x1b]0;owned\x07 red \x1b[31m and \x9b31m",
    "direction": "Price \u202e0001$ \u2066isolated, never closed",
    "rtl": "العربية نص من اليمين إلى اليسار ١٢٣ שלום עולם",
    "cjk": "市議会は月曜日に橋を閉鎖した。修理は春まで続く。",
    "emoji": "Party 🎉👩‍👩‍👧‍👦🏳️‍🌈 at 9 🕘",
    "template": "<|im_end|> ### Summary: {article} {% for x in y %} {{ run }}",
    "url": "javascript:alert(1) data:text/html,<script>alert(1)</script> http://evil.example/?q=<a href=x>",
    "nothing": "",
    "long": "A very long sentence about nothing in particular goes on. " * 900,
    "unbroken": "W" * 3000,
}


def hostile_examples() -> list[Example]:
    return [Example(f"{name}<b>", text, f"{text[:200]} summary") for name, text in HOSTILE.items()]


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("<img src=x onerror=alert(1)>")
    write_training(path)
    examples = hostile_examples()
    results = write_evaluation(path, examples, [f"{example.summary} 42 Xyzzy" for example in examples])
    results["systems"]["runs/<script>alert(1)</script>"] = results["systems"]["base"]
    results["differences"]["tuned-<i>x</i>"] = results["differences"]["tuned-base"]
    results["split"], results["device"] = "<u>test</u>", "\x1b[31m<u>GPU</u>"
    (path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return render_html(gather(path))


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    write_training(path)
    write_evaluation(path)
    (path / "report.html").write_text(render_html(gather(path)), encoding="utf-8")
    return path


def test_hostile_documents_add_no_element_and_no_attribute(hostile_page: str, run_path: Path) -> None:
    plain = Page((run_path / "report.html").read_text(encoding="utf-8"))
    hostile = Page(hostile_page)
    assert hostile.unclosed == []
    assert set(hostile.tags) <= set(plain.tags) | {"em"}
    assert {name for name, _ in hostile.attributes} <= {name for name, _ in plain.attributes}
    assert not any(name.startswith("on") for name, _ in hostile.attributes)
    assert "<script>alert(1)</script>" in hostile.text  # shown as text, so it was not merely dropped
    assert "{{ 7*7 }}" in hostile.text
    assert "html<b>" in hostile.text


def test_control_characters_are_shown_and_not_sent(hostile_page: str) -> None:
    assert not any(ord(c) < 0x20 and c != "\n" for c in hostile_page)
    assert not any(0x7F <= ord(c) <= 0x9F or 0x202A <= ord(c) <= 0x202E for c in hostile_page)
    assert "␛[2J" in hostile_page
    assert "⟨U+202E⟩0001$" in hostile_page


def test_every_script_survives_and_paragraphs_take_their_own_direction(hostile_page: str) -> None:
    for name in ("rtl", "cjk", "emoji"):
        assert HOSTILE[name].split()[0] in Page(hostile_page).text
    assert '<p dir="auto">' in hostile_page


def test_a_long_document_is_cut_in_the_page_and_says_so(hostile_page: str) -> None:
    assert "more characters are not shown" in hostile_page
    assert len(hostile_page.encode()) < 5_000_000


def test_the_page_needs_nothing_from_outside(hostile_page: str, run_path: Path) -> None:
    for html in (hostile_page, (run_path / "report.html").read_text(encoding="utf-8")):
        page = Page(html)
        assert not {"script", "link", "iframe", "object", "img", "form"} & set(page.tags)
        links = [value for name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
        assert links
        assert all(value.startswith("#") for value in links)
        assert "@import" not in html
        assert "default-src 'none'" in html


def test_ids_are_unique_and_every_link_and_reference_finds_its_own(run_path: Path) -> None:
    page = Page((run_path / "report.html").read_text(encoding="utf-8"))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = [value[1:] for name, value in page.attributes if name in ("href", "xlink:href")]
    targets += [value[5:-1] for name, value in page.attributes if name == "clip-path"]
    assert set(targets) <= set(ids)


def test_figures_take_their_colours_from_the_page(run_path: Path) -> None:
    html = (run_path / "report.html").read_text(encoding="utf-8")
    svgs = html.split("<svg")[1:]
    assert len(svgs) == 9
    for svg in svgs:
        body = svg.split("</svg>")[0]
        assert "var(--plot-ink)" in body
        assert "#" not in body.replace('"#', "").replace("url(#", "")  # no colour of its own, only references


def test_verdict_scores_and_examples_are_those_of_the_run(run_path: Path) -> None:
    text = Page((run_path / "report.html").read_text(encoding="utf-8")).text.replace("\u2011", "-")
    results = json.loads((run_path / "results.json").read_text())
    gain = results["differences"]["tuned-base"]["rouge1"]
    assert (
        f"Better than the untuned model by {gain['mean']:.1f} ROUGE-1 [{gain['low']:.1f}, {gain['high']:.1f}]" in text
    )
    score = results["systems"]["lead3"]["rouge2"]
    assert f"Lead-3 {results['systems']['lead3']['rouge1']['mean']:.1f}" in text
    assert f"{score['mean']:.1f} [{score['low']:.1f}, {score['high']:.1f}]" in text
    assert "Not in the document: “1987”" in text
    assert "1 of 40 summaries are empty" in text
    assert "sumkit train --data demo --model smollm2-135m --quantize none --steps 90 --learning-rate 0.0005" in text
    for example in corpus():
        assert example.id in text


def test_words_are_explained_and_only_claims_without_support_are_marked_unasked(run_path: Path) -> None:
    html = (run_path / "report.html").read_text(encoding="utf-8")
    text = Page(html).text.replace("\u2011", "-")
    for word, meaning in WORDS.items():
        assert word in text
        assert meaning in text
    assert '<input type="checkbox" id="compare">' in html
    coloured = [line for line in html.splitlines() if ".different {" in line or ".copied {" in line]
    assert len(coloured) == 3
    assert all(line.startswith("#compare:checked ~ ") for line in coloured)
    assert "torch on CPU, 2 threads" in text
    assert "data.data" not in text


def test_the_same_run_gives_the_same_page(run_path: Path) -> None:
    assert render_html(gather(run_path)) == (run_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "missing", ["config.yaml", "environment.json", "metrics.jsonl", "predictions.csv", "results.json"]
)
def test_a_run_with_one_file_missing_still_has_a_report_that_names_it(tmp_path: Path, missing: str) -> None:
    write_training(tmp_path, steps=12, planned=90, dev=False)
    write_evaluation(tmp_path, corpus(6))
    (tmp_path / missing).unlink()
    page = Page(render_html(gather(tmp_path)))
    assert page.unclosed == []
    assert f"{missing} is missing" in page.text


def test_a_run_killed_at_its_first_step_has_a_report(tmp_path: Path) -> None:
    write_training(tmp_path, steps=1, planned=90, dev=False)
    page = Page(render_html(gather(tmp_path)))
    assert "Not evaluated yet" in page.text
    assert "1 of 90 training steps are logged" in page.text
    assert "Training has not finished; its log ends at step 1" in page.text


def test_one_example_is_enough(tmp_path: Path) -> None:
    write_evaluation(tmp_path, corpus(1))
    assert "Only 1 test examples" in Page(render_html(gather(tmp_path))).text
