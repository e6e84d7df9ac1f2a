"""Texts while they grow: which prompts can be run, what each new token does to its text, and who is told of it.

Both engines do their bookkeeping here, once a token, on plain Python numbers. Knows token ids only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.engine import GenerationSpec
from common.types import Generation

NOT_A_NUMBER = -1  # what an engine gives as the next token of a row whose logits are not finite
SHRINK_SHARE = 0.75  # with no prompt waiting, ended rows are dropped when no more than this share is still running

OnDone = Callable[[int, Generation], None]
OnToken = Callable[[int, int], None]


class Texts:
    """What follows each of some prompts, token by token, until it ends.

    runnable  indices of the prompts that an engine has to continue
    tokens    the text so far of each of them
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        spec: GenerationSpec,
        vocab_size: int,
        longest: int | None = None,
        on_done: OnDone | None = None,
        on_token: OnToken | None = None,
    ) -> None:
        """A prompt that is empty, holds ids outside the vocabulary or, with the new tokens, exceeds `longest` (None: no
        limit) ends at once with stop reason `error`."""
        self.prompts = prompts
        self.spec = spec
        self.tokens: dict[int, list[int]] = {}
        self._results: dict[int, Generation] = {}
        self._stop = frozenset(spec.eos_ids)
        self._on_done, self._on_token = on_done, on_token
        for index, prompt in enumerate(prompts):
            problem = _prompt_problem(prompt, spec.max_new_tokens, vocab_size, longest)
            if problem:
                self.end(index, Generation((), "error", problem))
            elif spec.max_new_tokens < 1:
                self.end(index, Generation((), "length"))
            else:
                self.tokens[index] = []
        self.runnable = list(self.tokens)

    def add(self, index: int, token: int) -> Generation | None:
        """Add a token to a text, NOT_A_NUMBER where there is none; the text's result if it ends with it, for `end`."""
        text = self.tokens[index]
        if token == NOT_A_NUMBER:
            return Generation(tuple(text), "error", "the model's logits became NaN or infinite")
        if token in self._stop:
            return Generation(tuple(text), "eos", stop_token=token)
        text.append(token)
        if self._on_token is not None:
            self._on_token(index, token)
        return Generation(tuple(text), "length") if len(text) >= self.spec.max_new_tokens else None

    def end(self, index: int, result: Generation) -> None:
        """Store and report a text's result."""
        self._results[index] = result
        if self._on_done is not None:
            self._on_done(index, result)

    def results(self) -> list[Generation]:
        """Of all prompts, in their order, when every text has ended."""
        return [self._results[index] for index in range(len(self.prompts))]


def _prompt_problem(prompt: Sequence[int], new_tokens: int, vocab_size: int, longest: int | None) -> str:
    if not len(prompt):
        return "the prompt is empty"
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        return f"the prompt holds token ids outside 0 to {vocab_size - 1}"
    if longest is not None and len(prompt) + new_tokens > longest:
        return f"prompt and new tokens are {len(prompt) + new_tokens}, the model's attention window holds {longest}"
    return ""
