"""A sweep of real tiny runs: halving, resuming, failing trials, files, and the command itself."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest

from common.config import read_config, to_dict
from common.errors import CheckpointError
from common.order import Order
from common.run.directory import RunDirectory
from common.sweep.space import grid_trials, parse_varied
from common.sweep.sweep import SweepFailedError, SweepPlan, SweepStopped, run_sweep, stored_plan, trial_config
from common.sweep.trial import read_scores, run_trial
from tests.journey.conftest import tiny_config, tiny_data, tiny_model  # noqa: F401 - fixtures

RATES = "learning-rate=1e-6,1e-3,1e-2,3e-2"


def plan_of(config, *texts, halving=2, measure="dev_loss"):
    trials = grid_trials([parse_varied(text) for text in texts], to_dict(config))
    return SweepPlan(config, trials, halving, measure)


@pytest.fixture(scope="session")
def base(tmp_path_factory, tiny_model, tiny_data):  # noqa: F811
    from common import config

    flags = {
        "data": str(tiny_data), "model": str(tiny_model), "quantize": "none", "max_length": 192, "batch_size": 4,
        "max_summary_tokens": 64, "steps": 6, "max_new_tokens": 8, "duplicates": "keep", "leaks": "keep",
    }  # fmt: skip
    return config.resolve(config.from_flags(flags))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, base):
    """A sweep of four rates, halved once: its directory, its results and the calls that it made."""
    path = tmp_path_factory.mktemp("sweep") / "rates"
    calls = []

    def launch(order):
        calls.append((order.settings.training.learning_rate, order.share))
        return run_trial(order)

    return path, run_sweep(plan_of(base, RATES), path, False, launch), calls


def test_half_the_trials_go_on_and_the_best_is_named_with_how_sure_it_is(finished):
    path, results, calls = finished
    assert [share for _, share in calls] == [0.5] * 4 + [1.0] * 2
    status = {row["settings"]["learning_rate"]: row["status"] for row in results["trials"]}
    assert status[1e-6] == "stopped"  # learns next to nothing
    assert sorted(status.values()) == ["finished"] * 2 + ["stopped"] * 2
    first, second = results["trials"][:2]
    assert results["best"]["name"] == first["name"]
    assert first["dev_loss"]["low"] <= first["dev_loss"]["mean"] <= first["dev_loss"]["high"]
    assert first["dev_loss"]["mean"] < second["dev_loss"]["mean"]
    assert first["best_share"] + second["best_share"] == pytest.approx(1.0)
    assert results["documents"] == 6
    assert results == json.loads((path / "results.json").read_text())
    assert (path / "plots" / "sweep.png").stat().st_size > 5000
    chosen = read_config(path / "best.yaml")
    assert chosen.training.learning_rate == results["best"]["settings"]["learning_rate"]
    assert (RunDirectory(path / "trials" / first["name"]).adapter / "adapter_model.safetensors").is_file()


def test_a_trial_paused_and_continued_equals_the_same_run_in_one_piece(finished, base, tmp_path):
    path, results, _ = finished
    name = results["best"]["name"]
    trial = next(t for t in plan_of(base, RATES).trials if t.name == name)
    config = trial_config(base, trial, tmp_path)
    whole = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, eval_every=0))
    assert run_trial(Order(whole, "trial")) == 0
    in_parts = RunDirectory(path / "trials" / name)
    in_one = RunDirectory(tmp_path / "trials" / name)
    losses = [[(row["step"], row["loss"]) for row in run.read_metrics()] for run in (in_parts, in_one)]
    assert losses[0] == losses[1]
    assert read_scores(in_parts.path, 1.0).losses == read_scores(in_one.path, 1.0).losses
    assert [row["learning_rate"] for row in in_parts.read_metrics()] == [
        row["learning_rate"] for row in in_one.read_metrics()
    ]


def test_the_dev_loss_of_a_trial_is_the_one_that_training_measured(finished):
    path, results, _ = finished
    best = results["trials"][0]
    rows = RunDirectory(path / "trials" / best["name"]).read_metrics()
    assert best["dev_loss"]["mean"] == pytest.approx(
        min(row["dev_loss"] for row in rows if "dev_loss" in row), rel=1e-5
    )


def test_resuming_runs_only_what_is_missing_and_gives_the_same_results(finished, base, tmp_path):
    path, results, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    victim = copy / "trials" / results["best"]["name"]
    (victim / "dev_scores.json").unlink()
    (victim / "finished.json").unlink()  # as if it had been killed while it was scored
    calls = []

    def launch(order):
        calls.append((str(order.path), order.share))
        return run_trial(order)

    again = run_sweep(stored_plan(copy), copy, True, launch)
    assert [run for run, _ in calls] == [str(victim)]
    assert [row["name"] for row in again["trials"]] == [row["name"] for row in results["trials"]]
    assert [row["dev_loss"] for row in again["trials"]] == [row["dev_loss"] for row in results["trials"]]
    with pytest.raises(CheckpointError, match="already holds a sweep"):
        run_sweep(stored_plan(copy), copy, False, launch)
    with pytest.raises(CheckpointError, match="other trials"):
        run_sweep(plan_of(base, "rank=2,4"), copy, True, launch)


def test_a_failed_trial_is_shown_and_left_out_and_a_signal_stops_the_sweep(base, tmp_path):
    def launch(order):
        if order.settings.lora.rank == 4:
            return 1
        return run_trial(order)

    results = run_sweep(plan_of(base, "rank=4,2"), tmp_path / "one", False, launch)
    assert [(row["settings"]["rank"], row["status"]) for row in results["trials"]] == [(2, "finished"), (4, "failed")]
    assert "no other finished trial" in results["best"]["sentence"]
    with pytest.raises(SweepFailedError, match="every trial failed"):
        run_sweep(plan_of(base, "rank=4"), tmp_path / "none", False, launch)
    with pytest.raises(SweepStopped):
        run_sweep(plan_of(base, "rank=8"), tmp_path / "signal", False, lambda order: 130)


def test_the_command_ranks_by_rouge_and_prints_one_json_document(base, tmp_path):
    run = tmp_path / "sweep"
    data, model = base.data.data, base.model.model
    arguments = ["--data", data, "--model", model, "--vary", "template=direct,article", "--rank-by", "rougeL",
                 "--eval-rouge", "3", "--quantize", "none", "--max-length", "192", "--max-summary-tokens", "64",
                 "--steps", "2", "--batch-size", "4", "--max-new-tokens", "8", "--run", run, "--json"]  # fmt: skip
    start = "import sys; from common.cli.main import main; main()"
    first = subprocess.run(
        [sys.executable, "-c", start, "sweep", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert first.returncode == 0, first.stderr
    results = json.loads(first.stdout)
    assert results["documents"] == 3
    assert {row["settings"]["template"] for row in results["trials"]} == {"direct", "article"}
    assert all(0 <= row["rougeL"]["mean"] <= 100 for row in results["trials"])
    again = subprocess.run(
        [sys.executable, "-c", start, "sweep", "--run", str(run), "--resume"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert "chosen: template=" in again.stdout
    assert "trial 1" not in again.stderr  # nothing is run again


def test_a_sweep_made_before_a_setting_existed_is_resumed(finished):
    path, results, _ = finished
    file = path / "sweep.yaml"
    whole = file.read_text()
    without = "".join(line for line in whole.splitlines(True) if "neftune_alpha" not in line and "  dora" not in line)
    assert without != whole
    file.write_text(without)
    try:
        again = run_sweep(stored_plan(path), path, True, lambda *call: pytest.fail("a finished trial ran again"))
        assert again["best"] == results["best"]
        other = dataclasses.replace(stored_plan(path), measure="rouge1")
        with pytest.raises(CheckpointError, match="was started with other measure; "):
            run_sweep(other, path, True)
        changed = stored_plan(path)
        lora = dataclasses.replace(changed.base.lora, rank=3)
        with pytest.raises(CheckpointError, match=r"was started with other lora.rank"):
            run_sweep(dataclasses.replace(changed, base=dataclasses.replace(changed.base, lora=lora)), path, True)
    finally:
        file.write_text(whole)
