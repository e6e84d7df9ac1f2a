"""The command: exit status, message, and exactly one JSON document on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.cli.export import FORMATS, command
from common.cli.main import group
from common.cli.main import run as run_command
from common.export import catalogue
from tests.export.conftest import MakeRun

pytest.importorskip("torch")


def sumkit(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from common.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "SUMKIT_QUIET": "1"},
    )  # fmt: skip


def test_help_lists_every_format_and_has_examples() -> None:
    assert tuple(catalogue.FORMATS) == FORMATS
    answer = CliRunner().invoke(command, ["--help"])
    assert answer.exit_code == 0
    for name in FORMATS:
        assert f"\n  {name} " in answer.output
    assert "sumkit export runs/notes --to gguf" in answer.output


def test_json_is_one_document_with_what_was_measured(make_run: MakeRun) -> None:
    run = make_run("qwen2")
    answer = sumkit("export", str(run), "--to", "peft", "--sample", "2", "--json")
    assert answer.returncode == 0, answer.stderr
    made = json.loads(answer.stdout)
    assert made["path"] == str(run / "export" / "peft")
    assert set(made["files"]) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    found = made["verification"]
    assert found["passed"] is True
    assert found["logits"]["error"] < 1e-4 < found["logits"]["effect"]
    assert found["summaries"]["identical"] == found["summaries"]["documents"] == 2


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere", "--to", "peft"], 1, "nowhere is not a run directory"),
        (["nowhere", "--to", "onnx"], 2, "'onnx' is not one of 'peft', 'mlx', 'merged'"),
        (["nowhere"], 2, "Missing option '--to'"),
        (["nowhere", "--to", "peft", "--no-verify", "--push", "me/x"], 2, "--push uploads only what was checked"),
        (["nowhere", "--to", "peft", "--sample", "0"], 2, "0 is not in the range x>=1"),
    ],
)
def test_wrong_use_and_expected_failures_have_their_status_and_message(
    arguments: list[str],
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(group, ["export", *arguments]) == status
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""
