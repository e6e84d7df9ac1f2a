"""`sumkit check`: whether documents support their summaries, whoever wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from common.check.results import CheckResults
    from common.evaluation.paired_files import Documented

SHOWN = 5


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--documents", type=click.Path(path_type=Path), metavar="FILE",
              help="Rows with id and document, where FILE has none.")  # fmt: skip
@click.option("--checker", default="built-in", show_default=True, metavar="NAME",
              help="built-in; rules: numbers, dates, names and quotations alone; an encoder, by folder or Hub id; or a "
                   "model behind an OpenAI-compatible server: URL, or URL#MODEL.")  # fmt: skip
@click.option("--allow-remote", default="", metavar="HOST",
              help="Documents may be sent to this host; else a server must be on this machine.")  # fmt: skip
@click.option("--per-example", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.jsonl",
              help="Write the support of each sentence, with its evidence, there.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON document.")
def command(
    file: Path, documents: Path | None, checker: str, allow_remote: str, per_example: Path | None, as_json: bool
) -> None:
    """Check summaries against their documents: how far each sentence is supported, and by which passage.

    FILE has rows of id, document and summary (JSONL, CSV, Parquet), or is a run's predictions.csv. A summary counts as
    supported if its least supported sentence is. How well the checker tells true from false is measured each time,
    by planting errors into summaries that people wrote (columns reference or references), or into these.

    \b
    Examples:
      sumkit check summaries.jsonl
      sumkit check runs/demo/predictions.csv --per-example support.jsonl
      sumkit check out.csv --documents test.jsonl --json
      sumkit check out.csv --checker http://localhost:11434/v1#qwen3
    """
    from common.check.open import open_checker
    from common.check.results import check_summaries
    from common.check.support import DocumentSummary
    from common.evaluation.paired_files import read_documented
    from common.files import write_text

    opened = open_checker(checker, allow_remote)
    rows = read_documented(file, documents)
    items = [DocumentSummary(row.document, row.summary) for row in rows]
    written = [(row.document, reference) for row in rows for reference in row.references[:1]]
    results = check_summaries(opened, items, written)
    if per_example:
        lines = [json.dumps({"id": row.id, **results.row(i)}, ensure_ascii=False) for i, row in enumerate(rows)]
        write_text(per_example, "".join(f"{line}\n" for line in lines))
    click.echo(json.dumps(results.as_dict()) if as_json else _text(rows, results))


def _text(rows: list[Documented], results: CheckResults) -> str:
    from common.check.results import accuracy_text, first_failure

    figures = results.as_dict()
    supported = figures["supported"]
    lines = [
        f"{len(rows)} summaries; supported by their documents: {supported['mean']:.1f} % "
        f"[{supported['low']:.1f}, {supported['high']:.1f}]",
        accuracy_text(figures["checker"]),
    ]
    if "unrated" in figures:
        lines.append(f"{figures['unrated']} could not be rated and do not count: {first_failure(results.checked)}")
    rated = [index for index, checked in enumerate(results.checked) if not checked.failure]
    worst = sorted(rated, key=lambda index: results.checked[index].support)[:SHOWN]
    weak = [index for index in worst if not results.supported(results.checked[index])]
    if weak:
        lines += ["", "least supported:", *(_worst(rows[index], results, index) for index in weak)]
    return "\n".join(lines)


def _worst(row: Documented, results: CheckResults, index: int) -> str:
    from common.safe_text import one_line

    sentence = min(results.checked[index].sentences, key=lambda item: item.support, default=None)
    if sentence is None:
        return f"  [{one_line(row.id, 40)}] (empty)"
    text = row.summary[sentence.start : sentence.end]
    return f"  [{one_line(row.id, 40)}] {sentence.support:.2f}  {one_line(text, 160)}"
