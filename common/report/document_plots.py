"""Figures of the evaluated documents: their length, what a summary compresses, and how much is copied."""

from __future__ import annotations

import numpy as np

from common.report.plot_style import (
    BASE,
    NEUTRAL,
    REFERENCE,
    TUNED,
    Plot,
    histogram,
    new_figure,
    word_counts,
)
from common.run.contents import RunFiles
from common.run.predictions import PredictionRow
from common.text.amounts import decimal
from common.text.names import system_label

MOST_COMPARED = 500  # documents whose n-grams are counted; more change the means by little and take long
NGRAMS = (1, 2, 3, 4)


def data_plot(run: RunFiles) -> Plot | None:
    """Lengths of the evaluated documents, and how far their summaries compress them."""
    documents = word_counts([row.document for row in run.predictions if row.document])
    if len(documents) < 2:
        return None
    pairs = [(row.document, row.reference) for row in run.predictions if row.document and row.reference.strip()]
    ratios = word_counts([d for d, _ in pairs]) / np.maximum(1, word_counts([r for _, r in pairs]))
    panels_wanted = 2 if len(ratios) > 1 else 1
    figure, panels = new_figure(panels_wanted, 0.3 + 1.7 * panels_wanted)
    titles = ("words in a document", "words of document for each word of reference")
    for panel, values, title in zip(panels, (documents, ratios), titles, strict=False):
        top = max(1.0, float(np.percentile(values, 99)))
        bars = min(30, max(8, round(2 * len(values) ** 0.5)))
        median = float(np.median(values))
        histogram(panel, values, np.linspace(0, top, bars + 1), NEUTRAL, median)
        panel.set_title(f"{title}, median {decimal(median, 0 if median >= 10 else 1)}")
    caption = f"The {len(documents):,} evaluated documents: median {np.median(documents):,.0f} words, "
    caption += f"95 % have at most {np.percentile(documents, 95):,.0f}. The last bar also holds what lies beyond."
    return Plot("data", "The documents", caption, figure)


def copying_plot(run: RunFiles) -> Plot | None:
    """Share of n-grams that the document does not hold, of references and of each model's summaries."""
    from common.metrics.abstractiveness import abstractiveness

    rows = [row for row in run.predictions if row.document][:MOST_COMPARED]
    documents = {row.id: row.document for row in rows}
    texts = {
        "reference": ([(row.document, row.reference) for row in rows], REFERENCE, "s--"),
        system_label(run.main_system): ([(row.document, row.prediction) for row in rows], TUNED, "o-"),
        "untuned": (_paired(documents, run.others.get("base", ())), BASE, "^:"),
        system_label("lead3"): (_paired(documents, run.others.get("lead3", ())), NEUTRAL, "d-."),
    }
    figure, (panel,) = new_figure(1, 2.9)
    drawn: dict[str, list[float]] = {}
    for name, (pairs, colour, line) in texts.items():
        pairs = [(document, text) for document, text in pairs if text.strip()]
        if not pairs:
            continue
        measured = abstractiveness([document for document, _ in pairs], [text for _, text in pairs])
        values = [measured[f"novel_{n}grams"] for n in NGRAMS]
        means = [float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for v in values]
        panel.plot(NGRAMS, means, line, color=colour, markersize=6, linewidth=1.8, label=name)
        drawn[name] = means
    if not drawn:
        return None
    panel.set_xticks(NGRAMS, ["words", "pairs", "triples", "runs of 4"])
    panel.set_ylim(0, 104)
    panel.set_ylabel("not in the document, %", fontsize=9.5)
    panel.figure.legend(loc="outside upper left", ncols=2)
    pairs_new = {name: f"{decimal(means[1], 0)} %" for name, means in drawn.items() if np.isfinite(means[1])}
    listed = ", ".join(f"{name} {value}" for name, value in pairs_new.items())
    caption = f"Novel n-grams (Narayan et al. 2018). Word pairs that the document does not hold: {listed}."
    return Plot("copying", "Copied or written", caption, figure)


def _paired(documents: dict[str, str], rows: tuple[PredictionRow, ...]) -> list[tuple[str, str]]:
    return [(documents[row.id], row.prediction) for row in rows if row.id in documents]
