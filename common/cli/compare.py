"""`sumkit compare`: runs side by side on the documents they share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from common.report.comparison import PairedDifference, RunComparison


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--measure", type=click.Choice(["rouge1", "rouge2", "rougeL"]), default="rouge1", show_default=True,
              help="Measure by which the most different examples are chosen.")  # fmt: skip
@click.option("--examples", type=click.IntRange(0), default=5, show_default=True, help="How many of them are shown.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON document.")
def command(runs: tuple[Path, ...], measure: str, examples: int, as_json: bool) -> None:
    """Compare evaluated runs: scores, paired tests, settings that differ, and the examples that differ most.

    Rows are paired by id and document hash. Each difference has a 95 % bootstrap interval and a p value of
    approximate randomisation, corrected for the number of pairs (Holm).

    \b
    Examples:
      sumkit compare runs/rank16 runs/rank64
      sumkit compare runs/a runs/b runs/c --measure rougeL --examples 10
      sumkit compare runs/a runs/b --json
    """
    from common.report.comparison import compare_runs

    compared = compare_runs(runs, measure, examples)
    click.echo(json.dumps(compared.as_dict(), ensure_ascii=False) if as_json else comparison_text(compared, measure))


def comparison_text(compared: RunComparison, measure: str) -> str:
    """Aligned tables and sentences for a terminal."""
    from common.safe_text import one_line
    from common.text.amounts import quantity, read_interval
    from common.text.names import ROUGE_METRICS, metric_label
    from common.text.table import text_table

    labels = {name: one_line(name, 40) for name in compared.names}
    rows = [
        [label, *(str(read_interval(vars(compared.means[name][m]))) for m in ROUGE_METRICS)]
        for name, label in labels.items()
    ]
    lines = [text_table(["run", *map(metric_label, ROUGE_METRICS)], rows)]
    counts = ", ".join(f"{labels[name]} {count:,}" for name, count in compared.own.items())
    lines += ["", f"On the {compared.shared:,} documents that all share (of {counts}):"]
    for pair in compared.differences:
        lines.append("  " + _sentence(labels[pair.first], labels[pair.second], metric_label(pair.measure), pair))
    if compared.settings:
        lines += ["", "Settings that differ:"]
        for path, values in compared.settings.items():
            listed = ", ".join(f"{labels[name]} {one_line(quantity(value), 60)}" for name, value in values.items())
            lines.append(f"  {path}: {listed}")
    if compared.examples:
        lines += ["", f"Examples that differ most in {metric_label(measure)}:"]
    for example in compared.examples:
        lines += ["", f"  {one_line(example.id, 60)}", f"    reference: {one_line(example.reference, 400)}"]
        for name, summary in example.summaries.items():
            lines.append(f"    {labels[name]} ({example.scores[name]:.1f}): {one_line(summary, 400) or '(empty)'}")
    return "\n".join(lines)


def _sentence(first: str, second: str, measure: str, pair: PairedDifference) -> str:
    difference = pair.difference
    interval = f"[{difference.low:.1f}, {difference.high:.1f}]"
    chance = f"p = {pair.adjusted_p:.3f}" if pair.adjusted_p >= 0.001 else "p < 0.001"
    if pair.adjusted_p < 0.05 and difference.low > 0:
        return f"{first} is better than {second} by {difference.mean:.1f} {measure} {interval}, {chance}"
    return (
        f"{first} and {second} are not distinguishable in {measure}: {difference.mean:+.1f} {interval}, {chance}; "
        f"a difference of {difference.detectable:.1f} would show"
    )
