"""A sweep's picture: every trial's score with its interval, and the table for a terminal.

Where one number is varied the score stands over that number; else the trials stand below one another. Trials that
were stopped early are hollow: their scores are of a shorter training. Knows nothing of how scores came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.report.drawing import save_png
from common.report.plot_style import BASE, MUTED, TUNED, Plot, new_figure, style
from common.sweep.space import shown
from common.text.table import text_table


def save_plot(results: Mapping[str, Any], path: Path) -> None:
    """Write the figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with style():
        save_png(sweep_plot(results), path)


def sweep_plot(results: Mapping[str, Any]) -> Plot:
    """The figure of a finished sweep."""
    measure = results["measure"]
    rows = [row for row in results["trials"] if row["status"] != "failed"]
    numeric = _single_number(rows)
    figure, (panel,) = new_figure(1, 3.4 if numeric else 1.2 + 0.32 * len(rows))
    for place, row in enumerate(rows):
        score = row[measure]
        error = [[score["mean"] - score["low"]], [score["high"] - score["mean"]]]
        colour = TUNED if row["name"] == results["best"]["name"] else BASE if row["status"] == "finished" else MUTED
        options = {
            "fmt": "o",
            "color": colour,
            "capsize": 3,
            "markersize": 6,
            "markerfacecolor": colour if row["status"] == "finished" else "none",
        }
        if numeric:
            panel.errorbar([row["settings"][numeric]], [score["mean"]], yerr=error, **options)
        else:
            panel.errorbar([score["mean"]], [place], xerr=error, **options)
    title = ("dev loss, nats per target token" if measure == "dev_loss" else f"dev {measure}, %") + ", 95 % intervals"
    if numeric:
        panel.set_xscale("log")
        panel.set_xlabel(numeric.replace("_", " "))
        ticks = sorted({row["settings"][numeric] for row in rows})
        if len(ticks) <= 8:
            panel.set_xticks(ticks, [shown(tick) for tick in ticks])
            panel.minorticks_off()
    else:
        panel.set_yticks(range(len(rows)), [_label(row) for row in rows])
        panel.invert_yaxis()
    panel.set_title(title)
    caption = "Blue: the chosen trial. Hollow: stopped early, its score is of a shorter training."
    return Plot("sweep", "Sweep", caption, figure)


def _single_number(rows: Sequence[Mapping[str, Any]]) -> str:
    """The one varied setting, where it is a number above 0; else empty."""
    names = set().union(*(row["settings"] for row in rows))
    if len(names) != 1:
        return ""
    (name,) = names
    values = [row["settings"][name] for row in rows]
    return name if all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in values) else ""


def _label(row: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}={shown(value)}" for name, value in row["settings"].items())


def sweep_table(results: Mapping[str, Any]) -> str:
    """One line a trial, best first, then the chosen setting and how sure it is."""
    measure = results["measure"]
    rows = []
    for row in results["trials"]:
        label = ", ".join(f"{name}={shown(value)}" for name, value in row["settings"].items())
        if row["status"] == "failed":
            rows.append([label, "failed", "", "", ""])
            continue
        behind = _shown(row["behind"]) if "behind" in row else ""
        sure = f"{100 * row['best_share']:.0f} %" if row["status"] == "finished" else "stopped"
        rows.append([label, _shown(row[measure]), behind, sure, f"{row['steps']} of {row['total_steps']}"])
    table = text_table(["trial", measure, "behind the best", "best in", "steps"], rows)
    return f"{table}\n\n{results['best']['sentence']}"


def _shown(value: Mapping[str, float]) -> str:
    digits = 4 if abs(value["mean"]) < 10 else 2
    return f"{value['mean']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
