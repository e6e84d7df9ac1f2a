"""Generation means the same on every engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from common.engine import Engine, GenerationSpec
from common.generation.shared import distinct_prompts, shared_beginning
from common.types import Generation
from tests.contract.cases import random_adapter
from tests.tiny_models import VOCAB_SIZE

Build = Callable[..., Engine]
NEW_TOKENS = 12


def prompts_of(lengths: tuple[int, ...], seed: int = 0) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, VOCAB_SIZE, length).tolist() for length in lengths]


PROMPTS = prompts_of((9, 30, 3, 1, 17, 30, 6))


def adapted(build: Build, architecture: str = "qwen2") -> Engine:
    engine = build(architecture)
    engine.load_adapter(random_adapter(engine, size=0.05))
    return engine


def stops(engine: Engine) -> tuple[int, ...]:
    """Token ids that make some of PROMPTS stop early, at different places, and others not at all."""
    free = engine.generate(PROMPTS, GenerationSpec(max_new_tokens=NEW_TOKENS))
    return (free[0].tokens[0], free[2].tokens[5], free[4].tokens[3])


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "phi", "gemma"])
def test_batched_results_are_those_of_one_by_one_in_input_order(build: Build, architecture: str) -> None:
    engine = adapted(build, architecture)
    spec = GenerationSpec(max_new_tokens=NEW_TOKENS, eos_ids=stops(engine))
    together = engine.generate(PROMPTS, spec)
    assert together == [engine.generate([prompt], spec)[0] for prompt in PROMPTS]
    assert {result.stop_reason for result in together} == {"eos", "length"}
    assert len({result.tokens for result in together}) > 4, "different prompts must lead to different texts"


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "phi", "gemma", "mistral"])
def test_what_prompts_have_in_common_changes_no_result(build: Build, architecture: str) -> None:
    """A common beginning, prompts that are repeated, and one that is the beginning of another."""
    engine = adapted(build, architecture)
    start, *endings = prompts_of((21, 5, 12, 1, 12, 2), seed=4)
    prompts = [start + ending for ending in endings]
    prompts = [*prompts, prompts[1], [*prompts[0], 7], prompts[1], start]
    assert shared_beginning(prompts) == 20
    spec = GenerationSpec(max_new_tokens=NEW_TOKENS, eos_ids=stops(engine))
    together = engine.generate(prompts, spec)
    assert together == [engine.generate([prompt], spec)[0] for prompt in prompts]
    assert together[1] == together[5] == together[7]
    only_repeated = engine.generate([prompts[1]] * 3 + [prompts[0]], spec)
    assert only_repeated == [together[1]] * 3 + [together[0]]


def test_repeated_prompts_are_sampled_one_by_one(build: Build) -> None:
    engine = adapted(build)
    spec = GenerationSpec(max_new_tokens=NEW_TOKENS, temperature=1.0, seed=3)
    drawn = engine.generate([PROMPTS[1]] * 6, spec)
    assert len({result.tokens for result in drawn}) == 6
    assert drawn == engine.generate([PROMPTS[1]] * 6, spec)


def test_the_size_of_batches_changes_no_result(build: Build) -> None:
    engine = adapted(build)
    stop = stops(engine)
    large = engine.generate(PROMPTS, GenerationSpec(max_new_tokens=NEW_TOKENS, eos_ids=stop))
    for limits in ({"max_batch_rows": 2}, {"max_batch_tokens": 50}, {"max_batch_tokens": 1}):
        assert engine.generate(PROMPTS, GenerationSpec(max_new_tokens=NEW_TOKENS, eos_ids=stop, **limits)) == large


@pytest.mark.parametrize("architecture", ["qwen2", "phi"])
def test_prompts_that_join_a_running_batch_change_no_result(build: Build, architecture: str) -> None:
    """With and without a common beginning, in batches whose rows stay as many or become more; the same prompt may
    join where its equal is, was or will be running."""
    engine = adapted(build, architecture)
    (start,) = prompts_of((19,), seed=8)
    generator = np.random.default_rng(6)
    own = prompts_of(tuple(generator.integers(1, 40, 24).tolist()), seed=7)
    own[20] = own[3]
    stop = tuple(range(0, VOCAB_SIZE, 12))  # texts end at many different lengths
    for prompts in (own, [start + prompt for prompt in own]):
        spec = GenerationSpec(max_new_tokens=NEW_TOKENS, eos_ids=stop)
        alone = [engine.generate([prompt], spec)[0] for prompt in prompts]
        assert len({len(result.tokens) for result in alone}) > 3
        for limits in ({"max_batch_rows": 5}, {"max_batch_rows": 9, "max_batch_tokens": 180}):
            refilled = GenerationSpec(max_new_tokens=NEW_TOKENS, eos_ids=stop, **limits)
            assert engine.generate(prompts, refilled) == alone


def test_each_token_is_the_most_likely_after_those_before_it(build: Build) -> None:
    engine = adapted(build)
    for prompt, result in zip(
        PROMPTS, engine.generate(PROMPTS, GenerationSpec(max_new_tokens=NEW_TOKENS)), strict=True
    ):
        logits = engine.logits(np.array([[*prompt, *result.tokens]]))[0]
        assert tuple(logits[len(prompt) - 1 : -1].argmax(axis=-1)) == result.tokens


def test_a_stop_token_ends_a_text_and_is_not_part_of_it(build: Build) -> None:
    engine = adapted(build)
    free = engine.generate(PROMPTS[:1], GenerationSpec(max_new_tokens=NEW_TOKENS))[0]
    position = 4
    stop = free.tokens[position]
    first = free.tokens.index(stop)
    stopped = engine.generate(PROMPTS[:1], GenerationSpec(max_new_tokens=NEW_TOKENS, eos_ids=(stop, 5)))[0]
    assert stopped == Generation(free.tokens[:first], "eos")


def test_max_new_tokens_bounds_the_new_tokens_whatever_the_prompt_length(build: Build) -> None:
    engine = adapted(build)
    for limit in (1, 5):
        for result in engine.generate(PROMPTS, GenerationSpec(max_new_tokens=limit)):
            assert len(result.tokens) == limit
            assert result.stop_reason == "length"


def test_a_stop_token_at_the_very_end_still_counts_as_eos(build: Build) -> None:
    engine = adapted(build)
    free = engine.generate(PROMPTS[:1], GenerationSpec(max_new_tokens=NEW_TOKENS))[0]
    last = max(position for position, token in enumerate(free.tokens) if free.tokens.index(token) == position)
    spec = GenerationSpec(max_new_tokens=last + 1, eos_ids=(free.tokens[last],))
    assert engine.generate(PROMPTS[:1], spec)[0] == Generation(free.tokens[:last], "eos")


def test_every_result_is_reported_once_as_it_ends(build: Build) -> None:
    engine = adapted(build)
    reported: list[tuple[int, Generation]] = []
    spec = GenerationSpec(max_new_tokens=NEW_TOKENS, eos_ids=stops(engine), max_batch_rows=3)
    results = engine.generate(PROMPTS, spec, lambda index, result: reported.append((index, result)))
    assert len(reported) == len(PROMPTS)
    assert dict(reported) == dict(enumerate(results))


def test_a_prompt_that_cannot_run_is_an_error_of_its_own(build: Build) -> None:
    engine = adapted(build)
    spec = GenerationSpec(max_new_tokens=NEW_TOKENS)
    results = engine.generate([PROMPTS[0], [], PROMPTS[1]], spec)
    assert results[1].stop_reason == "error"
    assert "empty" in results[1].error
    assert [results[0], results[2]] == engine.generate(PROMPTS[:2], spec)


def test_no_prompts_give_no_results(build: Build) -> None:
    assert adapted(build).generate([], GenerationSpec()) == []


def test_sampling_repeats_with_its_seed_and_differs_from_greedy(build: Build) -> None:
    engine = adapted(build)

    def sample(seed: int, temperature: float = 2.0, top_p: float = 1.0) -> list[Generation]:
        spec = GenerationSpec(max_new_tokens=NEW_TOKENS, temperature=temperature, top_p=top_p, seed=seed)
        return engine.generate(PROMPTS, spec)

    greedy = engine.generate(PROMPTS, GenerationSpec(max_new_tokens=NEW_TOKENS))
    assert sample(0) == sample(0)
    assert sample(0) != sample(1)
    assert sample(0) != greedy
    assert sample(0, top_p=1e-6) == greedy, "only the most likely token is left"


def test_a_sampled_text_does_not_depend_on_its_batch(build: Build) -> None:
    engine = adapted(build)
    spec = {"max_new_tokens": NEW_TOKENS, "temperature": 1.5, "top_p": 0.95}
    together = engine.generate([*PROMPTS, PROMPTS[0]], GenerationSpec(**spec, seed=3))
    assert together[0] != together[-1], "equal prompts draw from streams of their own"
    assert engine.generate([*PROMPTS, PROMPTS[0]], GenerationSpec(**spec, seed=3, max_batch_rows=2)) == together
    assert engine.generate([*PROMPTS, PROMPTS[0]], GenerationSpec(**spec, seed=4)) != together


def test_generation_leaves_the_adapter_and_the_loss_alone(build: Build) -> None:
    engine = adapted(build)
    tokens = np.array([PROMPTS[1]])
    before = engine.logits(tokens)
    engine.generate(PROMPTS, GenerationSpec(max_new_tokens=3))
    assert np.array_equal(engine.logits(tokens), before)


def test_every_token_is_reported_in_order_and_stop_tokens_are_not(build: Build) -> None:
    engine = adapted(build)
    seen: dict[int, list[int]] = {index: [] for index in range(len(PROMPTS))}
    spec = GenerationSpec(max_new_tokens=NEW_TOKENS, eos_ids=stops(engine))
    results = engine.generate(PROMPTS, spec, on_token=lambda index, token: seen[index].append(token))
    assert [tuple(tokens) for tokens in seen.values()] == [result.tokens for result in results]


def test_a_beginning_is_shared_by_all_and_leaves_each_a_token() -> None:
    start = list(range(30))
    assert shared_beginning([[*start, 1], [*start, 2, 3], [*start, 1, 5]]) == 30
    assert shared_beginning([[*start, 1], start]) == 29
    assert shared_beginning([start[:16], [*start[:16], 9]]) == 0, "15 tokens are too few"
    assert shared_beginning([start]) == 0
    assert shared_beginning([start, [5, *start]]) == 0
    assert distinct_prompts([[1, 2], [3], (1, 2), [3]]) == ([(1, 2), (3,)], [0, 1, 0, 1])
