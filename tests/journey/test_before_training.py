"""`sumkit train` says beforehand what would not fit, takes the plan's settings, and draws learning curves."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from common.budget import planner
from common.budget.devices import find_device
from common.config import read_config
from common.errors import ConfigError
from common.train.training import train_run

ENOUGH_FOR_LITTLE = 702 * 2**20  # the plan asks for 711 MiB, 700 of them for the framework


@pytest.fixture
def small_device(monkeypatch):
    """A device with room for little more than the framework."""
    device = dataclasses.replace(find_device("auto", "cuda"), usable_bytes=ENOUGH_FOR_LITTLE)
    monkeypatch.setattr(planner, "find_device", lambda name, engine: device)


def test_an_unknown_template_of_the_untuned_model_is_said_before_training(tmp_path, tiny_config):
    with pytest.raises(ConfigError, match="plain"):
        train_run(tiny_config(tmp_path / "run", base_template="plain"), tmp_path / "run", resume=False)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_training_says_that_it_may_not_fit_and_what_would(tmp_path, tiny_config, small_device, capsys):
    wanted = tiny_config(tmp_path / "run", steps=1)
    train_run(wanted, tmp_path / "run", resume=False, requested_engine="cuda")
    said = capsys.readouterr().err
    assert "may run out of memory" in said
    assert "or --auto to do so" in said
    assert read_config(tmp_path / "run" / "config.yaml").training == wanted.training


def test_auto_trains_with_the_plans_settings(tmp_path, tiny_config, small_device, capsys):
    wanted = tiny_config(tmp_path / "run", steps=1)
    train_run(wanted, tmp_path / "run", resume=False, requested_engine="cuda", adapt=True)
    assert "--auto: training with --" in capsys.readouterr().err
    stored = read_config(tmp_path / "run" / "config.yaml")
    assert stored != wanted
    assert (tmp_path / "run" / "finished.json").is_file()


def test_nothing_is_said_where_the_run_fits(tmp_path, tiny_config, capsys):
    train_run(tiny_config(tmp_path / "run", steps=1), tmp_path / "run", resume=False, requested_engine="cuda")
    assert "memory" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["sumkit", "cuda_sum", "mlx_sum"])
def test_every_spelling_draws_a_learning_curve_that_budget_reads(tmp_path, tiny_model, spelling):
    start = [sys.executable, "-c", "from common.cli.main import main; main()", "train"]
    start = start if spelling == "sumkit" else [sys.executable, "-m", f"{spelling}.train"]
    run = tmp_path / "curve"
    flags = ["--data", "demo", "--model", tiny_model, "--run", run, "--max-length", 256, "--max-summary-tokens", 200,
             "--limit-train", 64, "--limit-dev", 6, "--batch-size", 16, "--quantize", "none"]  # fmt: skip

    def said(*arguments: object) -> dict:
        done = subprocess.run([*start, *map(str, arguments), "--json"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    answer = said(*flags, "--learning-curve")
    assert [point["examples"] for point in answer["points"]] == [16, 32, 64]
    assert answer["curves"][0]["double"]["size"] == 128
    assert said("--run", run, "--resume") == answer  # finished sizes are not trained again
    command = [sys.executable, "-c", "from common.cli.main import main; main()", "budget", "--curve", run, "--json"]
    budget = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert json.loads(budget.stdout)["curves"] == answer["curves"]
