"""Text that appears token by token, in pieces that are never taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"  # how decoders show the first bytes of a character whose last are still to come


class TextStream:
    """Turns the tokens of one text into pieces: what they decode to, grown by what each token adds.

    `decode` gives the text of all tokens so far. Joined, the pieces are `finish`'s text.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._shown = ""

    def push(self, token: int) -> str:
        """What one more token adds, empty while a character is unfinished."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        if text.endswith(UNFINISHED) or not text.startswith(self._shown):
            return ""
        piece = text[len(self._shown) :]
        self._shown = text
        return piece

    def finish(self, text: str) -> str:
        """What is left of the final text, which may be shorter than all tokens' text but not than what was shown."""
        return text[len(self._shown) :] if text.startswith(self._shown) else ""
