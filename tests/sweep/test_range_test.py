"""The range test: what it reads off a curve, and a real one on both engines."""

import json

import numpy as np
import pytest

from common import config
from common.errors import DataError
from common.sweep.range_test import range_test, smoothed, suggest, write_range_test
from tests.journey.conftest import ENGINES, tiny_data, tiny_model  # noqa: F401 - fixtures


def test_the_suggestion_is_where_the_loss_falls_fastest_before_its_lowest_point():
    rates = np.geomspace(1e-6, 1e-1, 101)
    middle = np.log(1e-3)
    fall = 4 - 2 / (1 + np.exp(-(np.log(rates) - middle) / 0.5))  # steepest at 1e-3
    losses = np.where(rates < 2e-2, fall, 9.0)
    suggested, lowest = suggest(rates.tolist(), losses.tolist())
    assert 1e-3 <= suggested < 4e-3  # smoothing looks back, so the place is a little late, never early
    assert suggested < lowest <= 2e-2
    with pytest.raises(DataError, match="did not fall"):
        suggest(rates.tolist(), np.linspace(1, 9, 101).tolist())


def test_smoothing_starts_without_a_bias():
    assert smoothed([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_real_test_suggests_a_rate_that_learns_and_leaves_its_plot(tmp_path, tiny_model, tiny_data, engine):  # noqa: F811
    flags = {
        "data": str(tiny_data), "model": str(tiny_model), "quantize": "none", "max_length": 192, "batch_size": 4,
        "max_summary_tokens": 64, "engine": engine, "duplicates": "keep", "leaks": "keep",
    }  # fmt: skip
    settings = config.resolve(config.from_flags(flags))
    test = range_test(settings, 1e-5, 3.0, 30)
    assert test.smoothed[-1] > min(test.smoothed)  # 3.0 is far too much
    assert 1e-5 < test.suggested < test.lowest < 3.0
    written = write_range_test(test, settings, tmp_path)
    assert json.loads((tmp_path / "range_test.json").read_text()) == written
    assert (tmp_path / "plots" / "range_test.png").stat().st_size > 5000
    with pytest.raises(DataError, match="at least 10 steps"):
        range_test(settings, steps=3)
