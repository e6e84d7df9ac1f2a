"""How well a model foretells the references: perplexity per token of the reference (end token included), given its
document under the prompt that the summaries were generated with.

exp(sum of negative log-likelihoods / number of tokens), over the first reference of each example. Comparable between
models that share a tokenizer only. Knows nothing of generated text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.batching import evaluation_batches, sequence_rows
from common.data.encode import encode_examples
from common.data.prompts import PromptFormat
from common.engine import Engine
from common.metrics.bootstrap import resampled_means
from common.progress import Progress
from common.types import EncodedExample, Example

RESAMPLES = 2000
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class ReferencePerplexity:
    """Perplexity with its 95 % bootstrap interval over examples.

    examples, target_tokens   what it is over
    left_out                  ids of examples whose reference or prompt leaves no room for the other
    by_id                     perplexity of each example's reference
    """

    mean: float
    low: float
    high: float
    examples: int
    target_tokens: int
    left_out: tuple[str, ...] = ()
    by_id: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for results.json; of those left out, the number."""
        return {
            "mean": self.mean,
            "low": self.low,
            "high": self.high,
            "examples": self.examples,
            "target_tokens": self.target_tokens,
            "left_out": len(self.left_out),
        }


def reference_perplexity(
    engine: Engine, form: PromptFormat, examples: Sequence[Example], label: str
) -> ReferencePerplexity | None:
    """Perplexity of the examples' references under the engine's model as it is now; None where none can be encoded."""
    encoded, report = encode_examples(examples, form)
    if not encoded:
        return None
    sums = example_losses(engine, encoded, form.tokenizer.pad_id, label)
    mean, low, high = perplexity_interval(sums)
    left_out = (*report.long_summaries, *report.no_room)
    by_id = {example.id: math.exp(loss / tokens) for example, (loss, tokens) in zip(encoded, sums, strict=True)}
    return ReferencePerplexity(mean, low, high, len(encoded), int(sums[:, 1].sum()), left_out, by_id)


def example_losses(engine: Engine, encoded: Sequence[EncodedExample], pad_id: int, label: str) -> NDArray[np.float64]:
    """(loss_sum in nats, target tokens) of each example, shape (examples, 2); ids are distinct."""
    sums: dict[str, tuple[float, float]] = {}
    with Progress(len(encoded), label) as progress:
        for batch in evaluation_batches(encoded, BATCH_TOKENS, pad_id):
            (losses,) = engine.token_losses([batch])
            rows, is_target = sequence_rows(batch), batch.weights != 0
            loss = np.bincount(rows, np.where(is_target, losses, 0.0), len(batch.ids))
            counts = np.bincount(rows, is_target, len(batch.ids))
            sums.update(zip(batch.ids, zip(loss.tolist(), counts.tolist(), strict=True), strict=True))
            progress.advance(len(batch.ids))
    return np.array([sums[example.id] for example in encoded])


def perplexity_interval(sums: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    """Perplexity and the bounds of its 95 % percentile interval from (loss_sum, tokens) rows, shape (examples, 2)."""
    loss, tokens = sums.sum(axis=0)
    resampled = resampled_means(sums, RESAMPLES, seed)
    low, high = np.quantile(resampled[:, 0] / resampled[:, 1], [0.025, 0.975])
    value = loss / tokens
    return math.exp(value), math.exp(min(low, value)), math.exp(max(high, value))
