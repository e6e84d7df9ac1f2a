"""Tiny models for the torch engine's tests, built once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.engine import EngineSpec, LoraSpec
from cuda_sum.engine import CudaEngine, build
from tests.tiny_models import build_tiny_model

LORA = LoraSpec(rank=4, alpha=8.0)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of the tiny model of an architecture."""
    built: dict[str, Path] = {}

    def directory(architecture: str) -> Path:
        if architecture not in built:
            built[architecture] = build_tiny_model(tmp_path_factory.mktemp(architecture), architecture)
        return built[architecture]

    return directory


@pytest.fixture(scope="session")
def make_engine(model_dir: Callable[[str], Path]) -> Callable[..., CudaEngine]:
    """A float32 engine on an unquantized tiny model, unless other settings are given."""

    def make(architecture: str = "llama", lora: LoraSpec | None = LORA, **settings: object) -> CudaEngine:
        chosen = {"quantize": "none", "dtype": "float32"} | settings
        return build(EngineSpec(model_dir(architecture), lora=lora, **chosen))  # type: ignore[arg-type]

    return make
