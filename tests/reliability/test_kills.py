"""Killed at random moments and resumed, a run ends like the uninterrupted one, bit for bit.

A handful of kills in every test run; `python -m benchmarks.kill_and_resume` makes over a hundred.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journey.conftest import ENGINES

ROOT = Path(__file__).resolve().parents[2]


def kill(engine: str, kills: int, seed: int) -> dict:
    command = [sys.executable, "-m", "tests.reliability.killing", "--engine", engine, "--kills", kills, "--seed", seed]
    answer = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    print(answer.stdout)
    return json.loads(answer.stdout)


def test_a_few_kills_change_nothing():
    assert kill("cuda", 3, seed=1)["kills"] >= 3


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_many_kills_all_over_the_run_change_nothing(engine):
    row = kill(engine, 50, seed=2)
    assert row["kills"] >= 50
    assert len(row["phase"]) >= 6, "the moments are spread over the run"
    assert {"data", "checkpoint"} <= set(row["phase"])
    assert {"dev evaluation", "final evaluation"} & set(row["phase"])
