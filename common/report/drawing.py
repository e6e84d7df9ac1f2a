"""A matplotlib figure as a PNG file, or as SVG that takes its colours and font from the page around it."""

from __future__ import annotations

import io
import re
from pathlib import Path

from common.files import write_bytes
from common.report.plot_style import COLOURS, Plot, style

PNG_DPI = 160

_ID = re.compile(r'(\bid="|\burl\(#|xlink:href="#)')
_PROLOG = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_ROOT = re.compile(r"<svg[^>]*?(viewBox=\"[^\"]+\")[^>]*>", re.DOTALL)
_DROPPED = re.compile(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", re.DOTALL)


def save_png(plot: Plot, path: Path) -> None:
    """Write the figure, atomically, on a light background, 160 dots an inch."""
    buffer = io.BytesIO()
    with style():
        plot.figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def inline_svg(plot: Plot) -> str:
    """The figure as an `<svg>` element: no size of its own, text as text, each colour a CSS variable (`--plot-ink`).

    Ids carry the plot's name, so that several figures on one page do not mix. The same figure gives the same text.
    """
    import matplotlib

    buffer = io.StringIO()
    with style(), matplotlib.rc_context({"svg.hashsalt": plot.name}):
        plot.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = _PROLOG.sub("", buffer.getvalue())
    svg = _DROPPED.sub("", svg)
    svg = _ROOT.sub(r'<svg xmlns:xlink="http://www.w3.org/1999/xlink" \1 aria-hidden="true">', svg, count=1)
    svg = _ID.sub(lambda match: f"{match[1]}{plot.name}-", svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--plot-{name})")
    return re.sub(r"\n\s*\n+", "\n", svg).strip()
