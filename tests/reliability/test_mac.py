"""What is done on a Mac, as far as that can be checked elsewhere: commands and limits as macOS and MLX document."""

import os
import sys

import mlx.core as mx
import pytest

from common.process import awake
from mlx_sum import device
from tests.waiting import wait_until


def test_sleep_is_held_off_while_the_training_process_lives(tmp_path, monkeypatch):
    program = tmp_path / "caffeinate"  # stands where macOS has its own
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert awake.keep_awake(4321)
    wait_until(lambda: (tmp_path / "arguments").exists() and (tmp_path / "arguments").read_text())
    assert (tmp_path / "arguments").read_text().split() == ["-i", "-m", "-w", "4321"]


def test_a_mac_without_caffeinate_is_told_and_others_are_left_alone(tmp_path, monkeypatch, capsys):
    assert not awake.keep_awake(1)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not awake.keep_awake(1)
    assert "may fall asleep" in capsys.readouterr().err


@pytest.mark.parametrize("recommended", [0, 12 << 30])
def test_wired_memory_and_cache_are_limited_by_what_metal_recommends(monkeypatch, recommended):
    limits = {}
    monkeypatch.setattr(mx, "device_info", lambda: {"max_recommended_working_set_size": recommended})
    monkeypatch.setattr(mx, "set_wired_limit", lambda size: limits.update(wired=size))
    monkeypatch.setattr(mx, "set_cache_limit", lambda size: limits.update(cache=size))
    device._limit_metal_memory()
    assert limits == ({"wired": 12 << 30, "cache": (12 << 30) // 8} if recommended else {})
