"""Figures of the training log: loss, learning rate, dev scores, gradient norm and speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.report.plot_style import (
    BASE,
    INK,
    MUTED,
    REFERENCE,
    TUNED,
    Plot,
    Values,
    new_figure,
    series,
    smoothed,
    thinned,
    whole_steps,
)
from common.report.tables import training_seconds
from common.run.contents import RunFiles
from common.text.amounts import decimal, duration, finite, share
from common.text.names import ROUGE_METRICS, metric_label

FEW_STEPS = 20  # too few to smooth


def loss_plot(metrics: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Training loss (raw and smoothed), dev loss, dev ROUGE where evaluated, and the learning rate below."""
    steps, losses = series(metrics, "loss")
    dev_steps, dev_losses = series(metrics, "dev_loss")
    if not len(steps) and not len(dev_steps):
        return None
    rouge = {measure: series(metrics, measure) for measure in ROUGE_METRICS}
    rouge = {measure: points for measure, points in rouge.items() if len(points[0])}
    rate_steps, rates = series(metrics, "learning_rate")
    ratios = [3.0, *([1.6] if rouge else []), *([1.0] if len(rates) else [])]
    figure, panels = new_figure(len(ratios), 0.4 + 0.92 * sum(ratios), sharex=True, height_ratios=ratios)
    _draw_losses(panels[0], (steps, losses), (dev_steps, dev_losses))
    if rouge:
        for (measure, points), line in zip(rouge.items(), ("-", "--", ":"), strict=False):
            panels[1].plot(*points, line, marker="o", markersize=4, color=REFERENCE, label=metric_label(measure))
        panels[1].set_title("dev ROUGE, %")
        panels[1].legend(loc="best", ncols=3)
    if len(rates):
        panels[-1].plot(*thinned(rate_steps, rates), color=MUTED, linewidth=1.6)
        panels[-1].set_title("learning rate")
        panels[-1].set_ylim(bottom=0)
        panels[-1].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panels[-1].locator_params(axis="y", nbins=3)
    whole_steps(panels[-1])
    return Plot("loss", "Loss and learning rate", _loss_caption((steps, losses), (dev_steps, dev_losses)), figure)


def _draw_losses(panel: Any, train: tuple[Values, Values], dev: tuple[Values, Values]) -> None:
    steps, losses = train
    if 0 < len(steps) < FEW_STEPS:
        panel.plot(steps, losses, "o-", color=TUNED, linewidth=2, markersize=4, label="training")
    elif len(steps):
        panel.plot(*thinned(steps, losses), color=TUNED, linewidth=0.8, alpha=0.35)
        panel.plot(*thinned(steps, smoothed(losses)), color=TUNED, linewidth=2, label="training, smoothed")
    if len(dev[0]):
        size = 5 if len(dev[0]) <= 12 else 3
        panel.plot(*dev, "s--", color=BASE, markersize=size, linewidth=1.4, label="dev")
        best = int(np.argmin(dev[1]))
        panel.plot(
            [dev[0][best]], [dev[1][best]], "o", markersize=11, fillstyle="none", color=BASE, markeredgewidth=1.6
        )
    panel.set_title("loss, nats per target token")
    panel.legend(loc="upper right", ncols=2)
    if len(losses) > 10:  # a wild first step must not flatten the rest
        top = max(np.percentile(losses, 99), dev[1].max() if len(dev[1]) else 0)
        bottom = min(losses.min(), dev[1].min() if len(dev[1]) else np.inf)
        panel.set_ylim(bottom - 0.06 * (top - bottom) - 1e-6, top + 0.22 * (top - bottom) + 1e-6)


def _loss_caption(train: tuple[Values, Values], dev: tuple[Values, Values]) -> str:
    parts = []
    if len(train[0]) > 1:
        tenth = max(1, len(train[1]) // 10)
        first, last = train[1][:tenth].mean(), train[1][-tenth:].mean()
        parts.append(
            f"Training loss went from {decimal(first, 2)} to {decimal(last, 2)} (averages of the first and last tenth)."
        )
    if len(dev[0]):
        best = int(np.argmin(dev[1]))
        parts.append(f"Dev loss was lowest, {decimal(dev[1][best], 3)}, at step {dev[0][best]:,.0f} (ringed).")
    else:
        parts.append("No dev loss was measured.")
    return " ".join([*parts, "One nat less makes each target token 2.7 times likelier."])


def health_plot(run: RunFiles) -> Plot | None:
    """Gradient norm before clipping, and useful tokens a second."""
    norm_steps, norms = series(run.metrics, "grad_norm")
    speed_steps, speeds = series(run.metrics, "tokens_per_second")
    if len(norms) < 2 and len(speeds) < 2:
        return None
    figure, (upper, lower) = new_figure(2, 3.3, sharex=True)
    upper.plot(*thinned(norm_steps, norms), color=TUNED, linewidth=1.1)
    clip = finite(run.setting("training.max_grad_norm"))
    clipped = bool(clip and len(norms) and norms.max() > clip)
    if clipped:
        upper.axhline(clip, color=INK, linewidth=1.2, linestyle="--")
    upper.set_title("gradient norm" + (f" (dashed: clipped at {clip:g})" if clipped else ""))
    upper.set_ylim(bottom=0)
    lower.plot(*thinned(speed_steps, speeds), color=TUNED, linewidth=1.1)
    lower.set_title("tokens a second")
    lower.set_ylim(bottom=0)
    whole_steps(lower)
    seconds = training_seconds(run)
    spent = f" Training steps took {duration(seconds)}." if seconds else ""
    typical = f"Typical speed {np.median(speeds):,.0f} tokens a second." if len(speeds) else ""
    part = f" {share((norms > clip).sum(), len(norms))} of the steps were clipped." if clip and clipped else ""
    return Plot("health", "Gradient and speed", (typical + spent + part).strip(), figure)
