"""Time from FLOPs: fitting a rate to measured steps, and what a probe runs."""

from __future__ import annotations

import pytest

from common.budget.activations import MicroBatch
from common.budget.devices import DEVICES
from common.budget.flops import StepCounter
from common.budget.probe import spread, timed_steps
from common.budget.run_shape import RunShape
from common.budget.time import (
    Rate,
    batch_flops,
    cached_rate,
    estimate_time,
    fit_rate,
    probe_key,
    store_rate,
    table_rate,
    work,
)
from common.data.batching import evaluation_batches
from common.engine import LoraSpec
from common.model.presets import preset_shape
from tests.budget.lengths import encoded

QWEN = preset_shape("qwen2.5-0.5b")
COUNTER = StepCounter(QWEN, LoraSpec())


def test_a_rate_and_a_fixed_time_are_found_again_from_steps_made_with_them():
    samples = [(flops, count, flops / 2e12 + 0.03 * count) for flops, count in ((1e12, 2), (3e12, 5), (5e12, 4))]
    per_second, per_batch = fit_rate(samples)
    assert per_second == pytest.approx(2e12)
    assert per_batch == pytest.approx(0.03)


def test_a_single_step_and_times_that_fall_with_work_still_give_a_positive_rate():
    assert fit_rate([(1e12, 1, 0.5)]) == (pytest.approx(2e12), 0.0)
    per_second, per_batch = fit_rate([(1e12, 1, 0.9), (2e12, 1, 0.8)])
    assert per_second > 0
    assert per_batch >= 0


def test_flops_of_a_micro_batch_are_those_of_its_rows_and_its_head():
    batch = MicroBatch(3, 64, 20)
    by_row = 3 * COUNTER.example(64, 0).total + COUNTER.example(0, 20).total
    assert batch_flops(COUNTER, batch) == by_row
    assert work(COUNTER, [batch, batch]) == (2 * by_row, 2)


def test_a_common_beginning_is_work_once():
    apart, joined = MicroBatch(3, 64, 20), MicroBatch(3, 64, 20, shared_tokens=32)
    spared = 2 * COUNTER.example(32, 0).total
    assert batch_flops(COUNTER, apart) - batch_flops(COUNTER, joined) == pytest.approx(spared)


def test_a_run_takes_its_epochs_and_its_evaluations():
    batch = MicroBatch(4, 256, 100)
    shape = RunShape(((batch, batch), (batch,)), total_steps=4, evaluations=2, dev_batches=(batch,), generation=None)
    evaluator = StepCounter(QWEN, None)
    found = estimate_time(Rate(1e12, 0.0), COUNTER, evaluator, shape, "test")
    assert found.seconds_per_epoch == pytest.approx(3 * batch_flops(COUNTER, batch) / 1e12)
    assert found.seconds == pytest.approx(2 * found.seconds_per_epoch + 2 * batch_flops(evaluator, batch) / 1e12)


def test_the_table_is_slower_than_the_peak_and_knows_what_it_does_not_know():
    t4 = table_rate(DEVICES["t4"])
    assert t4.flops_per_second < DEVICES["t4"].flops_per_second
    assert not t4.measured
    assert table_rate(DEVICES["t4"], float32=True).flops_per_second < 8.1e12 < t4.flops_per_second
    assert table_rate(DEVICES["m1-8gb"], float32=True) == table_rate(DEVICES["m1-8gb"])


def test_a_measured_rate_is_remembered_under_a_name_that_changes_with_the_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SUMKIT_CACHE", str(tmp_path / "cache"))
    key = probe_key(model="a", rank=8)
    assert key != probe_key(model="a", rank=16)
    assert cached_rate(key) is None
    store_rate(key, Rate(1e12, 0.1, "2026-01-01", 5))
    assert cached_rate(key) == Rate(1e12, 0.1, "2026-01-01", 5)
    (tmp_path / "cache" / "probes.json").write_text("damaged")
    assert cached_rate(key) is None


def test_every_beginning_of_the_spread_covers_the_range():
    order = spread(64, 64)
    assert sorted(order) == list(range(64))
    assert {position // 16 for position in order[:4]} == {0, 1, 2, 3}
    assert len(spread(1000, 40)) == 40


class Timed:
    """Steps on a clock of their own, as long as their tokens say. Stands for a machine's speed, not for an engine."""

    def __init__(self, seconds_per_token):
        self.seconds_per_token = seconds_per_token
        self.now = 0.0
        self.steps = []

    def step(self, batches, learning_rate):
        self.steps.append(batches[0].tokens.size)
        self.now += self.seconds_per_token * batches[0].tokens.size

    def clock(self):
        return self.now


def test_a_probe_warms_up_on_the_least_work_and_leaves_out_what_would_not_end_in_time():
    short, long = evaluation_batches(encoded([(32, 8)]), 4096, 0), evaluation_batches(encoded([(480, 8)]), 4096, 0)
    slow, quick = Timed(0.001), Timed(0.0002)
    samples = timed_steps(slow, COUNTER, [*short, *long, *short], 0.3, slow.clock)
    assert slow.steps == [32, 32, 32]
    assert [took for *_, took in samples] == pytest.approx([0.032, 0.032])
    assert len(timed_steps(quick, COUNTER, [*short, *long, *short], 0.3, quick.clock)) == 3
    assert 480 in quick.steps


def test_a_machine_on_which_one_step_takes_all_the_time_is_still_measured():
    crawling = Timed(1.0)
    ((_, _, took),) = timed_steps(
        crawling, COUNTER, evaluation_batches(encoded([(32, 8)]), 4096, 0), 10.0, crawling.clock
    )
    assert took == 32.0
    assert crawling.steps == [32]
