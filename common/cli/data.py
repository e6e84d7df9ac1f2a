"""`sumkit data`: what is in a data set, what would be cut, and which lengths to choose."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from common.cli.options import GroupedCommand, config_from, settings_options

if TYPE_CHECKING:
    from common.data.statistics import Lengths, Recommendation, SplitStatistics

BAR_WIDTH = 40
HISTOGRAM_ROWS = 12


@click.command("data", cls=GroupedCommand)
@click.argument("path")
@settings_options(
    groups=("data",),
    names=("model", "template", "max_length", "max_document_tokens", "max_summary_tokens", "max_words", "seed"),
    without=("data", "limit_train", "limit_dev"),
)
@click.option("--plots", type=click.Path(path_type=Path), metavar="DIR", help="Write the plots there as PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(path: str, plots: Path | None, as_json: bool, **flags: Any) -> None:
    """Look at a data set: lengths, duplicates, leaks, what would be cut.

    PATH is a directory with train/dev/test files, one file, a folder of texts, or a data set name. Lengths are in
    words; with --model also in tokens, with the share that --max-length would cut and the lengths to choose.

    \b
    Examples:
      sumkit data notes/
      sumkit data notes.csv --document-column body --summary-column tldr
      sumkit data demo --model smollm2-135m --max-length 512
      sumkit data notes/ --plots plots/ --json
    """
    from common.data.sources import SPLITS, load_splits
    from common.data.statistics import describe, recommend, to_dict
    from common.run.model_prompt import open_prompt

    config = config_from({**flags, "data": path})
    splits = load_splits(config.data, config.training.seed, require_train=False)
    conversations = any(example.messages for split in SPLITS for example in splits.get(split))
    form = open_prompt(config, conversations=conversations).form if flags["model"] else None
    statistics = describe({split: splits.get(split) for split in SPLITS}, form)
    recommendation = recommend(next(iter(statistics.values())))
    written = _write_plots(statistics, plots) if plots else []
    if as_json:
        document = {
            "data": path,
            "name": splits.name,
            "model": config.model.model if form else None,
            "report": splits.report.to_dict(),
            "splits": to_dict(statistics),
            "recommended": dataclasses.asdict(recommendation) if recommendation else None,
            "plots": [str(file) for file in written],
        }
        click.echo(json.dumps(document))
        return
    for line in splits.report.lines():
        click.echo(line)
    _print_statistics(statistics)
    _print_recommendation(statistics, recommendation)
    for file in written:
        click.echo(f"plot: {file}")


def _write_plots(statistics: dict[str, SplitStatistics], directory: Path) -> list[Path]:
    from common.report.data_set_plots import write_plots

    return write_plots(statistics, directory)


def _print_statistics(statistics: dict[str, SplitStatistics]) -> None:
    click.echo(f"\n{'':24}{'mean':>8}{'median':>8}{'95 %':>8}{'99 %':>8}{'most':>9}")
    for name, split in statistics.items():
        click.echo(click.style(f"{name}, {split.examples:,} examples", bold=True))
        for label, lengths in (
            ("document words", split.document_words),
            ("summary words", split.summary_words),
            ("document tokens", split.document_tokens),
            ("summary tokens", split.summary_tokens),
        ):
            if lengths:
                click.echo(f"  {label:22}{_figures(lengths)}")
        click.echo(f"  {'words per summary word':22}{split.compression_mean:8.1f}{split.compression_median:8.1f}")
        novel = ", ".join(f"{value:.0f} % of {n}-grams" for n, value in split.novel_ngrams.items())
        click.echo(f"  new in the summaries    {novel.replace('1-grams', 'words') or 'nothing to measure'}")
        if split.references_per_example > 1:
            click.echo(f"  references              {split.references_per_example:.2f} for each document")
    first, split = next(iter(statistics.items()))
    for what, lengths in (("documents", split.document_words), ("summaries", split.summary_words)):
        click.echo(f"\n{first} {what}, words")
        _print_histogram(lengths)


def _figures(lengths: Lengths) -> str:
    values = (lengths.mean, lengths.median, lengths.p95, lengths.p99)
    return "".join(f"{value:8,.0f}" for value in values) + f"{lengths.max:9,}"


def _print_histogram(lengths: Lengths) -> None:
    step = -(-len(lengths.counts) // HISTOGRAM_ROWS)
    counts = [sum(lengths.counts[start : start + step]) for start in range(0, len(lengths.counts), step)]
    for index, count in enumerate(counts):
        low, high = lengths.edges[index * step], lengths.edges[min((index + 1) * step, len(lengths.counts))] - 1
        span = f"{low:,.0f}-{high:,.0f}" if high > low else f"{low:,.0f}"
        label = f"{low:,.0f} or more" if index == len(counts) - 1 else span
        bar = "#" * max(round(BAR_WIDTH * count / max(counts)), 1 if count else 0)
        click.echo(f"  {label:>14}  {bar:{BAR_WIDTH}} {count:,}")


def _print_recommendation(statistics: dict[str, SplitStatistics], recommendation: Recommendation | None) -> None:
    if recommendation is None:
        click.echo("\nadd --model NAME for tokens, what --max-length would cut, and the lengths to choose")
        return
    for name, split in statistics.items():
        fit = split.fit
        assert fit is not None
        click.echo(
            f"\n{name} at --max-length {fit.max_length} (template {fit.template}, {fit.overhead_tokens} tokens of its "
            f"own): {100 * fit.cut_examples:.1f} % of documents would be cut, losing {100 * fit.cut_tokens:.1f} % of "
            f"their tokens; {100 * fit.long_summaries:.1f} % of summaries are too long and left out"
        )
    click.echo(
        f"\nrecommended: --max-document-tokens {recommendation.max_document_tokens} --max-summary-tokens "
        f"{recommendation.max_summary_tokens} --max-length {recommendation.max_length}\n"
        "(keeps 95 % of documents whole and 99 % of summaries)"
    )
