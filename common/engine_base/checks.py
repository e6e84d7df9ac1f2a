"""What an engine refuses before, during and after a step, and the numbers of a step that need no arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from common.errors import AdapterError, EngineError, ModelError, NonFiniteError
from common.types import Batch

T = TypeVar("T")


def check_batch(batch: Batch, vocab_size: int, engine: str = "", window: int | None = None) -> None:
    """Raise ModelError for token ids outside the vocabulary, and for more tokens than `window`, the attention window
    that `engine` does not slide (None: no limit)."""
    if window is not None and batch.tokens.shape[1] > window:
        raise ModelError(
            f"a batch of {batch.tokens.shape[1]} tokens exceeds the model's sliding window of {window}, which the "
            f"{engine} engine does not slide; use --max-length {window} or less"
        )
    largest = max(int(batch.tokens.max()), int(batch.targets.max()))
    if largest >= vocab_size or min(int(batch.tokens.min()), int(batch.targets.min())) < 0:
        raise ModelError(
            f"a batch holds token id {largest}, the model's vocabulary has {vocab_size}; "
            "tokenizer and model do not belong together"
        )


def require_enabled(adapter: T | None, enabled: bool, purpose: str) -> T:
    """The adapter. Raises EngineError where it was not built or is switched off."""
    if adapter is None or not enabled:
        state = "is switched off" if adapter is not None else "was not built"
        raise EngineError(f"{purpose} needs the adapter, which {state} in this engine")
    return adapter


def require_built(adapter: T | None) -> T:
    """The adapter, switched on or off. Raises AdapterError where the engine has none."""
    if adapter is None:
        raise AdapterError("this engine was built without an adapter; build it with the adapter's LoRA settings")
    return adapter


def check_finite(loss: float, norm: float, batches: Sequence[Batch]) -> None:
    """Raise NonFiniteError, naming the step's examples, where its loss sum or gradient norm is NaN or infinite."""
    if not (math.isfinite(norm) and math.isfinite(loss)):
        ids = [example for batch in batches for example in batch.ids]
        raise NonFiniteError(
            f"loss sum {loss} and gradient norm {norm} in a step over {', '.join(ids) or 'no examples'}; "
            "the weights are unchanged (a lower --learning-rate or --dtype float32 may help)"
        )


def clip_factor(norm: float, max_norm: float) -> float:
    """What gradients are multiplied by so that their norm is at most `max_norm` (0: no clipping)."""
    return min(1.0, max_norm / (norm + 1e-6)) if max_norm else 1.0


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """Of the random numbers of one training step on one rank, 64 bits: there is no random state to save or resume."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])
