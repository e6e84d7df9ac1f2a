"""The report as Markdown to hand in: the same verdict, tables and examples, plots as linked PNG files."""

from __future__ import annotations

from collections.abc import Sequence

from common.report.content import ReportContent
from common.report.examples import ShownExample
from common.report.html import subtitle
from common.report.samples import plain, score_line
from common.report.tables import (
    OWN_SECTION,
    Table,
    data_facts,
    facts_table,
    key_figures,
    other_measures,
    overlap_table,
    repeat_commands,
    score_notes,
    score_table,
    settings_table,
    stop_table,
)
from common.safe_text import markdown_text, one_line
from common.text.names import metric_label

SHOWN_DOCUMENT_CHARACTERS = 1200


def render_markdown(content: ReportContent) -> str:
    """The whole report as GitHub-flavoured Markdown. Plots are linked as `plots/NAME.png`."""
    run, verdict = content.run, content.verdict
    parts = [
        f"# {markdown_text(run.name)}",
        markdown_text(subtitle(run)),
        f"**{markdown_text(verdict.headline)}**",
        markdown_text(verdict.sentence),
        markdown_text(verdict.support),
        markdown_text(verdict.detectable),
        _bullets(verdict.warnings),
        _table(Table(("key figure", "value", ""), tuple(key_figures(run, verdict)))),
        *_scores(content),
        *_section("Training", [_image(content, name) for name in ("loss", "health")]),
        *_section(
            "Generation",
            [*(_image(content, name) for name in ("lengths", "copying", "generation")), _table(stop_table(run))],
        ),
        *_examples(content),
        *_section("Data", [_image(content, "data"), _facts(data_facts(run))]),
        *_section("Settings that are not the default", [_facts([(p, v) for p, v, new in settings_table(run) if new])]),
        *_section("Environment", [_facts(facts_table(run.environment, OWN_SECTION))]),
        *_section("Evaluation", [_facts(facts_table(run.results, OWN_SECTION))]),
        *_section("Repeat it", [f"{what}:\n\n{_code(line)}" for what, line in repeat_commands(run)]),
        *_section("What is missing here", [_bullets(run.notes)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _scores(content: ReportContent) -> list[str]:
    metrics, rows = score_table(content.run.results)
    table = Table(
        ("system", *map(metric_label, metrics)),
        tuple((row.label, *(str(score) if score else "–" for score in row.scores)) for row in rows),
    )
    tokenizer = content.run.results.get("rouge_tokenizer")
    words = f" Words by {markdown_text(str(tokenizer))}." if tokenizer else ""
    return _section(
        "Scores",
        [
            _table(table),
            f"Means in percent with 95 % intervals; more is better.{words}" if rows else "",
            _bullets(score_notes(content.run.results)) if rows else "",
            _without_overlap(content),
            _image(content, "scores"),
            _image(content, "differences"),
            _image(content, "rouge"),
            _table(other_measures(content.run.results)),
        ],
    )


def _without_overlap(content: ReportContent) -> str:
    table = _table(overlap_table(content.run.results))
    return f"Without the documents that stand in the training data:\n\n{table}" if table else ""


def _examples(content: ReportContent) -> list[str]:
    parts = [content.faithfulness]
    for group, examples in content.examples.items():
        parts.append(f"### {group.capitalize()}")
        parts += [_example(example) for example in examples]
    return _section("Examples", parts)


def _example(example: ShownExample) -> str:
    document = plain(example.document)
    shown = one_line(document, SHOWN_DOCUMENT_CHARACTERS)
    lines = [f"**{markdown_text(example.id)}** ({score_line(example)})"]
    lines += [_quote("Document", shown), _quote("Reference", plain(example.reference))]
    for text in example.summaries:
        lines.append(_quote(text.label.capitalize(), plain(text) or "(empty)"))
        if text.unsupported:
            listed = ", ".join(f"“{markdown_text(claim)}” ({kind})" for claim, kind in text.unsupported)
            lines.append(f"Not in the document: {listed}")
    return "\n\n".join(lines)


def _quote(label: str, text: str) -> str:
    return f"> *{markdown_text(label)}:* {markdown_text(one_line(text))}"


def _section(title: str, parts: Sequence[str]) -> list[str]:
    found = [part for part in parts if part]
    return [f"## {title}", *found] if found else []


def _image(content: ReportContent, name: str) -> str:
    plot = content.plot(name)
    if plot is None:
        return ""
    return f"![{markdown_text(plot.title)}](plots/{name}.png)\n\n{markdown_text(plot.caption)}"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def _facts(rows: Sequence[tuple[str, str]]) -> str:
    return _table(Table(("what", "value"), tuple(rows))) if rows else ""


def _table(table: Table | None) -> str:
    if table is None or not table.rows:
        return ""
    lines = [_row(table.columns), "|" + " --- |" * len(table.columns), *map(_row, table.rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_text(one_line(cell)) for cell in cells) + " |"


def _code(line: str) -> str:
    """A fenced block whose fence is longer than any run of backticks inside."""
    text = one_line(line)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}sh\n{text}\n{fence}"
