"""The whole journey through the commands, on both engines, with a quantized base: train, resume, eval, adapter out."""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest
from safetensors.numpy import load_file

from common.files import sha256_text
from tests.journey.conftest import ENGINES
from tests.waiting import PATIENCE, wait_until


def command(engine: str, *arguments: object) -> list[str]:
    package = {"mlx": "mlx_sum", "cuda": "cuda_sum"}[engine]
    return [sys.executable, "-m", f"{package}.train", *map(str, arguments)]


def flags(model, data, run) -> list[object]:
    return ["--data", data, "--model", model, "--run", run, "--max-length", 192, "--max-summary-tokens", 64,
            "--batch-size", 4, "--steps", 4, "--save-every", 2, "--max-new-tokens", 8, "--base-template", "same",
            "--learning-rate", 1e-2]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_train_leaves_a_scored_run_and_resuming_it_changes_nothing(tmp_path, tiny_model, tiny_data, engine):
    run = tmp_path / "run"
    arguments = flags(tiny_model, tiny_data, run)
    first = subprocess.run([*command(engine, *arguments), "--json"], capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    results = summary["results"]
    assert results["engine"] == engine
    assert results["examples"] == 6
    assert {"tuned", "base", "lead1", "lead3"} <= results["systems"].keys()
    assert sum(results["stop_reasons"]["tuned"].values()) == 6
    assert results == json.loads((run / "results.json").read_text())

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["dev_loss"] < rows[0]["dev_loss"]  # a 4-bit base, and it learns

    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        predictions = list(csv.DictReader(file))
    assert all(row["document_sha256"] == sha256_text(row["document"]) for row in predictions)
    adapter = load_file(run / "adapter" / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.model.layers.") for name in adapter)
    assert json.loads((run / "adapter" / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert (run / "report.html").is_file()

    again = subprocess.run(command(engine, "--run", run, "--resume"), capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_how_to_resume_and_the_resumed_run_finishes(
    tmp_path, tiny_model, tiny_data, engine, number, status
):
    run = tmp_path / "run"
    arguments = [*flags(tiny_model, tiny_data, run), "--steps", "4000", "--no-final-eval"]
    process = subprocess.Popen(command(engine, *arguments), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (run / "metrics.jsonl").is_file() or process.poll() is not None)
    assert process.poll() is None
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, err
    assert f"sumkit train --run {run} --resume" in err
    stopped_at = max(int(path.name.split("-")[1]) for path in (run / "checkpoints").iterdir())
    resumed = command(engine, "--run", run, "--resume", "--steps", stopped_at + 1)
    answer = subprocess.run(resumed, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "resuming from" in answer.stderr
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, stopped_at + 2))


@pytest.mark.parametrize("victim", ["parent", "child"])
def test_parent_and_child_die_together_however_either_is_killed(tmp_path, tiny_model, tiny_data, victim):
    import psutil

    run = tmp_path / "run"
    arguments = [*flags(tiny_model, tiny_data, run), "--steps", "4000", "--no-final-eval"]
    process = subprocess.Popen(command("mlx", *arguments), stderr=subprocess.DEVNULL)
    wait_until(lambda: (run / "metrics.jsonl").is_file() or process.poll() is not None)
    assert process.poll() is None
    (child,) = psutil.Process(process.pid).children()
    (process if victim == "parent" else child).kill()
    process.wait(PATIENCE)
    psutil.wait_procs([child], timeout=PATIENCE)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert process.returncode == (-signal.SIGKILL if victim == "parent" else 128 + signal.SIGKILL)
