"""Aligning a run, whole: on both engines, resumed bit for bit, scored beside the run it started from."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from common.align.alignment import Alignment
from common.budget import planner
from common.budget.devices import find_device
from common.cli.align import aligned_settings, command
from common.cli.worker import carry_out, smaller
from common.config import read_config
from common.data.preferences import append_row, choice_row
from common.errors import CheckpointError, ConfigError, DataError
from common.evaluation.run_evaluation import EvalOptions, NothingHeldOutError
from common.model.adapter import read_adapter
from common.order import Order
from common.run.directory import RunDirectory
from common.run.loaded_run import LoadedRun
from common.settings import RunConfig
from common.train.training import Finished, train_run
from tests.contract.cases import ENGINES
from tests.journey.conftest import rows
from tests.journey.test_resume import assert_same_run, cut_after

Config = Callable[..., RunConfig]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def start(tmp_path: Path, tiny_config: Config, engine: str) -> Path:
    """A trained run of two steps."""
    path = tmp_path / "start"
    exact = {"quantize": "none", "dtype": "float32"}
    config = tiny_config(path, steps=2, engine=engine, max_new_tokens=8, **exact)
    train_run(config, path, resume=False, requested_engine=engine)
    return path


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """Choices of the shorter of two summaries."""
    path = tmp_path / "ratings.jsonl"
    for row in rows(14):
        append_row(path, choice_row(row["document"], row["summary"], row["summary"] + " They said so.", "a", "b"))
    return path


def settings(start: Path, ratings: Path | None, run: Path, **changes: object) -> RunConfig:
    flags = {
        "ratings": str(ratings or ""), "run": str(run), "batch_size": 4, "steps": 6, "save_every": 2, "eval_every": 2,
        "learning_rate": 5e-3, "test_limit": 2, **changes,
    }  # fmt: skip
    return aligned_settings(start, False, flags)


def align_run(config: RunConfig, path: Path, resume: bool) -> Finished:
    return train_run(config, path, resume, config.output.engine, task=Alignment(config.align.start))


def test_an_aligned_run_resumes_bit_for_bit_and_prefers_what_people_did(
    tmp_path: Path, start: Path, ratings: Path
) -> None:
    whole = tmp_path / "whole"
    align_run(settings(start, ratings, whole), whole, resume=False)
    metrics = RunDirectory(whole).read_metrics()
    assert metrics[0]["loss"] == pytest.approx(np.log(2), abs=1e-6), "the reference is the run as it was"
    assert metrics[-1]["dev_loss"] < np.log(2) - 0.02
    assert metrics[-1]["preferred"] > 0.5
    before, after = read_adapter(start / "adapter"), read_adapter(whole / "adapter")
    assert before.lora == after.lora
    assert any(not np.array_equal(before.weights[name], after.weights[name]) for name in before.weights)
    resumed = cut_after(whole, 4, tmp_path / "resumed")
    align_run(settings(start, ratings, resumed), resumed, resume=True)
    assert_same_run(whole, resumed)
    assert align_run(settings(start, ratings, resumed), resumed, resume=True).trained_now is False
    with pytest.raises(CheckpointError, match="already holds a run"):
        align_run(settings(start, ratings, whole), whole, resume=False)
    fresh = cut_after(whole, 4, tmp_path / "changed")
    with pytest.raises(CheckpointError, match=r"align\.beta"):
        align_run(settings(start, ratings, fresh, beta=0.5), fresh, resume=True)


def test_a_run_aligned_by_its_samples_rewards_resumes_bit_for_bit(tmp_path: Path, start: Path) -> None:
    whole = tmp_path / "whole"
    changes = {"method": "grpo", "pair_documents": 10, "pair_dev_documents": 3, "samples": 3, "steps": 5}
    align_run(settings(start, None, whole, **changes), whole, resume=False)
    metrics = RunDirectory(whole).read_metrics()
    assert sorted(row["samples"] for row in metrics[:3]) == [2 * 3, 4 * 3, 4 * 3]
    assert all(row["loss"] == -row["reward"] for row in metrics)
    assert metrics[-1]["dev_loss"] == -metrics[-1]["dev_reward"]
    assert metrics[0]["divergence"] >= 0.0
    before, after = read_adapter(start / "adapter"), read_adapter(whole / "adapter")
    assert any(not np.array_equal(before.weights[name], after.weights[name]) for name in before.weights)
    resumed = cut_after(whole, 4, tmp_path / "resumed")
    align_run(settings(start, None, resumed, **changes), resumed, resume=True)
    assert_same_run(whole, resumed)
    changed = cut_after(whole, 4, tmp_path / "changed")
    with pytest.raises(CheckpointError, match=r"align\.kl_weight"):
        align_run(settings(start, None, changed, **changes, kl_weight=0.5), changed, resume=True)


def test_in_bfloat16_too_policy_and_reference_agree_before_the_first_step(
    tmp_path: Path, start: Path, ratings: Path
) -> None:
    """Rounding depends on what shares a micro-batch, so the reference has to be computed in the step's own."""
    run = tmp_path / "run"
    coarse = {"dtype": "bfloat16", "steps": 1, "batch_size": 3, "beta": 5.0}
    align_run(settings(start, ratings, run, **coarse), run, resume=False)
    assert RunDirectory(run).read_metrics()[0]["loss"] == pytest.approx(np.log(2), abs=1e-6)


