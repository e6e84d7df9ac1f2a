"""What all figures share: colours, sizes, the plain axes, and how curves are thinned and smoothed.

Colours come from Okabe and Ito 2008 (told apart under every common colour blindness), darkened for text size, and
every series also differs in line, marker or label. Figures are narrow, so that their text is readable on a phone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.text.amounts import finite

Values = NDArray[np.float64]

# Each colour has one meaning, and no two are equal: a page replaces them by its own, in light and in dark.
INK, MUTED, GRID, PAPER = "#1b1e23", "#5d6570", "#d5d9de", "#fffffe"
TUNED, BASE, REFERENCE, NEUTRAL, WARNING = "#0072b2", "#b85c00", "#00795a", "#858d98", "#c0392b"
COLOURS = {
    "ink": INK,
    "muted": MUTED,
    "grid": GRID,
    "paper": PAPER,
    "tuned": TUNED,
    "base": BASE,
    "reference": REFERENCE,
    "neutral": NEUTRAL,
    "warning": WARNING,
}
SYSTEM_COLOURS = {"tuned": TUNED, "base": BASE}
STOP_COLOURS = {"eos": TUNED, "length": BASE, "error": WARNING}

WIDTH = 5.4  # inches; at 72 points an inch and 10.5 point text it is readable at 350 pixels
MOST_POINTS = 600  # of a curve; more only make the file bigger
STYLE: Any = {  # matplotlib types its settings name by name
    "font.size": 10.5,
    "font.family": ["DejaVu Sans"],
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Plot:
    """A drawn figure with its file name (without suffix), a heading, and what it shows in a sentence or two."""

    name: str
    title: str
    caption: str
    figure: Any


def style() -> AbstractContextManager[None]:
    """matplotlib settings under which figures are built, and saved."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def new_figure(rows: int, height: float, **grid: Any) -> tuple[Any, list[Any]]:
    """A figure of `rows` panels, one above the other, without pyplot and its global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    panels = figure.subplots(rows, 1, squeeze=False, **grid)
    return figure, [panel for row in panels for panel in row]


def series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[Values, Values]:
    """(steps, values) of the rows where `key` is a finite number."""
    points = [(float(row["step"]), value) for row in rows if (value := finite(row.get(key))) is not None]
    return np.array([step for step, _ in points]), np.array([value for _, value in points])


def smoothed(values: Values) -> Values:
    """Centred running mean over a twentieth of the curve; windows shrink at the ends, so nothing is shifted."""
    half = max(1, len(values) // 40)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    places = np.arange(len(values))
    low, high = np.maximum(0, places - half), np.minimum(len(values), places + half + 1)
    return (sums[high] - sums[low]) / (high - low)


def thinned(steps: Values, values: Values) -> tuple[Values, Values]:
    """At most MOST_POINTS points of a curve, the last one among them."""
    if len(steps) <= MOST_POINTS:
        return steps, values
    keep = np.unique(np.linspace(0, len(steps) - 1, MOST_POINTS).astype(int))
    return steps[keep], values[keep]


def word_counts(texts: Sequence[str]) -> Values:
    """Words of each text (also in scripts without spaces)."""
    from common.metrics.tokens import count_words

    return np.array([count_words(text) for text in texts], dtype=float)


def histogram(panel: Any, values: Values, edges: Values, colour: str, centre: float) -> None:
    """Bars of how many examples fall between `edges` (beyond the ends counts into the outer bars), `centre` marked."""
    panel.hist(np.clip(values, edges[0], edges[-1]), edges, color=colour, edgecolor=PAPER, linewidth=0.6)
    panel.axvline(centre, color=INK, linewidth=1.6)
    panel.set_ylabel("examples", fontsize=9.5)
    panel.grid(visible=False, axis="x")
    whole_counts(panel)


def whole_counts(panel: Any) -> None:
    """Whole numbers on the upright axis."""
    from matplotlib.ticker import MaxNLocator

    panel.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def whole_steps(panel: Any) -> None:
    """Whole training steps on the lower axis."""
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    panel.set_xlabel("step")
