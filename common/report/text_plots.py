"""Figures of the evaluated texts: scores and lengths by example, how generation ended, the documents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.report.formats import ROUGE_METRICS, decimal, metric_label, system_label
from common.report.plot_style import (
    BASE,
    INK,
    NEUTRAL,
    PAPER,
    REFERENCE,
    STOP_COLOURS,
    TUNED,
    Plot,
    Values,
    new_figure,
    whole_counts,
)
from common.report.run_files import RunFiles
from common.report.tables import STOP_LABELS, STOP_REASONS, stop_counts


def rouge_plot(run: RunFiles) -> Plot | None:
    """How ROUGE spreads over the examples, one panel a measure."""
    scores = {m: np.array([row.scores[m] for row in run.predictions if m in row.scores]) for m in ROUGE_METRICS}
    scores = {measure: values for measure, values in scores.items() if len(values) > 1}
    if not scores:
        return None
    figure, panels = new_figure(len(scores), 0.6 + 1.15 * len(scores), sharex=True)
    edges = np.linspace(0, 100, 26)
    for panel, (measure, values) in zip(panels, scores.items(), strict=True):
        panel.hist(np.clip(values, 0, 100), edges, color=TUNED, edgecolor=PAPER, linewidth=0.6)
        panel.axvline(values.mean(), color=INK, linewidth=1.4)
        panel.annotate(
            f"mean {decimal(values.mean())}",
            (values.mean(), 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -2),
            textcoords="offset points",
            va="top",
            fontsize=9.5,
        )
        panel.set_title(metric_label(measure))
        panel.set_ylabel("examples", fontsize=9.5)
        panel.grid(visible=False, axis="x")
        whole_counts(panel)
    panels[-1].set_xlabel("score of one summary, %")
    first, values = next(iter(scores.items()))
    zeros = int((values == 0).sum())
    caption = f"Half of the summaries lie between {decimal(np.percentile(values, 25))} and "
    caption += f"{decimal(np.percentile(values, 75))} {metric_label(first)}."
    return Plot("rouge", "ROUGE per example", caption + (f" {zeros} score zero." if zeros else ""), figure)


def lengths_plot(run: RunFiles) -> Plot | None:
    """Words of the summaries beside those of the references."""
    main = system_label(run.main_system)
    texts = {
        main: ([row.prediction for row in run.predictions], TUNED, "-"),
        "reference": ([row.reference for row in run.predictions], REFERENCE, "--"),
        "untuned": ([row.prediction for row in run.others.get("base", ())], BASE, ":"),
    }
    counts = {name: (word_counts(found), colour, line) for name, (found, colour, line) in texts.items() if found}
    if not counts:
        return None
    top = max(np.percentile(values, 99) for values, _, _ in counts.values())
    edges = np.arange(0, top + 2) if top < 30 else np.linspace(0, top, 31)
    figure, (panel,) = new_figure(1, 2.7)
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
    panel.legend(loc="best")
    panel.grid(visible=False, axis="x")
    whole_counts(panel)
    tuned, reference = counts[main][0], counts["reference"][0]
    ratio = tuned.mean() / reference.mean() if reference.mean() else 0
    caption = f"Summaries are {ratio:.2f} times as long as the references on average."
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
        panel.barh(
            range(len(counts)),
            part,
            left=left,
            color=STOP_COLOURS[reason],
            height=0.62,
            edgecolor=PAPER,
            linewidth=1,
            label=STOP_LABELS[reason],
        )
        for place, (width, start) in enumerate(zip(part, left, strict=True)):
            if width >= 9:
                panel.text(
                    start + width / 2, place, f"{width:.0f} %", ha="center", va="center", color=PAPER, fontsize=9.5
                )
        left += part
    panel.set_yticks(range(len(counts)), [system_label(name) for name in counts])
    panel.set_ylim(len(counts) - 0.5, -0.5)
    panel.set_xlim(0, 100)
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=False)
    panel.set_xlabel("share of summaries, %")
    panel.figure.legend(loc="outside upper left", ncols=3)
    caption = "A summary should end by itself; one cut at the token limit is unfinished, a failed one counts as zero."
    return Plot("generation", "How generation ended", caption, figure)


def data_plot(run: RunFiles) -> Plot | None:
    """Lengths of the evaluated documents, and how far their summaries compress them."""
    documents = word_counts([row.document for row in run.predictions if row.document])
    if len(documents) < 2:
        return None
    pairs = [(row.document, row.reference) for row in run.predictions if row.document and row.reference.strip()]
    ratios = word_counts([d for d, _ in pairs]) / np.maximum(1, word_counts([r for _, r in pairs]))
    figure, panels = new_figure(2 if len(ratios) > 1 else 1, 3.9 if len(ratios) > 1 else 2.2)
    titles = ("words in a document", "words of document per word of reference")
    for panel, values, title in zip(panels, (documents, ratios), titles, strict=False):
        top = max(1.0, float(np.percentile(values, 99)))
        panel.hist(np.clip(values, 0, top), np.linspace(0, top, 31), color=NEUTRAL, edgecolor=PAPER, linewidth=0.6)
        panel.axvline(np.median(values), color=INK, linewidth=1.4)
        panel.annotate(
            f"median {np.median(values):,.0f}",
            (np.median(values), 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -2),
            textcoords="offset points",
            va="top",
            fontsize=9.5,
        )
        panel.set_title(title)
        panel.set_ylabel("examples", fontsize=9.5)
        panel.grid(visible=False, axis="x")
        whole_counts(panel)
    caption = f"The {len(documents):,} evaluated documents: median {np.median(documents):,.0f} words, "
    caption += f"95 % have at most {np.percentile(documents, 95):,.0f}. The last bar also holds what lies beyond."
    return Plot("data", "The documents", caption, figure)


def word_counts(texts: Sequence[str]) -> Values:
    """Words of each text as the Unicode scorer counts them (also in scripts without spaces)."""
    from common.metrics.tokens import get_tokenizer

    words = get_tokenizer("unicode").words
    return np.array([len(words(text)) for text in texts], dtype=float)
