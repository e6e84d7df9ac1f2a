"""Rows with a common beginning run it once: the numbers are those of each row run by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.engine import Engine, GenerationSpec
from common.generation.shared import LEAST_SHARED, join_rows
from common.types import Batch, EncodedExample
from tests.contract.cases import (
    LORA,
    dev_batches,
    largest_difference,
    random_adapter,
    random_examples,
    step_batches,
)
from tests.tiny_models import ARCHITECTURES

Build = Callable[..., Engine]


def with_beginning(tokens: int, **sizes: int) -> list[EncodedExample]:
    """Random examples of which the first `tokens` tokens are those of the first."""
    examples = random_examples(**{"count": 5, "shortest": 40, "longest": 48, **sizes})
    for example in examples:
        example.tokens[:tokens] = examples[0].tokens[:tokens]
    return examples


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_and_gradients_are_those_of_each_row_by_itself(build: Build, architecture: str) -> None:
    engine = build(architecture)
    engine.load_adapter(random_adapter(engine))
    examples = with_beginning(21)
    (batch,), alone = step_batches(examples), step_batches(examples, 1)
    joined = join_rows(batch)
    assert joined is not None
    assert joined.beginning.tokens == 21
    assert len(alone) == 5

    together, apart = engine.gradients([batch]), engine.gradients(alone)
    assert largest_difference(together, apart) < 2e-5
    assert max(np.abs(value).max() for value in apart.values()) > 1e-2
    assert engine.evaluate([batch]).loss_sum == pytest.approx(engine.evaluate(alone).loss_sum, rel=1e-5)
    losses = engine.token_losses(dev_batches(examples))[0]
    order = np.argsort([len(example) for example in examples], kind="stable")
    each = np.concatenate([engine.token_losses(dev_batches([examples[i]]))[0][: count(examples[i])] for i in order])
    np.testing.assert_allclose(losses[: len(each)], each, rtol=1e-4, atol=1e-5)


def count(example: EncodedExample) -> int:
    return int((example.labels >= 0).sum())


@pytest.mark.parametrize("quantize", ["none", "4bit"])
def test_rows_longer_than_a_block_of_attention(build: Build, quantize: str) -> None:
    engine = build("qwen2", quantize=quantize)
    engine.load_adapter(random_adapter(engine, size=0.05))
    examples = with_beginning(150, shortest=420, longest=430)
    (batch,), alone = step_batches(examples), step_batches(examples, 1)
    assert join_rows(batch) is not None
    apart = engine.gradients(alone)
    scale = max(np.abs(value).max() for value in apart.values())
    assert largest_difference(engine.gradients([batch]), apart) < 1e-4 * scale
    assert engine.evaluate([batch]).loss_sum == pytest.approx(engine.evaluate(alone).loss_sum, rel=1e-5)


def test_gradient_checkpointing_recomputes_joined_rows(build: Build) -> None:
    examples = with_beginning(21)
    adapters = []
    for checkpointing in (False, True):
        engine = build(gradient_checkpointing=checkpointing)
        engine.load_adapter(random_adapter(engine))
        engine.step(step_batches(examples), 1e-3)
        adapters.append(engine.adapter())
    assert largest_difference(*adapters) < 2e-5
    assert largest_difference(adapters[0], random_adapter(engine)) > 5e-4


def test_a_compiled_step_is_one_for_each_beginning(build: Build) -> None:
    plain, compiled = build(), build(compile=True)
    for tokens in (21, 30):
        batches = step_batches(with_beginning(tokens))
        for engine in (plain, compiled):
            engine.load_adapter(random_adapter(engine))
        ours, naive = compiled.gradients(batches), plain.gradients(batches)
        assert largest_difference(ours, naive) < 5e-5 * max(np.abs(value).max() for value in naive.values())


def tokens_run(engine: Engine, monkeypatch: pytest.MonkeyPatch, batches: list[Batch]) -> int:
    """How many tokens a training step runs through the model."""
    kind = type(engine.model.model.embed_tokens)
    name = "forward" if engine.name == "cuda" else "__call__"
    plain, seen = getattr(kind, name), []

    def counted(self: object, tokens: Any) -> Any:
        seen.append(math.prod(tokens.shape))
        return plain(self, tokens)

    with monkeypatch.context() as patched:
        patched.setattr(kind, name, counted)
        engine.step(batches, 1e-3)
    return sum(seen)


def test_the_beginning_runs_once_but_where_each_row_draws_for_itself(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout or noise, and run once, the beginning would have the same draws in all rows."""
    (batch,) = step_batches(with_beginning(21))
    rows, width = batch.tokens.shape
    assert tokens_run(build(), monkeypatch, [batch]) == rows * width - 21 * (rows - 1)
    (short,) = step_batches(with_beginning(LEAST_SHARED - 1))
    assert tokens_run(build(), monkeypatch, [short]) == short.tokens.size
    for drawing in (build(lora=replace(LORA, dropout=0.3)), build(neftune_alpha=5.0)):
        assert tokens_run(drawing, monkeypatch, [batch]) == rows * width


def test_target_rows_and_lengths_bound_the_beginning() -> None:
    """Equal rows: the hidden state of the first target row is each row's own, as is at least one token."""
    example = random_examples(1)[0]
    (batch,) = step_batches([example, replace(example, id="again")])
    joined = join_rows(batch)
    assert joined is not None
    assert joined.beginning.tokens == len(example) - count(example) - 1
    (one,) = step_batches([example])
    assert join_rows(one) is None


def test_generation_after_a_step_over_joined_rows(build: Build) -> None:
    """Nothing of a step's layout stays behind in the model."""
    engine, fresh = build(), build()
    engine.step(step_batches(with_beginning(21)), 0.0)
    prompts = [example.tokens.tolist() for example in random_examples(3)]
    spec = GenerationSpec(max_new_tokens=5)
    assert engine.generate(prompts, spec) == fresh.generate(prompts, spec)
