"""Plots of a data set: lengths in words (and tokens) with the limits that matter, and how abstractive summaries are.

Draws what `statistics` measured and writes PNG files; measures nothing itself. matplotlib is imported when a plot is
asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.data.statistics import Lengths, SplitStatistics
from common.errors import DataError
from common.report.plot_style import BASE, GRID, INK, MUTED, NEUTRAL, REFERENCE, TUNED, new_figure, style

DPI = 160
SPLIT_LOOKS = {"train": (TUNED, "-"), "dev": (BASE, "--"), "test": (REFERENCE, ":")}


def write_plots(statistics: Mapping[str, SplitStatistics], directory: Path) -> list[Path]:
    """Write the plots as PNG. Returns their paths; raises DataError when the directory cannot be written."""
    figures = {"words.png": _lengths_figure(statistics, "words"), "novelty.png": _novelty_figure(statistics)}
    if all(split.document_tokens for split in statistics.values()):
        figures["tokens.png"] = _lengths_figure(statistics, "tokens")
    paths = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            with style():
                figure.savefig(directory / name, dpi=DPI)
            paths.append(directory / name)
    except OSError as error:
        raise DataError(f"--plots {directory}: cannot be written ({error.strerror or error})") from None
    return sorted(paths)


def _lengths_figure(statistics: Mapping[str, SplitStatistics], unit: str) -> Any:
    """Documents above, summaries below: each split as an outline of its share, the largest one filled."""
    with style():
        figure, panels = new_figure(2, 5.6)
        for panel, what in zip(panels, ("document", "summary"), strict=True):
            found: dict[str, Lengths] = {name: getattr(split, f"{what}_{unit}") for name, split in statistics.items()}
            _outlines(panel, found)
            _mark(panel, next(iter(found.values())))
            panel.set_title("Documents" if what == "document" else "Summaries", pad=20)
            panel.set_ylabel("share of examples, %", fontsize=9.5)
            panel.set_xlabel(f"{unit} (longer than the 99th percentile: in the last bin)", fontsize=9.5)
            panel.set_ylim(bottom=0)
        if len(statistics) > 1:
            panels[0].legend(
                loc="lower right", bbox_to_anchor=(1, 1.1), ncols=3, borderaxespad=0, columnspacing=1, handlelength=1.6
            )
    return figure


def _outlines(panel: Any, found: Mapping[str, Lengths]) -> None:
    """Shares are per bin of the first split, since others may have bins of another width."""
    first = next(iter(found))
    for name, lengths in found.items():
        total = sum(lengths.counts)
        per_bin = (found[first].edges[1] - found[first].edges[0]) / (lengths.edges[1] - lengths.edges[0])
        shares = [100 * count / total * per_bin for count in lengths.counts]
        colour, line = SPLIT_LOOKS.get(name, (NEUTRAL, "-"))
        if name == first:
            panel.stairs(shares, lengths.edges, fill=True, color=colour, alpha=0.25)
        label = f"{name} ({total:,})"
        panel.stairs(shares, lengths.edges, color=colour, linestyle=line, linewidth=1.6, label=label)


def _mark(panel: Any, lengths: Lengths) -> None:
    for value, label, side in ((lengths.median, "median", "right"), (lengths.p95, "95 %", "left")):
        panel.axvline(value, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        panel.annotate(
            f"{label} {value:.0f}",
            (value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=9,
            color=MUTED,
            ha=side,
        )


def _novelty_figure(statistics: Mapping[str, SplitStatistics]) -> Any:
    """Share of novel n-grams by n, one group of bars for each n."""
    with style():
        figure, (panel,) = new_figure(1, 3.1)
        height = 0.8 / len(statistics)
        for index, (name, split) in enumerate(statistics.items()):
            colour, _ = SPLIT_LOOKS.get(name, (NEUTRAL, "-"))
            places = [int(n) - 0.4 + height * (index + 0.5) for n in split.novel_ngrams]
            values = list(split.novel_ngrams.values())
            panel.barh(places, values, height * 0.92, color=colour, label=name)
            for place, value in zip(places, values, strict=True):
                panel.annotate(f"{value:.0f}", (value, place), xytext=(3, 0), textcoords="offset points", va="center")
        panel.set_yticks([1, 2, 3, 4], ["words", "2-grams", "3-grams", "4-grams"])
        panel.invert_yaxis()
        panel.set_xlim(0, 108)
        panel.set_title("Of the summaries' n-grams, not in the document")
        panel.set_xlabel("percent", fontsize=9.5)
        panel.grid(visible=False, axis="y")
        panel.grid(color=GRID, axis="x")
        if len(statistics) > 1:
            panel.legend(loc="upper right")
    return figure
