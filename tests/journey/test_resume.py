"""Interrupted and resumed equals uninterrupted, bit for bit, on both engines."""

import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest

from common.cli.train import order_from
from common.cli.worker import launch
from common.data.prompts import find_template
from common.errors import CheckpointError
from common.model.adapter import read_adapter
from common.order import Order
from common.run.checkpoint import find_checkpoint, load_checkpoint
from common.run.directory import RunDirectory, write_settings
from common.run.lock import RunLock
from common.settings import RunConfig
from common.train.loop import RunStopped
from common.train.training import train_run, without_effect
from tests.journey.conftest import ENGINES

TIMES_AND_MEMORY = {"tokens_per_second", "peak_memory_bytes", "eval_seconds"}


def comparable_metrics(run: RunDirectory) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMES_AND_MEMORY} for row in run.read_metrics()]


def assert_same_run(first, second):
    ours, theirs = RunDirectory(first), RunDirectory(second)
    assert comparable_metrics(ours) == comparable_metrics(theirs)
    for name, value in read_adapter(ours.adapter).weights.items():
        assert np.array_equal(value, read_adapter(theirs.adapter).weights[name]), name


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    return request.param


def cut_after(run, step, target):
    """A copy of a run as a crash after `step` would leave it: later checkpoints and the results gone."""
    shutil.copytree(run, target)
    for path in (target / "checkpoints").iterdir():
        if int(path.name.split("-")[1]) > step:
            shutil.rmtree(path)
    shutil.rmtree(target / "adapter")
    (target / "finished.json").unlink()
    return target


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_run_resumed_from_any_checkpoint_equals_the_uninterrupted_one(tmp_path, tiny_config, engine, dropout):
    whole = tmp_path / "whole"
    train_run(tiny_config(whole, dropout=dropout, log_every=3), whole, resume=False, requested_engine=engine)
    for step in (2, 4):
        resumed = cut_after(whole, step, tmp_path / f"from-{step}")
        config = tiny_config(resumed, dropout=dropout, log_every=3)
        assert train_run(config, resumed, resume=True, requested_engine=engine).state.step == 6
        assert_same_run(whole, resumed)


def test_a_different_seed_gives_a_different_run(tmp_path, tiny_config, engine):
    for seed in (0, 1):
        run = tmp_path / f"seed-{seed}"
        train_run(tiny_config(run, seed=seed, steps=2), run, resume=False, requested_engine=engine)
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "seed-0", tmp_path / "seed-1")


def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_had_happened(tmp_path, tiny_config, engine, monkeypatch):
    import common.train.training as training

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train_run(tiny_config(whole), whole, resume=False, requested_engine=engine)
    make_hooks = training.make_hooks

    def hooks_that_signal(*arguments):
        hooks = make_hooks(*arguments)
        return dataclasses.replace(
            hooks, track=lambda row: os.kill(os.getpid(), signal.SIGTERM) if row["step"] == 3 else None
        )

    monkeypatch.setattr(training, "make_hooks", hooks_that_signal)
    with pytest.raises(RunStopped) as caught:
        train_run(tiny_config(stopped), stopped, resume=False, requested_engine=engine)
    assert (caught.value.signal_number, caught.value.step) == (signal.SIGTERM, 3)
    monkeypatch.undo()
    train_run(tiny_config(stopped), stopped, resume=True, requested_engine=engine)
    assert_same_run(whole, stopped)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used(tmp_path, tiny_config, engine):
    run = tmp_path / "run"
    train_run(tiny_config(run), run, resume=False, requested_engine=engine)
    newest = run / "checkpoints" / "step-6" / "adapter" / "adapter_model.safetensors"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors: damaged"):
        load_checkpoint(run / "checkpoints" / "step-6")
    found, problems = find_checkpoint(run / "checkpoints")
    assert found is not None
    assert found.state.step == 4
    assert "step-6" in problems[0]


@pytest.mark.parametrize("damage", ["truncate", "remove", "manifest"])
def test_every_kind_of_damage_is_found(tmp_path, tiny_config, damage):
    run = tmp_path / "run"
    train_run(tiny_config(run, steps=2), run, resume=False, requested_engine="cuda")
    directory = run / "checkpoints" / "step-2"
    if damage == "truncate":
        (directory / "state.json").write_bytes((directory / "state.json").read_bytes()[:-3])
    elif damage == "remove":
        (directory / "state.json").unlink()
    else:
        (directory / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError):
        load_checkpoint(directory)


def test_resuming_a_finished_run_changes_nothing(tmp_path, tiny_config, engine):
    run = tmp_path / "run"
    train_run(tiny_config(run, steps=2), run, resume=False, requested_engine=engine)
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    assert not train_run(tiny_config(run, steps=2), run, resume=True, requested_engine=engine).trained_now
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()} == before


def test_a_run_of_some_steps_goes_on_for_the_epochs_that_are_asked_for(tmp_path, tiny_config, engine):
    run = tmp_path / "run"
    train_run(tiny_config(run, steps=2, final_eval=False), run, resume=False, requested_engine=engine)
    more = order_from(Order(RunConfig(), resume=True), {"run": str(run), "epochs": 1.0}, engine=engine)
    assert launch(more) == 0
    assert RunDirectory(run).read_metrics()[-1]["step"] == 24 / 4


