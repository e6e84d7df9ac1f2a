"""Summaries sampled from the model as it is, several of each document, and their scores.

Knows nothing of pairs, losses or optimizer steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.align.scoring import Reward
from common.data.prompts import PromptFormat
from common.engine import Engine, GenerationSpec
from common.types import Example, Generation


@dataclass(frozen=True)
class Samples:
    """`count` summaries of each example: entry p * count + k of each list is the k-th of the p-th example."""

    prompts: list[list[int]]  # one an example
    count: int
    generations: list[Generation]
    texts: list[str]
    scores: NDArray[np.float64]

    def of(self, place: int) -> range:
        """Indices of the samples of the example at `place`."""
        return range(place * self.count, (place + 1) * self.count)

    def proper(self, index: int) -> bool:
        """Whether a sample has a text and ended by itself."""
        return bool(self.texts[index]) and self.generations[index].stop_reason == "eos"


def sample_summaries(
    engine: Engine,
    form: PromptFormat,
    examples: Sequence[Example],
    spec: GenerationSpec,
    count: int,
    reward: Reward,
    on_done: Callable[[int, Generation], None] | None = None,
) -> Samples:
    """`count` summaries of each example under the engine's adapter as it is, prompts as at inference."""
    prompts = [list(prompt.tokens) for prompt in form.example_prompts(examples, spec.max_new_tokens)]
    generations = engine.generate([prompt for prompt in prompts for _ in range(count)], spec, on_done)
    texts = [form.tokenizer.decode(generation.tokens) for generation in generations]
    scores = reward.score(texts, [example for example in examples for _ in range(count)])
    return Samples(prompts, count, generations, texts, scores)


def greedy(spec: GenerationSpec) -> GenerationSpec:
    """The same, but the most likely token each time."""
    return dataclasses.replace(spec, beams=1, temperature=0.0, top_p=1.0)
