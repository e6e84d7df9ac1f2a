"""Figures of scores: every system with its interval, and the paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.report.plot_style import (
    INK,
    NEUTRAL,
    SYSTEM_COLOURS,
    TUNED,
    WARNING,
    Plot,
    new_figure,
)
from common.report.tables import ordered_systems
from common.report.verdict import Comparison
from common.text.amounts import decimal, mapping, read_interval, signed
from common.text.names import ROUGE_METRICS, metric_label, system_label


def scores_plot(results: Mapping[str, Any]) -> Plot | None:
    """Score of each system with its interval, one panel a measure."""
    systems = mapping(results.get("systems"))
    measures = [m for m in ROUGE_METRICS if any(read_interval(mapping(s).get(m)) for s in systems.values())]
    names = ordered_systems(list(systems))
    if not measures or not names:
        return None
    figure, panels = new_figure(len(measures), 0.62 + len(measures) * (0.45 + 0.25 * len(names)), sharex=True)
    for panel, measure in zip(panels, measures, strict=True):
        scores = [(name, read_interval(mapping(systems[name]).get(measure))) for name in names]
        known = [(name, score) for name, score in scores if score is not None]
        _dots_with_intervals(panel, [(system_label(n), SYSTEM_COLOURS.get(n, NEUTRAL), s) for n, s in known])
        panel.set_title(metric_label(measure))
        panel.set_xlim(left=0)
    panels[-1].set_xlabel("score, % (bars: 95 % interval)")
    return Plot(
        "scores", "Scores against baselines", "Same documents and same scorer for every system; more is better.", figure
    )


def differences_plot(comparisons: Sequence[Comparison]) -> Plot | None:
    """Fine-tuned minus every other system, zero marked."""
    if not comparisons:
        return None
    figure, (panel,) = new_figure(1, 0.9 + 0.32 * len(comparisons))
    colours = {"better": TUNED, "worse": WARNING, "unclear": NEUTRAL}
    rows = [
        # The oracle is a bound to be below of, not a rival to lose against.
        (system_label(c.other), NEUTRAL if c.other == "oracle" else colours[c.outcome], c.difference)
        for c in comparisons
    ]
    _dots_with_intervals(panel, rows, label=signed)
    panel.axvline(0, color=INK, linewidth=1.2)
    panel.set_xlabel(f"gain in {metric_label(comparisons[0].metric)} points (bars: 95 % interval)")
    return Plot(
        "differences",
        "Gain over each system",
        "Measured document by document. A gray bar cannot be told from chance; the ceiling is no rival.",
        figure,
    )


def _dots_with_intervals(
    panel: Any, rows: Sequence[tuple[str, str, Any]], label: Callable[[float], str] = decimal
) -> None:
    for place, (_, colour, score) in enumerate(rows):
        low = score.mean if score.low is None else score.low
        high = score.mean if score.high is None else score.high
        if high > low:
            panel.plot([low, high], [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
        panel.plot([score.mean], [place], "o", color=colour, markersize=6, clip_on=False)
        left = high < 0  # the number stands on the far side of zero, where nothing is in its way
        panel.annotate(
            label(score.mean),
            (low if left else high, place),
            xytext=(-6 if left else 6, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=9.5,
            color=INK,
        )
    panel.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=False, axis="y")
    panel.margins(x=0.2)
