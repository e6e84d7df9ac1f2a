"""What counts as a word when lengths are told to a person and duplicates are looked for.

Text is split at white space; scripts written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) count
one word a character, so that a Chinese document is not one long word. Knows nothing of scores or tokens.
"""

from __future__ import annotations

import re

from common.text.scripts import unspaced_character

_WORD = re.compile(r"\w+")


def spaced(text: str) -> str:
    """The text with a space around every character of a script that has none between words."""
    return text if text.isascii() else unspaced_character().sub(r" \g<0> ", text)


def count_words(text: str) -> int:
    """Number of words, punctuation counted with the word it touches."""
    return len(spaced(text).split())


def has_words(text: str, count: int) -> bool:
    """Whether the text has at least `count` words, without splitting all of a long one."""
    return len(text.split(None, count)) >= count or len(spaced(text).split(None, count)) >= count


def bare_words(text: str) -> list[str]:
    """Case-folded words without punctuation, for comparing texts."""
    return _WORD.findall(spaced(text.casefold()))
