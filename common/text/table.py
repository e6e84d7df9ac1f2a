"""Tables and paragraphs for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 100


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Columns padded to their widest cell, the first `left` of them flush left, the others right; a line below the
    header."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def paragraph(text: str) -> str:
    """Text wrapped to the width of a terminal."""
    return textwrap.fill(text, WIDTH)
