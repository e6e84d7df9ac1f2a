"""Plans: batches like training's own, changes cheapest first, and the check before training."""

from __future__ import annotations

import dataclasses

import pytest

from common.budget import planner
from common.budget.activations import MicroBatch
from common.budget.changes import find_changes, with_settings
from common.budget.devices import DEVICES, GIB, find_device
from common.budget.fit import heaviest_batches, memory_settings, peak
from common.budget.known_model import KnownModel, find_known_model
from common.budget.memory import estimate_memory
from common.budget.planner import check_before_training, make_plan, plan_for
from common.budget.probe import sizes
from common.budget.run_shape import find_run_shape, generation_batch
from common.budget.workload import Workload, find_workload
from common.data.batching import build_step
from common.data.step_plan import StepPlan
from common.errors import DataError, ModelError, UsageError
from common.generation.shared import common_beginning
from common.model.presets import preset_shape
from common.settings import DataSettings, GenerationSettings, ModelSettings, OutputSettings, RunConfig, TrainingSettings
from tests.budget.lengths import encoded
from tests.tiny_models import build_tiny_model, build_tiny_tokenizer

LENGTHS = tuple((100 + 37 * k % 700, 10 + k % 40) for k in range(150))
WORKLOAD = Workload(LENGTHS, "counted", 0, LENGTHS[:20])
PHI = KnownModel("phi-2", preset_shape("phi-2"), None, "preset")
CONFIG = RunConfig(data=DataSettings(data="demo"), model=ModelSettings(model="phi-2"))


def on(device, gigabytes):
    """The device with other memory."""
    return dataclasses.replace(device, memory_bytes=gigabytes * GIB, usable_bytes=gigabytes * GIB)


@pytest.mark.parametrize("shared", [0, 30])
def test_planned_micro_batches_are_those_that_training_builds(shared):
    config = RunConfig(training=TrainingSettings(batch_size=8, micro_batch_tokens=1500, epochs=2))
    examples = encoded(list(LENGTHS))
    for example in examples:
        example.tokens[:shared] = 1
    shape = find_run_shape(config, dataclasses.replace(WORKLOAD, shared_tokens=common_beginning(examples)))
    plan = StepPlan(examples, config)
    built = [tuple(map(sizes, build_step(plan.examples(step), 1500, 0))) for step in range(len(shape.steps))]
    assert list(shape.steps) == built
    assert {batch.shared_tokens for batch in shape.micro_batches if batch.rows > 1} == {shared}
    assert shape.total_steps == plan.total_steps == 2 * len(shape.steps)
    assert shape.evaluations == 4


def test_with_dropout_or_noise_nothing_runs_once():
    workload = dataclasses.replace(WORKLOAD, shared_tokens=30)
    for flags in ({"dropout": 0.1}, {"neftune_alpha": 5.0}):
        shape = find_run_shape(with_settings(CONFIG, flags), workload)
        assert {batch.shared_tokens for batch in shape.micro_batches} == {0}
        assert {batch.shared_tokens for batch in shape.dev_batches if batch.rows > 1} == {30}


def test_rows_of_added_tokens_are_counted():
    config = dataclasses.replace(CONFIG, lora=dataclasses.replace(CONFIG.lora, added_tokens="<|user|>, <|assistant|>"))
    plain, grown = (plan_for(each, DEVICES["t4"], PHI, WORKLOAD) for each in (CONFIG, config))
    rows = 2 * 2560  # the embedding's: a head with a bias gets none
    assert grown.trainable_parameters == plain.trainable_parameters + rows
    assert grown.memory.total_bytes > plain.memory.total_bytes
    assert grown.disk["run"] > plain.disk["run"]


def test_the_peak_over_the_heaviest_batches_is_the_peak_over_all():
    shape = find_run_shape(CONFIG, WORKLOAD)
    assert len(heaviest_batches(shape.micro_batches)) < len(shape.micro_batches)
    settings = memory_settings(
        CONFIG, DEVICES["t4"], PHI.shape, accumulation=any(len(step) > 1 for step in shape.steps)
    )
    every = [estimate_memory(PHI.shape, settings, batch, shape.generation) for batch in shape.micro_batches]
    assert peak(CONFIG, DEVICES["t4"], PHI.shape, shape)[0].training_bytes == max(e.training_bytes for e in every)
    assert heaviest_batches([MicroBatch(1, 8, 2), MicroBatch(1, 8, 3), MicroBatch(1, 4, 9)]) == [
        MicroBatch(1, 8, 3),
        MicroBatch(1, 4, 9),
    ]