def test_samples_that_never_end_make_no_pair_and_that_is_said(tmp_path: Path, start: Path) -> None:
    run = tmp_path / "none"
    config = settings(start, None, run, pair_documents=2, pair_dev_documents=1, samples=2)
    with pytest.raises(DataError, match="no pair was found"):
        align_run(config, run, resume=False)


def test_what_cannot_be_aligned_is_refused(tmp_path: Path, start: Path, ratings: Path) -> None:
    with pytest.raises(ConfigError, match=r"lora\.dropout"):
        align_run(settings(start, ratings, tmp_path / "a", dropout=0.1), tmp_path / "a", resume=False)
    with pytest.raises(ConfigError, match="leave out --ratings"):
        align_run(settings(start, ratings, tmp_path / "c", method="grpo"), tmp_path / "c", resume=False)
    shutil.rmtree(start / "adapter")
    with pytest.raises(CheckpointError, match="has no adapter yet"):
        align_run(settings(start, ratings, tmp_path / "b"), tmp_path / "b", resume=False)


def test_the_settings_are_the_runs_then_the_commands_then_flags(tmp_path: Path, start: Path, ratings: Path) -> None:
    config = settings(start, ratings, tmp_path / "run", beta=0.4)
    stored = read_config(RunDirectory(start).config)
    assert (config.lora, config.data, config.model) == (stored.lora, stored.data, stored.model)
    assert (config.align.beta, config.align.start, config.training.batch_size) == (0.4, str(start), 4)
    plain = aligned_settings(start, False, {})
    assert (plain.training.learning_rate, plain.training.steps) == (5e-5, 0)
    assert plain.output.run == str(tmp_path / "start-aligned")


def test_the_command_scores_the_result_beside_the_run(
    tmp_path: Path, start: Path, ratings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUMKIT_SUPERVISOR", "1")  # in this process
    run = tmp_path / "aligned"
    arguments = [str(start), "--ratings", str(ratings), "--run", str(run), "--steps", "1", "--test-limit", "2",
                 "--base-template", "same", "--json"]  # fmt: skip
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert result.exception is None, result.output
    summary = json.loads(result.stdout)
    assert {"tuned", "base", "start"} <= set(summary["results"]["systems"])
    assert "tuned-start" in summary["results"]["differences"]
    assert (run / "report.html").is_file()

    def resumed(*more: str) -> dict[str, Any]:
        again = CliRunner().invoke(
            command, [str(start), "--run", str(run), "--resume", "--json", *more], standalone_mode=False
        )
        assert again.exception is None, again.output
        found: dict[str, Any] = json.loads(again.stdout)
        return found

    (run / "report.html").unlink()  # as if the process had ended before it was written
    assert resumed() == {**summary, "trained_now": False}
    assert (run / "report.html").is_file()
    more = resumed("--steps", "2")
    assert (more["steps"], more["trained_now"], more["start"]) == (2, True, str(start))
    assert [row["step"] for row in RunDirectory(run).read_metrics()] == [1, 2]
    assert "tuned-start" in more["results"]["differences"]


def test_what_holds_for_a_run_in_training_holds_for_an_aligned_one(
    tmp_path: Path, start: Path, ratings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = dataclasses.replace(find_device("auto", read_config(start / "config.yaml").output.engine), usable_bytes=1)
    monkeypatch.setattr(planner, "find_device", lambda name, engine: small)
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    config = settings(start, ratings, run, steps=2, log_every=2, generation_batch_tokens=4096)
    align_run(config, run, resume=False)
    assert "may run out of memory" in capsys.readouterr().err, "the planner's word"
    (run / "finished.json").unlink()
    (run / ".adapter.partial").mkdir()
    elsewhere.write_text((run / "metrics.jsonl").read_text())
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match="outside the run directory"):
        align_run(config, run, resume=True)
    (run / "metrics.jsonl").unlink()
    seen = []

    def look(loaded: LoadedRun, options: EvalOptions) -> None:
        seen.append((loaded.config.generation.generation_batch_tokens, options.beside))
        raise NothingHeldOutError("seen enough")

    monkeypatch.setattr("common.journey.evaluate_run", look)
    monkeypatch.setenv("SUMKIT_SUPERVISOR", "1")
    assert carry_out(smaller(Order(config, "align", resume=True), 1)) == 0
    assert seen == [(2048, (start,))], "a retry after running out of memory"
    assert not (run / ".adapter.partial").exists(), "what a crash left is cleared away"
