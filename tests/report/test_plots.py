"""Plots: that they are there, that they show the run's numbers, and that long or wild data does not break them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.report.drawing import inline_svg
from common.report.plot_style import COLOURS, MOST_POINTS, Plot, series, smoothed, style, thinned
from common.report.score_plots import differences_plot, scores_plot
from common.report.training_plots import loss_plot
from common.report.verdict import Comparison
from common.report.write import write_report
from common.text.amounts import Interval
from tests.report.example_runs import write_evaluation, write_training

NAMES = {"scores", "differences", "loss", "health", "rouge", "lengths", "generation", "data", "copying"}


def drawn(build: Any, *given: Any) -> Plot:
    with style():
        plot = build(*given)
    assert plot is not None
    return plot


def test_every_plot_of_a_whole_run_is_written_as_a_png_wide_enough_to_print(tmp_path: Path) -> None:
    write_training(tmp_path)
    write_evaluation(tmp_path)
    write_report(tmp_path)
    files = {path.stem: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    assert set(files) == NAMES
    for data in files.values():
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert width == 864  # 5.4 inches at 160 dots
        assert 200 < height < 1200


def test_the_loss_curve_holds_the_logged_values() -> None:
    rows = [{"step": step, "loss": 4.0 / step, "learning_rate": 1e-3} for step in range(1, 9)]
    rows[3]["dev_loss"] = 1.5
    plot = drawn(loss_plot, rows)
    lines = plot.figure.axes[0].get_lines()
    assert lines[0].get_ydata().tolist() == [4.0 / step for step in range(1, 9)]
    assert lines[1].get_xydata().tolist() == [[4.0, 1.5]]
    assert "Dev loss was lowest, 1.500, at step 4" in plot.caption


def test_a_wild_first_loss_does_not_flatten_the_rest() -> None:
    rows = [{"step": step, "loss": 500.0 if step == 1 else 2.0 + 0.1 * (step % 2)} for step in range(1, 301)]
    assert drawn(loss_plot, rows).figure.axes[0].get_ylim()[1] < 3


def test_scores_stand_where_the_results_put_them() -> None:
    results = {"systems": {"tuned": {"rouge1": {"mean": 31.2, "low": 30.1, "high": 32.4}}, "lead1": {"rouge1": 16.2}}}
    panel = drawn(scores_plot, results).figure.axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["fine-tuned", "Lead-1"]
    assert [list(line.get_xdata()) for line in panel.get_lines()] == [[30.1, 32.4], [31.2], [16.2]]


@pytest.mark.parametrize(
    ("low", "high", "colour"), [(1.0, 3.0, "tuned"), (-1.0, 3.0, "neutral"), (-3.0, -1.0, "warning")]
)
def test_a_difference_is_coloured_by_what_its_interval_says(low: float, high: float, colour: str) -> None:
    plot = drawn(differences_plot, [Comparison("base", "rouge1", Interval((low + high) / 2, low, high))])
    assert plot.figure.axes[0].get_lines()[0].get_color() == COLOURS[colour]


def test_names_with_markup_and_dollar_signs_are_drawn_as_they_are() -> None:
    results = {"systems": {"$x_1$ <b>&": {"rouge1": 10.0}, "tuned": {"rouge1": 12.0}}}
    svg = inline_svg(drawn(scores_plot, results))
    assert "$x_1$ &lt;b&gt;&amp;" in svg


def test_nothing_to_draw_is_no_plot() -> None:
    assert loss_plot([{"step": 1}]) is None
    assert scores_plot({"systems": {}}) is None
    assert differences_plot([]) is None


def test_values_that_are_no_numbers_are_left_out_of_a_series() -> None:
    rows = [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 1.0}, {"step": 3}, {"step": 4, "loss": "x"}]
    steps, values = series(rows, "loss")
    assert (steps.tolist(), values.tolist()) == ([2.0], [1.0])


def test_smoothing_keeps_a_straight_line_and_the_mean_of_noise() -> None:
    line = np.linspace(3.0, 1.0, 200)
    np.testing.assert_allclose(smoothed(line)[10:-10], line[10:-10], atol=1e-12)
    noise = np.random.default_rng(0).normal(2.0, 1.0, 400)
    assert smoothed(noise).std() < noise.std() / 2
    assert smoothed(np.array([1.0])).tolist() == [1.0]


def test_thinning_keeps_the_first_and_the_last_point() -> None:
    steps = np.arange(10_000.0)
    kept, values = thinned(steps, steps * 2)
    assert len(kept) <= MOST_POINTS
    assert (kept[0], kept[-1], values[-1]) == (0.0, 9999.0, 19998.0)
