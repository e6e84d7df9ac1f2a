"""What counts as a word when lengths are told to a person and duplicates are looked for.

Text is split at white space; scripts written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) count
one word a character, so that a Chinese document is not one long word. Knows nothing of scores or tokens.
"""

from __future__ import annotations

import re

_UNSPACED = re.compile(
    "[\u0e01-\u0e30\u0e40-\u0e46\u0e81-\u0eb0\u1000-\u102a\u1780-\u17b3"
    "\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_WORD = re.compile(r"\w+")


def spaced(text: str) -> str:
    """The text with a space around every character of a script that has none between words."""
    return text if text.isascii() else _UNSPACED.sub(r" \g<0> ", text)


def count_words(text: str) -> int:
    """Number of words, punctuation counted with the word it touches."""
    return len(spaced(text).split())


def has_words(text: str, count: int) -> bool:
    """Whether the text has at least `count` words, without splitting all of a long one."""
    return len(text.split(None, count)) >= count or len(spaced(text).split(None, count)) >= count


def bare_words(text: str) -> list[str]:
    """Case-folded words without punctuation, for comparing texts."""
    return _WORD.findall(spaced(text.casefold()))
