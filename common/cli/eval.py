"""`sumkit eval`: a run against the untuned model and simple baselines on the same documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click


@click.command("eval")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", default="", help="File, directory or data set name (default: the run's own data).")
@click.option("--split", default="", help="train, dev or test (default: test, or dev where there is no test).")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Score at most this many documents (0: all).")
@click.option("--multi-reference", type=click.Choice(["best", "mean"]), default="best", show_default=True,
              help="With several references: the one with the best ROUGE-1, or the mean over them.")  # fmt: skip
@click.option("--base/--no-base", default=True, help="Also score the untuned model.")
@click.option("--base-template", default="auto", show_default=True,
              help="Prompt of the untuned model: its best of all (auto), the run's (same), or a name.")  # fmt: skip
@click.option("--beside", type=click.Path(path_type=Path), multiple=True, metavar="RUN",
              help="Also score this earlier run on the same documents; may be given several times.")  # fmt: skip
@click.option("--bertscore", default="", metavar="MODEL",
              help="Also score BERTScore with this encoder (a folder or Hub id, e.g. roberta-large).")  # fmt: skip
@click.option("--checker", default="built-in", show_default=True, metavar="NAME",
              help="Checks summaries against their documents: built-in or rules.")  # fmt: skip
@click.option("--engine", type=click.Choice(["auto", "mlx", "cuda"]), default="auto", show_default=True,
              help="Which engine runs the run.")  # fmt: skip
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write results there instead of into the run.",
)
@click.option("--human-sheet", type=click.IntRange(min=1), metavar="N",
              help="Write a blinded sheet of N evaluated documents for people to rate, and stop.")  # fmt: skip
@click.option("--human-scores", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
              help="Read filled-in sheets (once for each rater), print means, wins, agreement, and stop.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON document.")
def command(
    run: Path,
    data: str,
    split: str,
    limit: int,
    multi_reference: Literal["best", "mean"],
    base: bool,
    base_template: str,
    beside: tuple[Path, ...],
    bertscore: str,
    checker: str,
    engine: str,
    out: Path | None,
    human_sheet: int | None,
    human_scores: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Score a run with 95 % intervals, beside the untuned model, Lead-1, Lead-3, a random sentence and the oracle.

    The oracle copies the sentences that score best: no summary made by copying can do better. Every difference is
    paired on the same documents; `detectable` is the smallest true difference that they would show in four cases
    of five.

    Results are kept in the run. Where those that are there answer more, or something else (other documents, another
    limit), the new ones are written to RUN/evaluations with a report of their own.

    \b
    Examples:
      sumkit eval runs/demo
      sumkit eval runs/notes --data test.jsonl --limit 200
      sumkit eval runs/notes --data test.jsonl --out scores/ --json
      sumkit eval runs/rank64 --beside runs/rank16 --beside runs/rank32
      sumkit eval runs/notes --bertscore roberta-large
      sumkit eval runs/notes --human-sheet 20
      sumkit eval runs/notes --human-scores ann.csv --human-scores ben.csv
    """
    if human_sheet and human_scores:
        raise click.UsageError("--human-sheet writes a sheet and --human-scores reads filled-in ones: give one of them")
    if out and (human_sheet or human_scores):
        raise click.UsageError("the sheet and its key are kept in RUN/human; leave out --out")
    if human_sheet or human_scores:
        _human(run, human_sheet, human_scores, as_json)
        return
    from common.evaluation.evaluation_results import score_table
    from common.evaluation.run_evaluation import EvalOptions, evaluate_run
    from common.report.write import write_report
    from common.run.loaded_run import load_run

    loaded = load_run(run, engine)
    options = EvalOptions(data, split, limit, multi_reference, base, base_template, beside, bertscore, checker)
    results, place = evaluate_run(loaded, options, out)
    report = write_report(place)
    if as_json:
        click.echo(json.dumps(results))
    else:
        click.echo(score_table(results))
        click.echo(f"report: {report}")


def _human(run: Path, sheet: int | None, scores: tuple[Path, ...], as_json: bool) -> None:
    from common.report.human_scores import human_table, read_human_scores
    from common.report.human_sheet import write_human_sheet

    if sheet:
        paths = [str(path) for path in write_human_sheet(run, sheet)]
        click.echo(json.dumps({"files": paths}) if as_json else "\n".join(paths))
        return
    read = read_human_scores(run, list(scores))
    click.echo(json.dumps(read.as_dict()) if as_json else human_table(read))
