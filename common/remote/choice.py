"""Questions with two possible answers, read by log-probability: yes or no, A or B.

The share of the first answer is the probability of its variants over that of both, at the first token that is a word
(as in MiniCheck, Tang et al. 2024). Where a server gives no log-probabilities, the one word that it writes counts as 1
or 0. An answer that is neither is a failure that says what was written; it is never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from common.errors import RemoteError
from common.remote.client import AnswerError, ChatAnswer, ChatClient, ChatRequest, RefusedError, Result

ALTERNATIVES = 10  # asked for at each token; some servers refuse more than 11
WORDS_TOKENS = 3  # of an answer: room for a line break or quotation mark before its word
_NO_WORD = re.compile(r"[\W_ĠĊ▁]+")  # also the signs for white space of byte-level and SentencePiece tokens
_LONGEST_QUOTE = 60
# As llama.cpp and vLLM take it, and as Ollama does.
_WITHOUT_THOUGHTS = {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"}


class NoChoiceError(AnswerError):
    """The answer is neither of the two."""


class Chooser:
    """Asks a server's model to choose between two words, which are compared without case."""

    def __init__(self, client: ChatClient, first: str, second: str) -> None:
        self.client = client
        self._words = (first.casefold(), second.casefold())
        self._alternatives = ALTERNATIVES
        self._extra: dict[str, Any] = {}

    def ask(self, questions: Sequence[str], on_done: Callable[[], None] | None = None) -> list[float | RemoteError]:
        """For each question the share of the first word in [0, 1], or what went wrong with it.

        What the server turns out not to have (log-probabilities) or to need (a model that thinks first told not to)
        is noticed once, and what was asked before that is asked again. Raises RemoteError for what ails all.
        """
        results: list[float | RemoteError] = [NoChoiceError("not asked")] * len(questions)
        waiting = list(range(len(questions)))
        while waiting:
            waiting = self._round(questions, waiting, results, on_done)
        return results

    def _round(
        self,
        questions: Sequence[str],
        places: Sequence[int],
        results: list[float | RemoteError],
        on_done: Callable[[], None] | None,
    ) -> list[int]:
        """Ask the questions at `places` and fill in their results; the places that have to be asked again."""
        top, extra = self._alternatives, self._extra
        again: list[int] = []

        def done(index: int, answer: Result) -> None:
            if top and isinstance(answer, RefusedError) and "logprob" in str(answer):
                self._alternatives = 0
                again.append(places[index])
            elif not extra and isinstance(answer, ChatAnswer) and answer.thinks:
                self._extra = _WITHOUT_THOUGHTS
                again.append(places[index])
            else:
                results[places[index]] = self._read(answer)
                if on_done is not None:
                    on_done()

        self.client.complete_all(
            [ChatRequest.ask(questions[place], WORDS_TOKENS, top_logprobs=top, extra=extra) for place in places], done
        )
        return sorted(again)

    def _read(self, answer: Result) -> float | RemoteError:
        if isinstance(answer, RemoteError):
            return answer
        if answer.thinks:
            return NoChoiceError("the model thinks before it answers; start its server with thinking off")
        share = self._by_probability(answer) if answer.tokens else self._by_word(answer.text)
        if share is not None:
            return share
        written = " ".join(answer.text.split())[:_LONGEST_QUOTE]
        return NoChoiceError(f"the model answered neither {self._words[0]} nor {self._words[1]} but {written!r}")

    def _by_probability(self, answer: ChatAnswer) -> float | None:
        choice = next((token for token in answer.tokens if _word(token.token)), answer.tokens[0])
        first, second = (
            sum(math.exp(value) for token, value in choice.alternatives if _word(token) == word) for word in self._words
        )
        return first / (first + second) if first + second > 0 else None

    def _by_word(self, text: str) -> float | None:
        word = next(iter(_word(text, " ").split()), "")
        return float(word == self._words[0]) if word in self._words else None


def _word(text: str, between: str = "") -> str:
    return _NO_WORD.sub(between, text).casefold()