def test_generation_is_planned_only_where_something_is_generated():
    config = RunConfig(generation=GenerationSettings(max_new_tokens=100, generation_batch_tokens=4000))
    assert generation_batch(config, 700).rows == 5
    assert generation_batch(config, 30).rows <= 64
    silent = dataclasses.replace(config, output=OutputSettings(final_eval=False))
    assert generation_batch(silent, 700) is None


def test_changes_come_cheapest_first_and_stop_at_the_first_that_fits():
    changes = list(find_changes(CONFIG, on(DEVICES["t4"], 12), PHI.shape, WORKLOAD))
    assert [set(change.settings) for change in changes] == [{"micro_batch_tokens"}]
    assert [change.fits for change in changes] == [True]
    tight = list(find_changes(CONFIG, on(DEVICES["t4"], 4), PHI.shape, WORKLOAD))
    order = [next(iter(change.settings)) for change in tight]
    wanted = ["micro_batch_tokens", "generation_batch_tokens", "gradient_checkpointing", "adapter_layers"]
    assert order == [name for name in wanted if name in order]
    assert "gradient_checkpointing" in order
    assert [change.fits for change in tight] == [False] * (len(tight) - 1) + [True]


def test_what_a_change_promises_is_what_the_changed_run_needs():
    device = on(DEVICES["t4"], 5)
    applied = {}
    for change in find_changes(CONFIG, device, PHI.shape, WORKLOAD):
        applied |= change.settings
        changed = with_settings(CONFIG, applied)
        assert peak(changed, device, PHI.shape, find_run_shape(changed, WORKLOAD))[0].total_bytes == change.total_bytes
    assert change.total_bytes <= device.usable_bytes


def test_where_nothing_else_helps_the_largest_smaller_model_is_named():
    *_, last = find_changes(CONFIG, on(DEVICES["t4"], 2), PHI.shape, WORKLOAD)
    assert last.fits
    assert last.flags.startswith("--model ")
    assert preset_shape(last.settings["model"]).parameters < PHI.shape.parameters


def test_the_limits_named_fit_and_the_next_larger_ones_do_not():
    device = on(DEVICES["t4"], 12)
    plan = plan_for(CONFIG, device, PHI, WORKLOAD)
    assert not plan.fits
    smaller = with_settings(CONFIG, {"micro_batch_tokens": plan.largest_micro_batch_tokens})
    assert plan_for(smaller, device, PHI, WORKLOAD).memory.training_bytes < device.usable_bytes
    assert 0 < plan.longest_example_tokens <= PHI.shape.context_tokens
    assert plan_for(CONFIG, on(DEVICES["t4"], 1), PHI, WORKLOAD).longest_example_tokens == 0


