"""Tokens reported as they are found mean the same on every engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest

from common.engine import Engine, GenerationSpec
from common.types import Generation
from tests.tiny_models import VOCAB_SIZE

Build = Callable[..., Engine]
SPEC = GenerationSpec(max_new_tokens=10, max_batch_rows=3)


def prompts() -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, VOCAB_SIZE, length).tolist() for length in (9, 3, 17, 1, 6)]


def test_tokens_come_one_by_one_in_order_and_before_their_result(build: Build) -> None:
    engine = build("qwen2")
    free = engine.generate(prompts(), SPEC)
    spec = GenerationSpec(max_new_tokens=10, max_batch_rows=3, eos_ids=(free[0].tokens[4], free[2].tokens[0]))
    streamed: dict[int, list[int]] = defaultdict(list)
    at_the_end: dict[int, tuple[int, ...]] = {}

    def on_done(index: int, result: Generation) -> None:
        at_the_end[index] = tuple(streamed[index])

    results = engine.generate(prompts(), spec, on_done, lambda index, token: streamed[index].append(token))
    assert {result.stop_reason for result in results} == {"eos", "length"}
    assert at_the_end == {index: result.tokens for index, result in enumerate(results)}


def test_an_exception_from_a_report_ends_generation_and_leaves_the_engine_usable(build: Build) -> None:
    engine = build("qwen2")
    before = engine.generate(prompts(), SPEC)
    seen: list[int] = []

    def stop_at_the_fifth(index: int, token: int) -> None:
        seen.append(token)
        if len(seen) == 5:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        engine.generate(prompts(), SPEC, on_token=stop_at_the_fifth)
    assert len(seen) == 5
    assert engine.generate(prompts(), SPEC) == before
