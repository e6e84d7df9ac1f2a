"""A learning curve made by training on nested subsets, with a tiny real model."""

from __future__ import annotations

import csv

import pytest

from common.budget.curve_file import read_curves
from common.errors import DataError
from common.settings import (
    DataSettings,
    ModelSettings,
    OutputSettings,
    PromptSettings,
    RunConfig,
    TrainingSettings,
)
from common.train.learning_curve import subset_sizes, train_learning_curve
from tests.tiny_models import build_tiny_model, build_tiny_tokenizer


def test_sizes_are_halved_down_to_what_still_says_something():
    assert subset_sizes(1000) == [31, 62, 125, 250, 500, 1000]
    assert subset_sizes(64) == [16, 32, 64]
    with pytest.raises(DataError, match="at least 64 training examples, there are 63"):
        subset_sizes(63)


@pytest.mark.slow
def test_each_subset_is_trained_once_and_the_curve_can_be_projected(tmp_path):
    model = build_tiny_model(tmp_path / "model", "llama")
    build_tiny_tokenizer(model)
    config = RunConfig(
        data=DataSettings(data="demo", limit_train=64, limit_dev=10),
        prompt=PromptSettings(max_length=256, max_summary_tokens=200),
        model=ModelSettings(model=str(model), quantize="none", dtype="float32"),
        training=TrainingSettings(batch_size=16),
        output=OutputSettings(engine="cuda"),
    )
    run = tmp_path / "run"
    points = train_learning_curve(config, run)
    assert [size for size, _ in points] == [16, 32, 64]
    assert points[-1][1] < points[0][1]
    (curve,) = read_curves(run)
    assert curve.sizes == (16, 32, 64)
    metrics = (run / "n-64" / "metrics.jsonl").read_bytes()
    assert train_learning_curve(config, run, resume=True) == points
    assert (run / "n-64" / "metrics.jsonl").read_bytes() == metrics
    with (run / "learning_curve.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["examples", "dev_loss"]