def test_resume_without_a_checkpoint_starts_at_step_0(tmp_path, tiny_config, engine):
    run = tmp_path / "run"
    finished = train_run(tiny_config(run, steps=2), run, resume=True, requested_engine=engine)
    assert [row["step"] for row in finished.run.read_metrics()] == [1, 2]


def test_changed_settings_are_refused_with_the_differences(tmp_path, tiny_config):
    run = tmp_path / "run"
    train_run(tiny_config(run, steps=2), run, resume=False, requested_engine="cuda")
    (run / "finished.json").unlink()
    with pytest.raises(CheckpointError, match=r"lora.rank: 16 before, 4 now") as caught:
        train_run(tiny_config(run, steps=2, rank=4, learning_rate=5e-4), run, resume=True, requested_engine="cuda")
    assert "training.learning_rate" in str(caught.value)
    assert train_run(tiny_config(run, steps=4), run, resume=True, requested_engine="cuda").state.step == 4


def test_changed_data_is_refused(tmp_path, tiny_config, tiny_data):
    run, changed = tmp_path / "run", tmp_path / "data"
    shutil.copytree(tiny_data, changed)
    train_run(tiny_config(run, steps=2, data=str(changed)), run, resume=False, requested_engine="cuda")
    (run / "finished.json").unlink()
    lines = (changed / "train.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    lines[0] = json.dumps({**row, "summary": "Another summary."})
    (changed / "train.jsonl").write_text("\n".join(lines))
    with pytest.raises(CheckpointError, match="examples themselves"):
        train_run(tiny_config(run, steps=2, data=str(changed)), run, resume=True, requested_engine="cuda")


def test_a_second_run_into_the_same_directory_is_refused_and_a_dead_lock_is_not(tmp_path):
    run = RunDirectory(tmp_path)
    with RunLock(run), pytest.raises(CheckpointError, match=f"in use by process {os.getpid()}"), RunLock(run):
        pass
    (tmp_path / "run.lock").write_text(json.dumps({"pid": 2**22 + 1, "host": os.uname().nodename, "started": 1.0}))
    with RunLock(run):
        assert (tmp_path / "run.lock").is_file()
    assert not (tmp_path / "run.lock").exists()


def test_a_run_directory_is_not_overwritten_without_resume(tmp_path, tiny_config):
    run = tmp_path / "run"
    train_run(tiny_config(run, steps=2), run, resume=False, requested_engine="cuda")
    with pytest.raises(CheckpointError, match="--resume"):
        train_run(tiny_config(run, steps=2), run, resume=False, requested_engine="cuda")


def test_a_run_killed_between_its_early_stop_and_its_end_does_not_train_on(tmp_path, tiny_config):
    whole = tmp_path / "whole"
    hopeless = {"steps": 30, "eval_every": 1, "save_every": 1, "patience": 2, "learning_rate": 20.0}
    stopped = train_run(tiny_config(whole, **hopeless), whole, resume=False, requested_engine="cuda").state.step
    assert stopped < 30
    resumed = cut_after(whole, stopped, tmp_path / "resumed")
    config = tiny_config(resumed, **hopeless)
    assert train_run(config, resumed, resume=True, requested_engine="cuda").state.step == stopped
    assert_same_run(whole, resumed)
    asked_more = tiny_config(whole, **{**hopeless, "steps": 40})
    assert train_run(asked_more, whole, resume=True, requested_engine="cuda").state.step > stopped


def test_an_aligned_run_is_not_resumed_as_ordinary_training(tmp_path, tiny_config):
    run = tmp_path / "aligned"
    config = tiny_config(run)
    config = dataclasses.replace(config, align=dataclasses.replace(config.align, start="runs/notes"))
    run.mkdir()
    write_settings(RunDirectory(run), config, find_template("direct"))
    with pytest.raises(CheckpointError, match=f"sumkit align runs/notes --run {run} --resume"):
        train_run(config, run, resume=True, requested_engine="cuda")


def test_what_is_asked_for_and_will_not_happen_is_said(tmp_path, tiny_config, capsys):
    run = tmp_path / "run"
    config = tiny_config(run, steps=1, keep_best_by="rouge", patience=3, warmup_steps=1)
    train_run(config, run, resume=False, requested_engine="cuda")
    said = capsys.readouterr().err
    assert "--keep-best-by rouge keeps the last adapter, since no dev documents are summarized" in said
    assert "--patience does not stop this run, since no dev documents are summarized" in said
    assert "--warmup-steps 1 leaves no step after the warm-up" in said
    for settings, dev, expected in (
        ({"keep_best_by": "last", "patience": 1}, 5, ["--patience"]),
        ({"keep_best_by": "dev_loss", "patience": 1}, 0, ["--patience"]),
        ({"keep_best_by": "rouge", "eval_rouge": 2, "patience": 1}, 5, []),
        ({"keep_best_by": "dev_loss", "patience": 1}, 5, []),
        ({"keep_best_by": "last"}, 5, []),
    ):
        assert [line.split()[0] for line in without_effect(tiny_config(run, **settings), dev)] == expected
