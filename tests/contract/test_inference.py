"""A run opens for inference on either engine, whatever only one of them can train with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from common.config import read_config, write_yaml
from common.run.loaded_run import load_run
from tests.contract.cases import ENGINES
from tests.tiny_runs import build_tiny_base, build_tiny_run


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_trained_with_an_optimizer_of_one_engine_opens_on_both(engine: str, tmp_path: Path) -> None:
    run = build_tiny_run(tmp_path / "run", build_tiny_base(tmp_path / "base"))
    config = read_config(run / "config.yaml")
    write_yaml(replace(config, training=replace(config.training, optimizer="paged-adamw-8bit")), run / "config.yaml")
    loaded = load_run(run, engine)
    assert loaded.engine.name == engine
    assert loaded.config.training.optimizer == "paged-adamw-8bit"
