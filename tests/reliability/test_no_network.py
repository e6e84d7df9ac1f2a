"""The whole journey with networking cut off: no attempt to reach anything, and nothing is unpickled."""

import json
import os
import shutil
import subprocess
import sys

import pytest

JOURNEY = """
import json, sys
attempts = []
def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in ("127.0.0.1", "::1"):
        attempts.append(repr(arguments[1]))
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "localhost", "127.0.0.1", "::1"):
        attempts.append(repr(arguments[0]))
    if event == "pickle.find_class":
        attempts.append(f"pickle {arguments[0]}.{arguments[1]}")
sys.addaudithook(watch)
import torch
load = torch.load
torch.load = lambda *given, **named: attempts.append("torch.load") or load(*given, **named)
from common.cli.main import group, run
status = [run(group, command) for command in json.loads(sys.argv[1])]
print(json.dumps({"status": status, "attempts": attempts}))
"""


def cut_off() -> list[str]:
    """The beginning of a command that runs in a network namespace with the loopback device alone."""
    for flags in ("-n", "-rn"):
        command = ["unshare", flags, "sh", "-c", 'ip link set lo up 2>/dev/null; exec "$0" "$@"']
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    pytest.skip("a network namespace needs Linux and the right to make one")


def journey(tmp_path, tiny_model, tiny_data, engine, commands):
    run = str(tmp_path / "run")
    paths = {"run": run, "data": str(tiny_data), "model": str(tiny_model), "out": str(tmp_path)}
    filled = [[part.format(**paths) for part in command.split()] for command in commands]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"SUMKIT_SUPERVISOR": str(os.getpid()), "HF_HOME": str(tmp_path / "hub")}
    answer = subprocess.run(
        [*cut_off(), sys.executable, "-c", JOURNEY, json.dumps(filled)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["status"] == [0] * len(commands), answer.stderr
    return found["attempts"], answer


TRAIN = (
    "train --data {data} --model {model} --run {run} --engine ENGINE --steps 2 --max-length 192 --max-new-tokens 4 "
    "--test-limit 2 --base-template same"
)


def test_nothing_leaves_the_machine_from_data_to_summaries(tmp_path, tiny_model, tiny_data):
    (tmp_path / "note.txt").write_text("The council met the team on day 3 and said that 21 homes were safe.")
    commands = [
        "data {data} --model {model}",
        TRAIN.replace("ENGINE", "cuda"),
        "summarize --run {run} {out}/note.txt",
        "report {run}",
        "budget --flops 1e18",
    ]
    attempts, _ = journey(tmp_path, tiny_model, tiny_data, "cuda", commands)
    assert attempts == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mlx", "cuda"])
def test_nothing_leaves_the_machine_whatever_the_engine(tmp_path, tiny_model, tiny_data, engine):
    commands = [
        TRAIN.replace("ENGINE", engine),
        "plan --data {data} --model {model} --engine ENGINE".replace("ENGINE", engine),
        "eval {run} --limit 2 --json",
        "export {run} --to peft --out {out}/peft",
        "export {run} --to merged --out {out}/merged",
    ]
    attempts, _ = journey(tmp_path, tiny_model, tiny_data, engine, commands)
    assert attempts == []


def test_a_model_that_is_not_here_is_said_to_be_missing_at_once(tmp_path, tiny_data):
    command = [*cut_off(), sys.executable, "-m", "cuda_sum.train", "--data", str(tiny_data), "--model", "owner/name"]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub")}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert answer.returncode == 1
    assert "owner/name is not on this machine and the Hub cannot be reached" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_wish_to_stay_offline_is_respected(tmp_path, tiny_data):
    command = ["train", "--data", str(tiny_data), "--model", "owner/name", "--run", str(tmp_path / "run")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "SUMKIT_SUPERVISOR": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", JOURNEY, json.dumps([command])],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert json.loads(answer.stdout.splitlines()[-1]) == {"status": [1], "attempts": []}, answer.stderr
    assert "HF_HUB_OFFLINE is set" in answer.stderr


def test_trackers_are_off_unless_asked_for():
    from common.settings import RunConfig

    assert RunConfig().output.tracker == "none"
