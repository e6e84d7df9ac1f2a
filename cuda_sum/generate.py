"""Batched generation, greedy, sampled or by beams; where a row has ended, the next prompt takes its place.

Prompts that join are right-padded, so that the prefill is plain causal attention; each row then writes its keys and
values where its own text ends. Knows token ids only: no text, no tokenizer, no training.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from common.engine import GenerationSpec
from common.generation.draws import PromptDraws
from common.generation.lookup import PromptLookup
from common.generation.queue import PromptQueue, group_prompts
from common.generation.shared import distinct_prompts, shared_beginning
from common.generation.texts import NOT_A_NUMBER, SHRINK_SHARE, Texts
from common.types import Generation
from cuda_sum.cache import RowCache

LIKELIEST = 1024  # tokens among which top-p's are looked for before the whole vocabulary is sorted
PREFILL_TOKENS, PREFILL_FILL = 1024, 0.95  # prompts run together: at least so many tokens, then so little padding

Head = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]  # (N, H) -> ((N, V),)
Sampler = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]


def generate(model: Any, head: Head, texts: Texts) -> list[Generation]:
    """Continue every runnable text to its end; the results of all prompts, in input order.

    A row whose logits become NaN or infinite ends with stop reason `error`; other rows go on.
    """
    with torch.no_grad():
        if texts.spec.beams > 1:
            for group in group_prompts([len(texts.prompts[index]) for index in texts.runnable], texts.spec):
                _beam_group(model, [texts.runnable[place] for place in group], texts)
        else:
            _generate_rows(model, head, texts)
    return texts.results()


def make_sampler(spec: GenerationSpec) -> Sampler:
    """(B, V) float32 logits and the rows' prompt indices -> (B,) ids: the most likely, or drawn."""
    if spec.greedy:
        return lambda logits, _: logits.argmax(-1)
    draws = PromptDraws(spec.seed)

    def sample(logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        now = torch.from_numpy(draws.next(rows)).to(logits.device)
        return draw_token(logits / spec.temperature, spec.top_p, now)

    return sample


def draw_token(logits: torch.Tensor, top_p: float, draws: torch.Tensor) -> torch.Tensor:
    """(B,) ids by inverting each row's cumulative distribution at `draws` (B, 1) in [0, 1).

    Only the smallest set of tokens with probability `top_p` takes part (Holtzman et al. 2020).
    """
    probabilities = logits.softmax(-1)
    if top_p >= 1.0:
        return _drawn(probabilities, draws)[:, 0]
    ranked, order = probabilities.topk(min(LIKELIEST, probabilities.shape[-1]))
    tokens = _drawn_of(ranked, order, top_p, draws)
    beyond = ranked.sum(-1) < top_p
    if bool(beyond.any()):
        tokens[beyond] = _drawn_of(*probabilities[beyond].sort(-1, descending=True), top_p, draws[beyond])
    return tokens


def _drawn_of(ranked: torch.Tensor, order: torch.Tensor, top_p: float, draws: torch.Tensor) -> torch.Tensor:
    """(B,) ids from probabilities (B, K), sorted from the highest, of the tokens `order` (B, K)."""
    before = ranked.cumsum(-1) - ranked
    return order.gather(1, _drawn(torch.where(before >= top_p, 0.0, ranked), draws))[:, 0]


def _drawn(probabilities: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """(B, 1) places in (B, V) probabilities, whose sum need not be 1."""
    total = probabilities.cumsum(-1)
    return torch.searchsorted(total, draws * total[:, -1:], right=True).clamp_(max=total.shape[-1] - 1)


def _generate_rows(model: Any, head: Head, texts: Texts) -> None:
    """Generate the runnable texts; where a row has ended, the next prompt takes its place."""
    prompts, spec = texts.prompts, texts.spec
    queue = PromptQueue([len(prompt) for prompt in prompts], texts.runnable, spec)
    rows = _Rows(model, head, prompts, [prompts[index] for index in texts.runnable], make_sampler(spec))
    while queue or rows.running:
        new = queue.take(rows.running)
        if new:
            width = queue.width([*rows.running, *new])
            found = rows.add(new, width)
        else:
            if not queue and len(rows.running) <= SHRINK_SHARE * len(rows.cache):
                rows.shrink(queue.width(rows.running))
            if len(rows.cache) == 1 and spec.greedy:
                (index,) = rows.running
                result = _finish_alone(model, head, rows.cache, index, texts)
                rows.remove([index])
                texts.end(index, result)
                continue
            found = rows.step()
        results = {index: texts.add(index, token) for index, token in found}
        ended = {index: result for index, result in results.items() if result is not None}
        rows.remove(list(ended))
        for index, result in ended.items():
            texts.end(index, result)


class _Rows:
    """Texts that are continued together, one token for each in a step.

    running  row of each text that has not ended, by the index of its prompt
    """

    def __init__(
        self,
        model: Any,
        head: Head,
        prompts: Sequence[Sequence[int]],
        all_to_come: Sequence[Sequence[int]],
        sample: Sampler,
    ) -> None:
        self.running: dict[int, int] = {}
        self.cache = RowCache(model.lm_head.weight.device)
        self._model = model
        self._head = head
        self._prompts = prompts
        self._sample = sample
        self._indices: list[int] = []  # for each row, of the prompt that is or was in it
        self._tokens = torch.zeros(0, dtype=torch.int64, device=model.lm_head.weight.device)
        shared = shared_beginning(all_to_come)
        if shared:
            self.cache.fill([], [])
            self._read([all_to_come[0][:shared]], torch.zeros(1, dtype=torch.int64, device=self._tokens.device))
            self.cache.shared = shared

    def add(self, new: Sequence[int], width: int) -> list[tuple[int, int]]:
        """Read the prompts with these indices into free rows, with `width` positions where there are too few of them.
        Returns index and first token of each."""
        if len(self.running) + len(new) > len(self.cache) or width > self.cache.width:
            self._resize(len(self.running) + len(new), width)
        taken = set(self.running.values())
        free = [row for row in range(len(self.cache)) if row not in taken][: len(new)]
        for index, row in zip(new, free, strict=True):
            self.running[index] = row
            self._indices[row] = index
        tokens = _next_tokens(self._prefill([self._prompts[index] for index in new], free), self._sample, new)
        self._tokens[torch.tensor(free, device=tokens.device)] = tokens
        return list(zip(new, tokens.tolist(), strict=True))

    def step(self) -> list[tuple[int, int]]:
        """Add to the cache what came last; index and next token of each running text."""
        logits = _extend(self._model, self._head, self._tokens.clamp(min=0)[:, None], self.cache)
        self.cache.positions += self.cache.running
        self._tokens = _next_tokens(logits, self._sample, self._indices)
        tokens = self._tokens.tolist()
        return [(index, tokens[row]) for index, row in self.running.items()]

    def remove(self, indices: Sequence[int]) -> None:
        """Let go of texts that have ended; their rows stay, free."""
        if indices:
            self.cache.free([self.running.pop(index) for index in indices])

    def shrink(self, width: int) -> None:
        """Drop the free rows, and the positions beyond `width`."""
        self._resize(len(self.running), width)

    def _resize(self, count: int, width: int) -> None:
        kept = list(self.running.values())
        self.cache.resize(kept, count, width)
        room = count - len(kept)
        self._indices = [*self.running, *[0] * room]
        self._tokens = nn.functional.pad(self._tokens[torch.tensor(kept, dtype=torch.int64)], (0, room))
        self.running = {index: row for row, index in enumerate(self.running)}

    def _prefill(self, prompts: Sequence[Sequence[int]], rows: Sequence[int]) -> torch.Tensor:
        """Read prompts, longest first, into rows; the logits (B, V) that follow each prompt's last token.

        Equal prompts are read once.
        """
        different, places = distinct_prompts(prompts)
        lengths = [len(prompt) for prompt in different]
        owners = [places.index(place) for place in range(len(different))]
        last = []
        for part in prefill_slices(lengths):
            own = lengths[part]
            self.cache.fill([rows[owner] for owner in owners[part]], own)
            width = own[0] - self.cache.shared
            ends = [row * width + length - self.cache.shared - 1 for row, length in enumerate(own)]
            texts = [prompt[self.cache.shared :] for prompt in different[part]]
            last.append(self._read(texts, torch.tensor(ends, device=self._tokens.device)))
        hidden = torch.cat(last)
        if len(different) < len(prompts):
            again = [place for place, text in enumerate(places) if owners[text] != place]
            self.cache.copy([rows[owners[places[place]]] for place in again], [rows[place] for place in again])
            hidden = hidden[torch.tensor(places, device=hidden.device)]
        return self._head(hidden)[0].float()

    def _read(self, texts: Sequence[Sequence[int]], ends: torch.Tensor) -> torch.Tensor:
        """Run tokens behind what is shared; hidden states (N, H) at the flat places `ends` (N,)."""
        padded = np.zeros((len(texts), max(map(len, texts))), np.int64)
        for row, tokens in enumerate(texts):
            padded[row, : len(tokens)] = tokens
        first = self.cache.shared
        output = self._model.model(
            torch.from_numpy(padded).to(ends.device),
            position_ids=torch.arange(first, first + padded.shape[1], device=ends.device)[None],
            use_cache=True,
            target_rows_only=ends,
            **_cache_argument(self._model, self.cache),
        )
        return output.last_hidden_state  # type: ignore[no-any-return]


def _finish_alone(model: Any, head: Head, cache: RowCache, index: int, texts: Texts) -> Generation:
    """Go on with a single row, greedily, its last token not in the cache yet: several tokens a pass where guesses hold.

    A guess is right where the model itself gives that token next; what follows a wrong one is dropped. So the text is
    that of one pass a token, within rounding.
    """
    text, sample = texts.tokens[index], make_sampler(texts.spec)
    lookup = PromptLookup([*texts.prompts[index], *text])
    while True:
        guess = lookup.guess(texts.spec.max_new_tokens - len(text) - 1)
        new = torch.tensor([[text[-1], *guess]], device=model.lm_head.weight.device)
        found = _next_tokens(_extend(model, head, new, cache), sample, [index] * new.shape[1]).tolist()
        right = next((place for place, token in enumerate(guess) if token != found[place]), len(guess))
        cache.positions = cache.positions + right + 1
        for token in found[: right + 1]:
            result = texts.add(index, token)
            if result is not None:
                return result
            lookup.add(token)


def prefill_slices(lengths: Sequence[int]) -> list[slice]:
    """Rows, sorted from long to short, cut where padding would cost more than one more run of the model."""
    slices, start = [], 0
    for row, length in enumerate(lengths):
        width = lengths[start]
        if (row - start) * width >= PREFILL_TOKENS and length < PREFILL_FILL * width:
            slices.append(slice(start, row))
            start = row
    return [*slices, slice(start, len(lengths))]


def _extend(model: Any, head: Head, tokens: torch.Tensor, cache: RowCache) -> torch.Tensor:
    """Logits (B T, V) after each of the tokens (B, T); T above 1 for a single row only. Leaves `cache.positions`."""
    mask = cache.mask(tokens.shape[1])
    output = model.model(
        tokens,
        position_ids=cache.positions[:, None] + torch.arange(tokens.shape[1], device=tokens.device),
        attention_mask=mask,
        use_cache=True,
        **_cache_argument(model, cache),
    )
    return head(output.last_hidden_state.flatten(0, 1))[0].float()


def _cache_argument(model: Any, cache: RowCache) -> dict[str, RowCache]:
    """The cache under the name that transformers gives it."""
    names = inspect.signature(type(model.model).forward).parameters
    return {"cache" if "cache" in names else "past_key_values": cache}  # the latter before 5.24


def _next_tokens(logits: torch.Tensor, sample: Sampler, rows: Sequence[int]) -> torch.Tensor:
    """(B, V) logits -> (B,) ids, NOT_A_NUMBER where a row's largest logit is NaN or infinite."""
    finite = logits.amax(-1).isfinite()
    return torch.where(finite, sample(logits, rows), NOT_A_NUMBER)


def _beam_group(model: Any, indices: list[int], texts: Texts) -> None:
    """Beam search is transformers' own: left-padded, with the masks that this needs."""
    from transformers import GenerationConfig

    device, spec = model.lm_head.weight.device, texts.spec
    prompts = [texts.prompts[index] for index in indices]
    width = max(len(prompt) for prompt in prompts)
    tokens = np.zeros((len(prompts), width), np.int64)
    real = np.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, width - len(prompt) :] = prompt
        real[row, width - len(prompt) :] = 1
    stop = set(spec.eos_ids)
    config = GenerationConfig(
        num_beams=spec.beams,
        do_sample=False,
        max_new_tokens=spec.max_new_tokens,
        eos_token_id=sorted(stop) or None,
        pad_token_id=min(stop, default=0),
        use_cache=True,
    )
    with _transformers_masks(model):
        output = model.generate(
            torch.from_numpy(tokens).to(device),
            attention_mask=torch.from_numpy(real).to(device),
            generation_config=config,
        )
    for index, row in zip(indices, output[:, width:].tolist(), strict=True):
        result = next(result for token in row if (result := texts.add(index, token)) is not None)
        texts.end(index, result)


@contextmanager
def _transformers_masks(model: Any) -> Iterator[None]:
    """Let transformers build attention masks inside the block, which it otherwise leaves out (see fast.py)."""
    usual = model.config._attn_implementation
    model.config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        model.config._attn_implementation = usual
