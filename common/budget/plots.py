"""The budget command's picture: predicted loss against model size at one compute budget."""

from __future__ import annotations

from pathlib import Path

from common.budget.chinchilla import DESCRIPTIONS, LOSSES, Estimate, GivenModel, estimates
from common.errors import DataError, UsageError
from common.text.amounts import scientific, short

COLOURS = {"1": "#7a5195", "2": "#2f8f5b", "3": "#d1495b", "3-replication": "#00669b"}
SPAN = 20.0  # sizes shown: this many times below the least optimum and above the largest one
LOSS_ROOM = 0.9  # highest loss shown above the lowest one, nats per token


def plot_budget(flops: float, model: GivenModel | None, path: Path) -> None:
    """Write the plot; the suffix of `path` chooses PNG, SVG or PDF. Raises UsageError where it cannot be written."""
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    rows = estimates(flops=flops)
    sizes = [row.params for row in rows] + ([model.params] if model else [])
    params = np.geomspace(min(sizes) / SPAN, max(sizes) * SPAN, 400)
    figure, axes = plt.subplots(figsize=(8.6, 6.0), layout="constrained")
    for row in rows:
        if row.approach in LOSSES:
            law = LOSSES[row.approach]
            curve = [law.loss(float(n), flops / 6 / float(n)) for n in params]
            axes.plot(params, curve, color=COLOURS[row.approach], lw=2, label=_label(row))
            axes.plot(
                [row.params],
                [law.loss(row.params, row.tokens)],
                "o",
                ms=8,
                color=COLOURS[row.approach],
                mec="white",
                zorder=5,
            )
        else:
            axes.axvline(row.params, color=COLOURS[row.approach], lw=1.6, ls="--", ymax=0.5, label=_label(row))
    lowest = min(row.loss for row in rows if row.loss is not None)
    given = [law.loss(model.params, model.tokens) for law in LOSSES.values()] if model else []
    if model:
        label = f"your model: {short(model.params)} params, {short(model.tokens)} tokens"
        at = [model.params] * len(given)
        axes.plot(at, given, "D", ms=8, color="black", mfc="white", mew=1.8, zorder=6, label=label)
    axes.set_ylim(lowest - 0.06, max([lowest + LOSS_ROOM, *[value + 0.1 for value in given]]))
    axes.set_xlim(params[0], params[-1])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_xlabel("model size N, parameters")
    axes.set_ylabel("predicted pre-training loss, nats per token")
    axes.set_title(
        f"Loss against model size at {scientific(flops)} FLOPs; tokens are D = C / 6N", loc="left", fontsize=11
    )
    axes.grid(alpha=0.25, which="major")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=2, alignment="left")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise DataError(f"--plot {path}: cannot be written ({error.strerror or error}); check its folder") from None
    except ValueError as error:
        raise UsageError(
            f"--plot {path}: cannot be written ({error}); give a path ending in .png, .svg or .pdf"
        ) from None
    finally:
        plt.close(figure)


def _label(row: Estimate) -> str:
    return f"{row.approach}: {short(row.params)} params, {short(row.tokens)} tokens\n{DESCRIPTIONS[row.approach]}"
