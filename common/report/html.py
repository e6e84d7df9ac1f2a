"""The report as one HTML page that opens offline: template, style sheet and plots in a single file.

Everything is escaped by the template (autoescape); only our own style sheet and plots go in as they are. The page
forbids scripts and requests by its content security policy, so that even a hole in the escaping could run nothing.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.report.content import ReportContent
from common.report.drawing import inline_svg
from common.report.plot_style import Plot
from common.report.samples import score_line
from common.report.tables import (
    OWN_SECTION,
    STOP_LABELS,
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
from common.run.contents import RunFiles
from common.run.predictions import PredictionRow
from common.safe_text import one_line, visible
from common.text.amounts import decimal, mapping, share, signed
from common.text.names import ENGINE_LABELS, WORDS, metric_label
from common.version import VERSION

if TYPE_CHECKING:
    from jinja2 import Template

LISTED_PREDICTIONS = 300
LISTED_CHARACTERS = 220
_HYPHENATED = re.compile(r"\b(Lead|ROUGE)-(?=\w)")  # names that a line must not break


def render_html(content: ReportContent) -> str:
    """The whole page as text. The same run gives the same page."""
    run = content.run
    metrics, rows = score_table(run.results)
    return _template().render(
        run=run,
        version=VERSION,
        style=(Path(__file__).parent / "report.css").read_text(encoding="utf-8"),
        subtitle=subtitle(run),
        verdict=content.verdict,
        key_figures=key_figures(run, content.verdict),
        metrics=metrics,
        score_rows=rows,
        score_notes=score_notes(run.results),
        tokenizer=run.results.get("rouge_tokenizer"),
        other_measures=other_measures(run.results),
        without_overlap=overlap_table(run.results),
        stops=stop_table(run),
        words=WORDS,
        plots={plot.name: _described(plot) for plot in content.plots},
        examples=content.examples,
        faithfulness=content.faithfulness,
        predictions=listed_predictions(run.predictions),
        data_facts=data_facts(run),
        evaluation_facts=facts_table(run.results, OWN_SECTION),
        environment_facts=facts_table(run.environment, OWN_SECTION),
        settings=settings_table(run),
        commands=repeat_commands(run),
    )


def subtitle(run: RunFiles) -> str:
    """Model, data, engine and device in one line, as far as they are known."""
    device = run.results.get("device") or run.environment.get("device")
    engine = run.results.get("engine") or run.environment.get("engine")
    parts = (
        run.results.get("model") or run.setting("model.model"),
        run.results.get("data") or run.setting("data.data"),
        _machine(
            str(engine) if engine else "", mapping(device).get("name") or (device if isinstance(device, str) else "")
        ),
    )
    return " · ".join(str(part) for part in parts if part)


def _machine(engine: str, device: str) -> str:
    """`torch on an NVIDIA T4`: the engine by its library's name, for the one of torch runs on CPUs too."""
    return " on ".join(part for part in (ENGINE_LABELS.get(engine, engine), device) if part)


def listed_predictions(rows: tuple[PredictionRow, ...]) -> list[PredictionRow]:
    """The rows of the full list, best first, no more than fit a page."""
    return sorted(rows, key=lambda row: -row.scores.get("rouge1", -1.0))[:LISTED_PREDICTIONS]


def _described(plot: Plot) -> dict[str, str]:
    return {"name": plot.name, "title": plot.title, "caption": plot.caption, "svg": inline_svg(plot)}


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "visible": lambda value: visible(str(value)),
        "unbroken": lambda value: _HYPHENATED.sub("\\1\u2011", visible(str(value))),
        "one_line": lambda value: one_line(str(value), LISTED_CHARACTERS),
        "decimal": decimal,
        "signed": signed,
        "share": share,
        "metric_label": metric_label,
        "stop_label": lambda reason: STOP_LABELS.get(reason, reason),
        "score_line": score_line,
    }
    environment.filters.update(filters)
    return environment.get_template("report.html")
