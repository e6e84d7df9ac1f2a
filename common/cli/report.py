"""`sumkit report`: write the report of a run, or write it again."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--markdown", is_flag=True, help="Also write report.md, with the plots linked, to hand in.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the web browser.")
@click.option("--json", "as_json", is_flag=True, help="Print verdict, warnings and written files as one JSON document.")
def command(run: Path, markdown: bool, open_page: bool, as_json: bool) -> None:
    """Write report.html, plots/ and sample_predictions.txt into a run directory.

    The page is one file that opens offline: verdict, scores with intervals, curves, distributions, best, median and
    worst examples, settings, and the commands that repeat the run. Files that are missing are named in it.

    \b
    Examples:
      sumkit report runs/demo
      sumkit report runs/demo --open
      sumkit report runs/demo --markdown
      sumkit report runs/demo --json
    """
    from common.errors import UsageError
    from common.report.content import gather
    from common.report.write import write_files
    from common.run.directory import RunDirectory
    from common.safe_text import one_line
    from common.sweep.sweep import DEFINITION

    if (run / DEFINITION).is_file():
        raise UsageError(
            f"{run} is a sweep: its table is in {RunDirectory(run).results}, its plot in {run / 'plots'}; a report is "
            f"made of one of its runs, in {run / 'trials'}"
        )
    content = gather(run)
    written = write_files(content, markdown)
    verdict = content.verdict
    if as_json:
        document = {
            "report": str(written[0]),
            "files": [str(path) for path in written],
            "verdict": {
                "tone": verdict.tone,
                "headline": verdict.headline,
                "sentence": verdict.sentence,
                "support": verdict.support,
            },
            "warnings": list(verdict.warnings),
            "missing": list(content.run.notes),
        }
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        click.echo(one_line(f"{verdict.headline}. {verdict.sentence}"))
        if verdict.support:
            click.echo(one_line(verdict.support))
        for warning in verdict.warnings:
            click.echo(f"  note: {one_line(warning)}")
        for said in content.run.notes:
            if " is missing" not in said:
                click.echo(f"  note: {one_line(said)}")
        for path in written[: 2 if markdown else 1]:
            click.echo(f"report: {path}")
    if open_page and not webbrowser.open(written[0].resolve().as_uri()):
        click.echo(f"no browser could be started; open {written[0].resolve()} yourself", err=True)
