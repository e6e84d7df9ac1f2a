"""Batched generation, greedy or sampled, with rows leaving as they finish.

Prompts are grouped by length, right-padded for the prefill (so that it is plain causal attention) and rolled to
the right in mlx-lm's batch cache for decoding. Knows token ids only: no text, no tokenizer, no training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import BatchKVCache

from common.engine import GenerationSpec
from common.errors import EngineError
from common.shared_prompts import distinct_prompts, shared_beginning
from common.types import Generation
from mlx_sum.loss import Head

NOT_A_NUMBER = -1  # stands for the next token of a row whose logits are not finite
SHRINK_SHARE = 0.75  # finished rows leave the batch when no more than this share of it is still running

OnDone = Callable[[int, Generation], None]
OnToken = Callable[[int, int], None]
Sampler = Callable[[mx.array], mx.array]


def generate(
    model: nn.Module,
    head: Head,
    prompts: Sequence[Sequence[int]],
    spec: GenerationSpec,
    vocab_size: int,
    longest: int | None = None,
    on_done: OnDone | None = None,
    on_token: OnToken | None = None,
) -> list[Generation]:
    """Continue every prompt by at most `spec.max_new_tokens` tokens; results in input order.

    A prompt that is empty, holds ids outside the vocabulary or, with the new tokens, exceeds `longest` (None: no
    limit) ends with stop reason `error`, as does a row whose logits become NaN or infinite; other rows go on.
    Raises EngineError for beam search, which this engine does not have.
    """
    if spec.beams != 1:
        raise EngineError(f"the mlx engine has no beam search (beams {spec.beams}); use beams 1 or --engine cuda")
    results: dict[int, Generation] = {}

    def done(index: int, result: Generation) -> None:
        results[index] = result
        if on_done is not None:
            on_done(index, result)

    def grown(index: int, token: int) -> None:
        if on_token is not None:
            on_token(index, token)

    runnable = []
    for index, prompt in enumerate(prompts):
        problem = _prompt_problem(prompt, spec.max_new_tokens, vocab_size, longest)
        if problem:
            done(index, Generation((), "error", problem))
        elif spec.max_new_tokens < 1:
            done(index, Generation((), "length"))
        else:
            runnable.append(index)
    sample = make_sampler(spec)
    for group in group_prompts([len(prompts[i]) for i in runnable], spec):
        _generate_group(model, head, [(runnable[i], prompts[runnable[i]]) for i in group], spec, sample, done, grown)
        mx.clear_cache()
    return [results[index] for index in range(len(prompts))]


def _prompt_problem(prompt: Sequence[int], new_tokens: int, vocab_size: int, longest: int | None) -> str:
    if not len(prompt):
        return "the prompt is empty"
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        return f"the prompt holds token ids outside 0 to {vocab_size - 1}"
    if longest is not None and len(prompt) + new_tokens > longest:
        return f"prompt and new tokens are {len(prompt) + new_tokens}, the model's attention window holds {longest}"
    return ""


def group_prompts(lengths: Sequence[int], spec: GenerationSpec) -> list[list[int]]:
    """Indices of prompts generated together, longest first, so that the largest batch is the first one."""
    groups: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not groups or len(groups[-1]) >= room:
            groups.append([])
            width = lengths[index] + spec.max_new_tokens
            room = max(1, min(spec.max_batch_rows, spec.max_batch_tokens // width))
        groups[-1].append(index)
    return groups


def make_sampler(spec: GenerationSpec) -> Sampler:
    """(B, V) float32 logits -> (B,) token ids: the most likely, or drawn with temperature and top-p."""
    if spec.temperature <= 0:
        return lambda logits: mx.argmax(logits, axis=-1)
    key = [mx.random.key(spec.seed)]

    def sample(logits: mx.array) -> mx.array:
        key[0], now = mx.random.split(key[0])
        logits = logits / spec.temperature
        if spec.top_p < 1.0:
            logits = keep_top_p(logits, spec.top_p)
        return mx.random.categorical(logits, key=now)

    return sample


def keep_top_p(logits: mx.array, top_p: float) -> mx.array:
    """Logits (B, V) outside the smallest set of tokens with probability `top_p` become -inf (Holtzman et al. 2020)."""
    order = mx.argsort(-logits, axis=-1)
    ranked = mx.take_along_axis(mx.softmax(logits, axis=-1), order, axis=-1)
    before = mx.cumsum(ranked, axis=-1) - ranked
    dropped = mx.put_along_axis(mx.zeros(logits.shape, mx.bool_), order, before >= top_p, axis=-1)
    return mx.where(dropped, -mx.inf, logits)


def _generate_group(
    model: nn.Module,
    head: Head,
    prompts: list[tuple[int, Sequence[int]]],
    spec: GenerationSpec,
    sample: Sampler,
    done: OnDone,
    grown: OnToken,
) -> None:
    stop = set(spec.eos_ids)
    rows = [index for index, _ in prompts]
    texts: dict[int, list[int]] = {index: [] for index in rows}
    cache, logits = _prefill(model, head, [prompt for _, prompt in prompts])
    tokens = _next_tokens(logits, sample)
    running = set(rows)
    for count in range(1, spec.max_new_tokens + 1):
        if count < spec.max_new_tokens:  # start the next step before this one's tokens are read back
            following = _next_tokens(_decode(model, head, tokens, cache), sample)
            mx.async_eval(following)
        for index, token in zip(rows, np.array(tokens).tolist(), strict=True):
            if index not in running:
                continue
            if token == NOT_A_NUMBER:
                result = Generation(tuple(texts[index]), "error", "the model's logits became NaN or infinite")
            elif token in stop:
                result = Generation(tuple(texts[index]), "eos", stop_token=token)
            else:
                texts[index].append(token)
                grown(index, token)
                if count < spec.max_new_tokens:
                    continue
                result = Generation(tuple(texts[index]), "length")
            running.discard(index)
            done(index, result)
        if not running:
            return
        tokens = following
        if len(running) <= SHRINK_SHARE * len(rows):
            keep = [position for position, index in enumerate(rows) if index in running]
            rows = [rows[position] for position in keep]
            tokens = tokens[mx.array(keep)]
            _keep_rows(cache, keep)


def _keep_rows(cache: list[BatchKVCache], rows: list[int]) -> None:
    """Drop all other rows; one that is named several times is there so often."""
    for layer_cache in cache:
        layer_cache.filter(mx.array(rows))


def _prefill(model: nn.Module, head: Head, prompts: list[Sequence[int]]) -> tuple[list[BatchKVCache], mx.array]:
    """Run the prompts; the filled cache and the logits (B, V) that follow each prompt's last token.

    Equal prompts are run once, and so is a beginning that all have in common.
    """
    different, places = distinct_prompts(prompts)
    shared = shared_beginning(different)
    cache = [BatchKVCache([0] * (1 if shared else len(different))) for _ in model.model.layers]
    if shared:
        model.model(mx.array([different[0][:shared]], mx.int32), cache)
        _keep_rows(cache, [0] * len(different))
    lengths = [len(prompt) - shared for prompt in different]
    width = max(lengths)
    padded = np.zeros((len(different), width), np.int32)
    for row, prompt in enumerate(different):
        padded[row, : lengths[row]] = prompt[shared:]
    padding = [width - length for length in lengths]
    for layer_cache in cache:
        layer_cache.prepare(lengths=lengths, right_padding=padding)
    hidden = model.model(mx.array(padded), cache)
    last = hidden[mx.arange(len(different)), mx.array(lengths) - 1]
    for layer_cache in cache:
        layer_cache.finalize()
    if len(different) < len(prompts):
        _keep_rows(cache, places)
        last = last[mx.array(places)]
    logits = head(last)
    mx.eval(logits, [layer_cache.state for layer_cache in cache])
    return cache, logits


def _decode(model: nn.Module, head: Head, tokens: mx.array, cache: list[BatchKVCache]) -> mx.array:
    hidden = model.model(mx.maximum(tokens, 0)[:, None], cache)
    return head(hidden[:, -1])


def _next_tokens(logits: mx.array, sample: Sampler) -> mx.array:
    """(B, V) logits -> (B,) ids, NOT_A_NUMBER where a row's logits are NaN or their largest is infinite."""
    logits = logits.astype(mx.float32)
    return mx.where(mx.isfinite(mx.max(logits, axis=-1)), sample(logits).astype(mx.int32), NOT_A_NUMBER)
