"""Runs of one to three examples: they train, they are scored where something is held out, and nothing breaks."""

import json
import subprocess
import sys

from tests.journey.conftest import rows

TINY = ["--steps", "1", "--quantize", "none", "--max-length", "192", "--max-new-tokens", "4", "--base-template", "same"]


def train(tmp_path, tiny_model, count: int):
    data = tmp_path / "few.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(count)), encoding="utf-8")
    command = [sys.executable, "-m", "cuda_sum.train", "--data", data, "--model", tiny_model, "--run", tmp_path / "run"]
    return subprocess.run([*map(str, command), *TINY, "--json"], capture_output=True, text=True, check=False)


def test_two_examples_train_and_it_is_said_that_nothing_is_left_to_score_on(tmp_path, tiny_model):
    answer = train(tmp_path, tiny_model, 2)
    assert answer.returncode == 0, answer.stderr
    assert "too few examples (2)" in answer.stderr
    assert "not scored: " in answer.stderr
    assert json.loads(answer.stdout)["results"] is None
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_single_scored_document_gives_results_without_infinities(tmp_path, tiny_model):
    answer = train(tmp_path, tiny_model, 3)
    assert answer.returncode == 0, answer.stderr
    text = (tmp_path / "run" / "results.json").read_text(encoding="utf-8")
    assert json.loads(text)["examples"] == 1
    assert "Infinity" not in text
    assert json.loads(text)["differences"]["tuned-lead1"]["rouge1"]["detectable"] is None
