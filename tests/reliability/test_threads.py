"""How long OpenMP's threads spin is set before torch is loaded, and a user's own choice stays."""

import json
import os
import subprocess
import sys

import pytest

from common.process.supervise import supervise
from common.process.threads import CHOICES, SETTINGS
from tests.tiny_models import build_tiny_tokenizer

TOKENIZER = "import sys; from common.model.tokenizer import load_tokenizer; load_tokenizer(sys.argv[1]); import torch"
WRITE_OWN = "import json, os, sys; open(sys.argv[1], 'w').write(json.dumps(dict(os.environ)))"


@pytest.fixture
def unset(monkeypatch):
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)


def child_environment(tmp_path) -> dict[str, str]:
    assert supervise([sys.executable, "-c", WRITE_OWN, str(tmp_path / "seen.json")], tmp_path) == 0
    return json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("unset")
def test_a_supervised_child_gets_the_settings(tmp_path):
    assert not SETTINGS.items() <= dict(os.environ).items()
    assert SETTINGS.items() <= child_environment(tmp_path).items()


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize("chosen", CHOICES)
def test_a_users_own_choice_is_left_alone(chosen, tmp_path, monkeypatch):
    monkeypatch.setenv(chosen, "77" if chosen in SETTINGS else "ACTIVE")
    seen = child_environment(tmp_path)
    assert {name: seen[name] for name in CHOICES if name in seen} == {chosen: os.environ[chosen]}


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize(("chosen", "turns"), [({}, "10000"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")])
def test_the_openmp_that_torch_loads_spins_as_long_as_was_set(chosen, turns, tmp_path):
    """`OMP_DISPLAY_ENV` has OpenMP print what it took from the environment when it was loaded."""
    build_tiny_tokenizer(tmp_path)
    environment = {**os.environ, **chosen, "OMP_DISPLAY_ENV": "VERBOSE"}
    answer = subprocess.run(
        [sys.executable, "-c", TOKENIZER, str(tmp_path)], capture_output=True, text=True, env=environment, check=True
    )
    shown = {"linux": f"GOMP_SPINCOUNT = '{turns}'", "darwin": "KMP_BLOCKTIME"}[sys.platform]
    assert shown in answer.stderr
