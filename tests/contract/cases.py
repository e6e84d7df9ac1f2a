"""Models, batches and adapters on which engines are compared. Numbers are random; sizes are chosen by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data.batching import BoundaryLoss, build_step, evaluation_batches
from common.engine import Engine, EngineName, EngineSpec, LoraSpec, load_engine
from common.types import IGNORED_LABEL, Batch, EncodedExample
from tests.tiny_models import VOCAB_SIZE, build_tiny_model

ENGINES: tuple[EngineName, ...] = ("mlx", "cuda")
LORA = LoraSpec(rank=4, alpha=8.0)

ModelDir = Callable[[str], Path]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> ModelDir:
    """Directory of the tiny model of an architecture, built once a session."""
    built: dict[str, Path] = {}

    def directory(architecture: str) -> Path:
        if architecture not in built:
            built[architecture] = build_tiny_model(tmp_path_factory.mktemp(architecture), architecture)
        return built[architecture]

    return directory


def exact_spec(model_dir: Path, **changes: Any) -> EngineSpec:
    """Unquantized, float32, with a rank 4 adapter on all linear layers."""
    return EngineSpec(**{"model_dir": model_dir, "quantize": "none", "dtype": "float32", "lora": LORA, **changes})


def build_exact(name: EngineName, model_dir: Path, **changes: Any) -> Engine:
    return load_engine(name, exact_spec(model_dir, **changes))


def random_examples(
    count: int = 8, seed: int = 0, shortest: int = 33, longest: int = 48, targets: int = 6
) -> list[EncodedExample]:
    """Examples of `shortest` to `longest` random tokens, the last 2 to `targets` of which are trained."""
    generator = np.random.default_rng(seed)
    examples = []
    for index in range(count):
        length = int(generator.integers(shortest, longest + 1))
        tokens = generator.integers(0, VOCAB_SIZE, length).astype(np.int32)
        labels = np.full(length, IGNORED_LABEL, np.int32)
        trained = int(generator.integers(2, targets + 1))
        labels[-trained:] = tokens[-trained:]
        examples.append(EncodedExample(f"example-{index}", tokens, labels))
    return examples


def step_batches(
    examples: Sequence[EncodedExample], micro_batch_tokens: int = 4096, boundary: BoundaryLoss | None = None
) -> list[Batch]:
    return build_step(examples, micro_batch_tokens, pad_id=0, boundary=boundary)


def dev_batches(examples: Sequence[EncodedExample], batch_tokens: int = 4096) -> list[Batch]:
    return evaluation_batches(examples, batch_tokens, pad_id=0)


def random_adapter(engine: Engine, seed: int = 1, size: float = 0.2) -> dict[str, np.ndarray]:
    """An adapter for this engine whose both matrices are far from 0, so that it changes what the model says."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(0.0, size, value.shape).astype(np.float32)
        for name, value in sorted(engine.adapter().items())
    }


def largest_difference(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """Largest absolute difference over all matrices; both must have the same names."""
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


def same_bits(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
