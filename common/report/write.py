"""Write a run's report: report.html, plots/*.png, sample_predictions.txt, and report.md where asked for."""

from __future__ import annotations

from pathlib import Path

from common.files import finish_interrupted, write_text
from common.report.content import ReportContent, gather
from common.report.drawing import save_png
from common.report.html import render_html
from common.report.markdown import render_markdown
from common.report.samples import sample_text


def write_report(run: Path) -> Path:
    """Write report.html, plots/ and sample_predictions.txt into a run directory; returns the path of the page.

    Files of the run that are missing or damaged are named in the report. Raises CheckpointError when the directory
    holds no run, or cannot be written.
    """
    return write_files(gather(Path(run)))[0]


def write_files(content: ReportContent, markdown: bool = False) -> list[Path]:
    """Write what was gathered; the page is the first path of the list, report.md the second where asked for.

    The page is written last: where it stands, everything does.
    """
    run = content.run.directory
    finish_interrupted(run.plots)
    written = []
    if markdown:
        written.append(run.report_markdown)
        write_text(written[-1], render_markdown(content))
    if content.run.predictions:
        written.append(run.samples)
        write_text(written[-1], sample_text(content))
    for plot in content.plots:
        written.append(run.plots / f"{plot.name}.png")
        save_png(plot, written[-1])
    write_text(run.report, render_html(content))
    return [run.report, *written]
