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
from common.types import Generation
from cuda_sum.cache import RowCache

NOT_A_NUMBER = -1  # stands for the next token of a row whose logits are not finite
NOT_FINITE = "the model's logits became NaN or infinite"
SHRINK_SHARE = 0.75  # with no prompt waiting, free rows are dropped when no more than this share is still running
LIKELIEST = 1024  # tokens among which top-p's are looked for before the whole vocabulary is sorted
PREFILL_TOKENS, PREFILL_FILL = 1024, 0.95  # prompts run together: at least so many tokens, then so little padding

Head = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]  # (N, H) -> ((N, V),)
OnDone = Callable[[int, Generation], None]
OnToken = Callable[[int, int], None]
Sampler = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]


def generate(
    model: Any,
    head: Head,
    prompts: Sequence[Sequence[int]],
    spec: GenerationSpec,
    vocab_size: int,
    on_done: OnDone | None = None,
    on_token: OnToken | None = None,
) -> list[Generation]:
    """Continue every prompt by at most `spec.max_new_tokens` tokens; results in input order.

    A prompt that is empty or holds ids outside the vocabulary ends with stop reason `error`, as does a row whose
    logits become NaN or infinite; other rows go on.
    """
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
        problem = _prompt_problem(prompt, vocab_size)
        if problem:
            done(index, Generation((), "error", problem))
        elif spec.max_new_tokens < 1:
            done(index, Generation((), "length"))
        else:
            runnable.append(index)
    with torch.no_grad():
        if spec.beams > 1:
            for group in group_prompts([len(prompts[index]) for index in runnable], spec):
                _beam_group(model, [(runnable[i], prompts[runnable[i]]) for i in group], spec, done, grown)
        else:
            _generate_rows(model, head, prompts, runnable, spec, done, grown)
    return [results[index] for index in range(len(prompts))]


def _prompt_problem(prompt: Sequence[int], vocab_size: int) -> str:
    if not len(prompt):
        return "the prompt is empty"
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        return f"the prompt holds token ids outside 0 to {vocab_size - 1}"
    return ""


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


def _generate_rows(
    model: Any,
    head: Head,
    prompts: Sequence[Sequence[int]],
    indices: Sequence[int],
    spec: GenerationSpec,
    done: OnDone,
    grown: OnToken,
) -> None:
    """Generate the prompts with these indices; where a row has ended, the next prompt takes its place."""
    queue = PromptQueue([len(prompt) for prompt in prompts], indices, spec)
    rows = _Rows(model, head, prompts, [prompts[index] for index in indices], make_sampler(spec))
    texts: dict[int, list[int]] = {index: [] for index in indices}
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
                result = _finish_alone(model, head, rows.cache, index, prompts[index], texts[index], spec, grown)
                rows.remove([index])
                done(index, result)
                continue
            found = rows.step()
        results = {index: _take(index, token, texts[index], spec, grown) for index, token in found}
        ended = {index: result for index, result in results.items() if result is not None}
        rows.remove(list(ended))
        for index, result in ended.items():
            done(index, result)


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


def _take(index: int, token: int, text: list[int], spec: GenerationSpec, grown: OnToken) -> Generation | None:
    """Add a token to a row's text; the row's result where it ends with it."""
    if token == NOT_A_NUMBER:
        return Generation(tuple(text), "error", NOT_FINITE)
    if token in spec.eos_ids:
        return Generation(tuple(text), "eos", stop_token=token)
    text.append(token)
    grown(index, token)
    return Generation(tuple(text), "length") if len(text) >= spec.max_new_tokens else None


def _finish_alone(
    model: Any,
    head: Head,
    cache: RowCache,
    index: int,
    prompt: Sequence[int],
    text: list[int],
    spec: GenerationSpec,
    grown: OnToken,
) -> Generation:
    """Go on with a single row, greedily, its last token not in the cache yet: several tokens a pass where guesses hold.

    A guess is right where the model itself gives that token next; what follows a wrong one is dropped. So the text is
    that of one pass a token, within rounding.
    """
    sample = make_sampler(spec)
    lookup = PromptLookup([*prompt, *text])
    while True:
        guess = lookup.guess(spec.max_new_tokens - len(text) - 1)
        new = torch.tensor([[text[-1], *guess]], device=model.lm_head.weight.device)
        found = _next_tokens(_extend(model, head, new, cache), sample, [index] * new.shape[1]).tolist()
        right = next((place for place, token in enumerate(guess) if token != found[place]), len(guess))
        cache.positions = cache.positions + right + 1
        for token in found[: right + 1]:
            result = _take(index, token, text, spec, grown)
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


def _beam_group(
    model: Any, prompts: list[tuple[int, Sequence[int]]], spec: GenerationSpec, done: OnDone, grown: OnToken
) -> None:
    """Beam search is transformers' own: left-padded, with the masks that this needs."""
    from transformers import GenerationConfig

    device = model.lm_head.weight.device
    width = max(len(prompt) for _, prompt in prompts)
    tokens = np.zeros((len(prompts), width), np.int64)
    real = np.zeros_like(tokens)
    for row, (_, prompt) in enumerate(prompts):
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
    for (index, _), row in zip(prompts, output[:, width:].tolist(), strict=True):
        end = next((place for place, token in enumerate(row) if token in stop), None)
        for token in row[:end]:
            grown(index, token)
        last = None if end is None else row[end]
        done(index, Generation(tuple(row[:end]), "length" if end is None else "eos", stop_token=last))


@contextmanager
def _transformers_masks(model: Any) -> Iterator[None]:
    """Let transformers build attention masks inside the block, which it otherwise leaves out (see fast.py)."""
    usual = model.config._attn_implementation
    model.config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        model.config._attn_implementation = usual
