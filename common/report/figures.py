"""Every figure of a report, in the order a reader needs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.report.document_plots import copying_plot, data_plot
from common.report.plot_style import Plot, style
from common.report.score_plots import differences_plot, scores_plot
from common.report.text_plots import generation_plot, lengths_plot, rouge_plot
from common.report.training_plots import health_plot, loss_plot
from common.report.verdict import Comparison
from common.run.contents import RunFiles


def build_plots(run: RunFiles, comparisons: Sequence[Comparison]) -> list[Plot]:
    """Every plot that the run has data for, in the order of a report."""
    builders: tuple[Callable[[], Plot | None], ...] = (
        lambda: scores_plot(run.results),
        lambda: differences_plot(comparisons),
        lambda: loss_plot(run.metrics),
        lambda: health_plot(run),
        lambda: rouge_plot(run),
        lambda: lengths_plot(run),
        lambda: generation_plot(run),
        lambda: data_plot(run),
        lambda: copying_plot(run),
    )
    with style():
        plots = [plot for build in builders if (plot := build()) is not None]
        for plot in plots:  # lay out once; PNG and SVG then share the places
            plot.figure.draw_without_rendering()
            plot.figure.set_layout_engine("none")
    return plots
