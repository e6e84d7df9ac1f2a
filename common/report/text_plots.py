"""Figures of the generated summaries: scores and lengths by example, and how generation ended."""

from __future__ import annotations

import numpy as np

from common.report.plot_style import (
    BASE,
    PAPER,
    REFERENCE,
    STOP_COLOURS,
    TUNED,
    Plot,
    histogram,
    new_figure,
    whole_counts,
    word_counts,
)
from common.report.tables import STOP_LABELS, STOP_REASONS, stop_counts
from common.run.contents import RunFiles
from common.text.amounts import decimal, finite, mapping
from common.text.names import ROUGE_METRICS, metric_label, system_label

MOST_BARS = 25


def rouge_plot(run: RunFiles) -> Plot | None:
    """How ROUGE spreads over the examples, one panel a measure."""
    scores = {m: np.array([row.scores[m] for row in run.predictions if m in row.scores]) for m in ROUGE_METRICS}
    scores = {measure: values for measure, values in scores.items() if len(values) > 1}
    if not scores:
        return None
    figure, panels = new_figure(len(scores), 0.6 + 1.15 * len(scores), sharex=True)
    edges = np.linspace(0, 100, 21)
    for panel, (measure, values) in zip(panels, scores.items(), strict=True):
        histogram(panel, values, edges, TUNED, values.mean())
        panel.set_title(f"{metric_label(measure)}, mean {decimal(values.mean())}")
    panels[-1].set_xlabel("score of one summary, %")
    first, values = next(iter(scores.items()))
    zeros = int((values == 0).sum())
    caption = f"Half of the summaries lie between {decimal(np.percentile(values, 25))} and "
    caption += f"{decimal(np.percentile(values, 75))} {metric_label(first)}. "
    caption += f"{zeros} of {len(values)} score zero." if zeros else "None scores zero."
    return Plot("rouge", "ROUGE per example", caption, figure)


def lengths_plot(run: RunFiles) -> Plot | None:
    """Words of the summaries beside those of the references."""
    main = system_label(run.main_system)
    texts = {
        main: ([row.prediction for row in run.predictions], TUNED, "-"),
        "reference": ([row.reference for row in run.predictions], REFERENCE, "--"),
        "untuned": ([row.prediction for row in run.others.get("base", ())], BASE, ":"),
    }
    if not run.predictions:
        return None
    counts = {name: (word_counts(found), colour, line) for name, (found, colour, line) in texts.items() if found}
    top = max(5.0, *(float(np.percentile(values, 99)) for values, _, _ in counts.values()))
    width = int(np.ceil((top + 1) / MOST_BARS))
    edges = np.arange(0, top + 1 + width, width)
    figure, (panel,) = new_figure(1, 2.9)
    for name, (values, colour, line) in counts.items():
        filled = name == main
        panel.hist(
            np.clip(values, 0, edges[-1]),
            edges,
            histtype="stepfilled" if filled else "step",
            color=colour,
            alpha=0.35 if filled else 1,
            linestyle=line,
            linewidth=1.8,
            label=f"{name}, median {np.median(values):.0f}",
        )
    panel.set_xlabel("words in a summary")
    panel.set_ylabel("examples", fontsize=9.5)
    panel.figure.legend(loc="outside upper left", ncols=2)
    panel.grid(visible=False, axis="x")
    whole_counts(panel)
    ours, reference = counts[main][0], counts["reference"][0]
    ratio = float(np.mean(ours[reference > 0] / reference[reference > 0])) if reference.any() else 0.0
    stated = mapping(mapping(run.results.get("systems")).get(run.main_system)).get("length_ratio")
    ratio = finite(stated) or ratio  # the table's figure, where there is one
    caption = f"Summaries are {decimal(ratio, 2)} times as long as their references on average."
    return Plot("lengths", "Length of summaries", caption, figure)


def generation_plot(run: RunFiles) -> Plot | None:
    """How generations ended, for each model that generated."""
    counts = stop_counts(run)
    if not counts:
        return None
    figure, (panel,) = new_figure(1, 1.25 + 0.42 * len(counts))
    left = np.zeros(len(counts))
    for reason in STOP_REASONS:
        part = np.array([100 * by[reason] / sum(by.values()) for by in counts.values()])
        bar = {"color": STOP_COLOURS[reason], "edgecolor": PAPER, "linewidth": 1, "height": 0.62}
        panel.barh(range(len(counts)), part, left=left, label=STOP_LABELS[reason], **bar)
        for place, (width, start) in enumerate(zip(part, left, strict=True)):
            if width >= 9:
                middle = start + width / 2
                panel.text(middle, place, f"{width:.0f} %", ha="center", va="center", color=PAPER, fontsize=9.5)
        left += part
    panel.set_yticks(range(len(counts)), [system_label(name) for name in counts])
    panel.set_ylim(len(counts) - 0.5, -0.5)
    panel.set_xlim(0, 100)
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=False)
    panel.set_xlabel("share of summaries, %")
    panel.figure.legend(loc="outside upper left", ncols=3)
    caption = "A summary cut at the token limit is unfinished; a failed one counts as zero."
    return Plot("generation", "How generation ended", caption, figure)
