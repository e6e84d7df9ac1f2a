"""Batched generation, greedy or sampled; where a row has ended, the next prompt takes its place.

Prompts that join are right-padded for the prefill (so that it is plain causal attention) and rolled to the right in
mlx-lm's batch cache for decoding. Knows token ids only: no text, no tokenizer, no training.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.cache import BatchKVCache

from common.engine import GenerationSpec
from common.generation.draws import PromptDraws
from common.generation.queue import PromptQueue
from common.generation.shared import distinct_prompts, shared_beginning
from common.generation.texts import NOT_A_NUMBER, SHRINK_SHARE, Texts
from common.types import Generation
from mlx_sum.loss import Head

Sampler = Callable[[mx.array, Sequence[int]], mx.array]


def generate(model: nn.Module, head: Head, texts: Texts) -> list[Generation]:
    """Continue every runnable text to its end; the results of all prompts, in input order.

    A row whose logits become NaN or infinite ends with stop reason `error`; other rows go on.
    """
    prompts, spec = texts.prompts, texts.spec
    queue = PromptQueue([len(prompt) for prompt in prompts], texts.runnable, spec)
    rows = _Rows(model, head, [prompts[index] for index in texts.runnable], make_sampler(spec))
    running: set[int] = set()
    while queue or running:
        new = queue.take(running)
        if new:
            rows.keep(running)
            rows.add(new, [prompts[index] for index in new])
            running.update(new)
        elif not queue and len(running) <= SHRINK_SHARE * len(rows.indices):
            rows.keep(running)
        more = any(len(texts.tokens[index]) + 1 < spec.max_new_tokens for index in running)
        for index, token in rows.step(more):
            if index not in running:
                continue
            result = texts.add(index, token)
            if result is not None:
                running.discard(index)
                texts.end(index, result)
    return texts.results()


def make_sampler(spec: GenerationSpec) -> Sampler:
    """(B, V) float32 logits and the rows' prompt indices -> (B,) ids: the most likely, or drawn."""
    if spec.greedy:
        return lambda logits, _: mx.argmax(logits, axis=-1)
    draws = PromptDraws(spec.seed)
    return lambda logits, rows: draw_token(logits / spec.temperature, spec.top_p, mx.array(draws.next(rows)))


def draw_token(logits: mx.array, top_p: float, draws: mx.array) -> mx.array:
    """(B,) ids by inverting each row's cumulative distribution at `draws` (B, 1) in [0, 1).

    Only the smallest set of tokens with probability `top_p` takes part (Holtzman et al. 2020).
    """
    probabilities = mx.softmax(logits, axis=-1)
    if top_p >= 1.0:
        return _drawn(probabilities, draws)[:, 0]
    order = mx.argsort(-probabilities, axis=-1)
    ranked = mx.take_along_axis(probabilities, order, axis=-1)
    before = mx.cumsum(ranked, axis=-1) - ranked
    place = _drawn(mx.where(before >= top_p, 0.0, ranked), draws)
    return mx.take_along_axis(order, place, axis=-1)[:, 0]


def _drawn(probabilities: mx.array, draws: mx.array) -> mx.array:
    """(B, 1) places in (B, V) probabilities, whose sum need not be 1."""
    total = mx.cumsum(probabilities, axis=-1)
    place = (total <= draws * total[:, -1:]).sum(-1, keepdims=True)
    return mx.minimum(place, total.shape[-1] - 1)