def test_a_plan_needs_neither_weights_nor_network(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plan = make_plan(CONFIG, "l4")
    assert plan.workload.basis == "estimated from words"
    assert plan.disk["download"] == 2 * PHI.shape.parameters
    assert "not measured" in plan.time.basis


def test_without_data_one_longest_example_is_assumed():
    workload = find_workload(RunConfig(), PHI)
    assert workload.basis == "assumed"
    assert workload.lengths == ((1024, 48),)
    shape = find_run_shape(RunConfig(), workload)
    batches = {(batch.rows, batch.tokens) for batch in shape.micro_batches}
    assert batches == {(4, 1024)}  # what --micro-batch-tokens takes


def test_tokens_are_counted_where_the_tokenizer_is_here(tmp_path):
    build_tiny_model(tmp_path, "llama")
    build_tiny_tokenizer(tmp_path)
    config = RunConfig(data=DataSettings(data="demo", limit_train=30), model=ModelSettings(model=str(tmp_path)))
    workload = find_workload(config, find_known_model(str(tmp_path)))
    assert workload.basis == "counted"
    assert len(workload.lengths) == 30
    assert workload.longest <= 512


@pytest.mark.parametrize(
    ("config", "device", "error", "message"),
    [
        (CONFIG, "abacus", UsageError, "unknown"),
        (dataclasses.replace(CONFIG, output=OutputSettings(engine="mlx")), "t4", UsageError, "does not run on"),
        (RunConfig(model=ModelSettings(model="nope")), "t4", ModelError, "not a preset"),
        (RunConfig(data=DataSettings(data="nowhere.csv")), "t4", DataError, "nowhere.csv"),
    ],
)
def test_what_cannot_be_planned_is_refused_by_name(config, device, error, message):
    with pytest.raises(error, match=message):
        make_plan(config, device)


def test_a_probe_of_another_device_is_refused():
    with pytest.raises(UsageError, match="cannot measure"):
        make_plan(CONFIG, "t4", measure=True)


class TestBeforeTraining:
    @pytest.fixture
    def prepared(self, tmp_path):
        from common.run.preparation import prepare

        build_tiny_model(tmp_path, "llama")
        build_tiny_tokenizer(tmp_path)
        return prepare(
            RunConfig(
                data=DataSettings(data="demo", limit_train=60),
                model=ModelSettings(model=str(tmp_path), dtype="float32"),  # the same memory on every CPU
            )
        )

    def shrink(self, monkeypatch, usable):
        small = dataclasses.replace(find_device("auto"), usable_bytes=usable)
        monkeypatch.setattr(planner, "find_device", lambda name, engine: small)

    def need(self, prepared):
        return check_before_training(prepared.config, prepared, "cuda", adapt=False)

    def test_a_run_that_fits_is_left_alone_and_nothing_is_said(self, prepared):
        assert self.need(prepared) == (prepared.config, [])

    def test_a_run_that_does_not_fit_is_told_what_would(self, prepared, monkeypatch):
        self.shrink(monkeypatch, 730 * 2**20)
        config, said = self.need(prepared)
        assert config == prepared.config
        assert "may run out of memory" in said[0]
        assert "--auto" in said[1]

    def test_auto_takes_the_changes_and_the_run_then_fits(self, prepared, monkeypatch):
        self.shrink(monkeypatch, 730 * 2**20)
        config, said = check_before_training(prepared.config, prepared, "cuda", adapt=True)
        assert config != prepared.config
        assert config.model.quantize == prepared.config.model.quantize
        assert said[1].startswith("--auto: training with --")
        assert check_before_training(config, prepared, "cuda", adapt=False)[1] == []

    def test_a_hopeless_run_is_told_so(self, prepared, monkeypatch):
        self.shrink(monkeypatch, 100 * 2**20)
        config, said = check_before_training(prepared.config, prepared, "cuda", adapt=True)
        assert config == prepared.config
        assert "nothing that sumkit plan knows makes it fit" in said[1]


def test_a_step_plan_counts_and_finds_steps_as_the_epochs_themselves_do():
    examples = encoded(list(LENGTHS))
    for settings in ({"batch_size": 7}, {"batch_target_tokens": 90}):
        config = RunConfig(training=TrainingSettings(epochs=3.5, **settings))
        plan = StepPlan(examples, config)
        sizes_of = [len(plan.epoch_plan(epoch)) for epoch in range(4)]
        places = [(epoch, index) for epoch, size in enumerate(sizes_of) for index in range(size)]
        assert plan.total_steps == sum(sizes_of[:3]) + -(-sizes_of[3] // 2)
        assert [plan.locate(step) for step in range(len(places))] == places
        fixed = dataclasses.replace(config.training, steps=plan.total_steps)
        again = StepPlan(examples, dataclasses.replace(config, training=fixed))
        for step in (plan.total_steps - 1, 0, len(places) - 1):
            assert again.locate(step) == places[step]
            assert [e.id for e in again.examples(step)] == [e.id for e in plan.examples(step)]


def test_a_part_of_an_epoch_is_not_rounded_up_by_what_decimals_leave():
    for epochs, steps in ((2.1, 21), (1.1, 11), (0.05, 1), (2.11, 22), (0.3, 3)):
        config = RunConfig(training=TrainingSettings(epochs=epochs, batch_size=15))
        assert StepPlan(encoded(list(LENGTHS)), config).total_steps == steps


def test_a_billion_epochs_are_planned_at_once():
    plan = StepPlan(encoded(list(LENGTHS)), RunConfig(training=TrainingSettings(epochs=1e9, batch_size=16)))
    assert plan.total_steps == 10 * 10**9
    assert plan.locate(plan.total_steps - 1) == (10**9 - 1, 9)
