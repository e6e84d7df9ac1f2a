"""The engine under test, one after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.engine import Engine, EngineName
from tests.contract.cases import ENGINES, ModelDir, build_exact, tiny_model

__all__ = ["build", "engine_name", "tiny_model"]


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> EngineName:
    name: EngineName = request.param
    return name


@pytest.fixture
def build(engine_name: EngineName, tiny_model: ModelDir) -> Callable[..., Engine]:
    """Builds the engine under test: build(architecture="qwen2", **changes to the exact spec)."""

    def make(architecture: str = "qwen2", **changes: object) -> Engine:
        return build_exact(engine_name, tiny_model(architecture), **changes)

    return make
