"""Tiny runs that summarize, on either engine, loaded once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from common.summarize.summarizer import Summarizer
from tests.tiny_runs import build_tiny_base, build_tiny_run


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def tiny_runs(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs of one base that write different texts."""
    folder = tmp_path_factory.mktemp("runs")
    return [build_tiny_run(folder / f"run{seed}", tiny_base, seed) for seed in range(3)]


@pytest.fixture(scope="session")
def load(tiny_runs: list[Path]) -> Callable[[str], Summarizer]:
    """The first run on the engine named."""
    return cache(lambda engine: Summarizer.load(tiny_runs[0], engine=engine))