class _Rows:
    """Texts that are continued together, one token for each in a step.

    indices  of each row's prompt, of texts that have ended too until `keep` drops them
    """

    def __init__(self, model: nn.Module, head: Head, all_to_come: Sequence[Sequence[int]], sample: Sampler) -> None:
        self.indices: list[int] = []
        self._model = model
        self._head = head
        self._sample = sample
        self._cache: list[BatchKVCache] = []
        self._tokens = mx.zeros(0, mx.int32)  # each row's last token, which `step` has not told yet
        self._shared = shared_beginning(all_to_come)
        self._beginning = [BatchKVCache([0]) for _ in model.model.layers]
        if self._shared:
            model.model(mx.array([all_to_come[0][: self._shared]], mx.int32), self._beginning)

    def keep(self, wanted: Collection[int]) -> None:
        """Drop all rows but those of the prompts with these indices."""
        places = [place for place, index in enumerate(self.indices) if index in wanted]
        if len(places) == len(self.indices):
            return
        self.indices = [self.indices[place] for place in places]
        if places:
            self._tokens = self._tokens[mx.array(places)]
            _keep_rows(self._cache, places)
        else:
            self._tokens, self._cache = mx.zeros(0, mx.int32), []
        mx.clear_cache()

    def add(self, new: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Read these prompts into rows of their own, `new` being their indices."""
        cache, logits = self._prefill(prompts)
        first = _next_tokens(logits, self._sample, new)
        for own, joining in zip(self._cache, cache, strict=False):
            own.extend(joining)
            mx.eval(own.state)  # layer by layer, so that only one is in memory twice
        self._cache = self._cache or cache
        self._tokens = mx.concatenate([self._tokens, first])
        self.indices += new

    def step(self, more: bool) -> list[tuple[int, int]]:
        """Index and last token of each row; starts finding the next ones, if `more`, before these are read back."""
        tokens = self._tokens
        if more:
            logits = _decode(self._model, self._head, tokens, self._cache)
            self._tokens = _next_tokens(logits, self._sample, self.indices)
            mx.async_eval(self._tokens)
        return list(zip(self.indices, np.array(tokens).tolist(), strict=True))

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[list[BatchKVCache], mx.array]:
        """Run the prompts; the filled cache and the logits (B, V) that follow each prompt's last token.

        Equal prompts are run once.
        """
        different, places = distinct_prompts(prompts)
        cache = [_repeated(layer, len(different)) for layer in self._beginning]
        lengths = [len(prompt) - self._shared for prompt in different]
        width = max(lengths)
        padded = np.zeros((len(different), width), np.int32)
        for row, prompt in enumerate(different):
            padded[row, : lengths[row]] = prompt[self._shared :]
        padding = [width - length for length in lengths]
        for layer_cache in cache:
            layer_cache.prepare(lengths=lengths, right_padding=padding)
        hidden = self._model.model(mx.array(padded), cache)
        last = hidden[mx.arange(len(different)), mx.array(lengths) - 1]
        for layer_cache in cache:
            layer_cache.finalize()
        if len(different) < len(prompts):
            _keep_rows(cache, places)
            last = last[mx.array(places)]
        logits = self._head(last)
        mx.eval(logits, [layer_cache.state for layer_cache in cache])
        return cache, logits


def _keep_rows(cache: list[BatchKVCache], rows: list[int]) -> None:
    """Drop all other rows; one that is named several times is there so often."""
    for layer_cache in cache:
        layer_cache.filter(mx.array(rows))


def _repeated(cache: BatchKVCache, count: int) -> BatchKVCache:
    """A cache whose `count` rows are the one of another."""
    copy = BatchKVCache([0])
    copy.state = cache.state
    copy.filter(mx.array([0] * count))
    return copy


def _decode(model: nn.Module, head: Head, tokens: mx.array, cache: list[BatchKVCache]) -> mx.array:
    hidden = model.model(mx.maximum(tokens, 0)[:, None], cache)
    return head(hidden[:, -1])


def _next_tokens(logits: mx.array, sample: Sampler, rows: Sequence[int]) -> mx.array:
    """(B, V) logits -> (B,) ids, NOT_A_NUMBER where a row's logits are NaN or their largest is infinite."""
    logits = logits.astype(mx.float32)
    return mx.where(mx.isfinite(mx.max(logits, axis=-1)), sample(logits, rows).astype(mx.int32), NOT_A_NUMBER)
