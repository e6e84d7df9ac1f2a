"""Guesses at how a text goes on: as it, or its prompt, did after the same tokens before.

Prompt lookup decoding (Saxena 2023) and "Inference with Reference" (Yang et al. 2023): a summary copies names and
phrases of its document. A model checks several guessed tokens in one pass, which costs a machine that waits for its
memory little more than one token does. Knows token ids only.
"""

from __future__ import annotations

from collections.abc import Iterable

MOST = ((2, 8), (1, 3))  # after so many equal tokens, guess at most so many: the more are equal, the surer


class PromptLookup:
    """What followed each token, and each pair of tokens, when it last stood in a text that grows."""

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self.tokens: list[int] = []
        self._next: dict[tuple[int, ...], int] = {}
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """Append a token to the text."""
        end = len(self.tokens)
        for length, _ in MOST:
            if end >= length:
                self._next[tuple(self.tokens[end - length :])] = end
        self.tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """At most `most` tokens that may follow; none where the text's last token stands there for the first time."""
        for length, limit in MOST:
            start = self._next.get(tuple(self.tokens[-length:]))
            if start is not None:
                return self.tokens[start : start + min(limit, max(0, most))]
        return []
