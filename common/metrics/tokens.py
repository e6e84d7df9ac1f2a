"""Words for scoring: rouge-score's tokenizer for Latin text without accents, a Unicode one for everything else.

rouge-score keeps only a-z and 0-9, which is what makes English figures comparable with published ones, and turns
French into fragments and Hindi or Chinese into nothing. One tokenizer is chosen for a whole test set and named in
the results. Knows nothing of scores.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from itertools import count
from typing import Literal

from common.text.scripts import UNSPACED, marks, unspaced_character

TokenizerName = Literal["rouge-score", "unicode"]

# English news has under 0.02 % letters outside ASCII (names), German about 1.5 %, French about 4 %.
UNICODE_LETTER_SHARE = 0.01

_LATIN_WORD = re.compile("[a-z0-9]+")
_INVISIBLES = "\u00ad\u200b-\u200d\u2060\ufeff"
_INVISIBLE = re.compile(f"[{_INVISIBLES}]")


class WordIds(dict[str, int]):
    """Integer ids by surface word; words with the same stem share one. Stemming happens once per distinct word."""

    def __init__(self, stem: Callable[[str], str] | None) -> None:
        super().__init__()
        self._stem = stem
        self._next = count()
        self._by_stem: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        stem = self._stem(word) if self._stem and len(word) > 3 else word
        self[word] = identifier = self._by_stem.setdefault(stem, next(self._next))
        return identifier


class Tokenizer:
    """Splits text into words and numbers them.

    The stemmer is rouge-score's (nltk's Porter, on words of more than three characters) and belongs to English:
    the Unicode tokenizer never stems.
    """

    def __init__(self, name: TokenizerName, stemmer: bool = True) -> None:
        self.name = name
        self.stemmer = stemmer and name == "rouge-score"
        self._ids = WordIds(porter_stem() if self.stemmer else None)

    @property
    def description(self) -> str:
        """How results name it."""
        if self.name == "unicode":
            return "unicode (NFC words with their marks, single characters in scripts without spaces, no stemmer)"
        return f"rouge-score ({'Porter stemmer' if self.stemmer else 'no stemmer'})"

    def words(self, text: str) -> list[str]:
        """Lower-cased words before stemming."""
        if self.name == "rouge-score":
            return _LATIN_WORD.findall(text.lower())
        return [word for word, _, _ in word_spans(text)]

    def ids(self, text: str) -> list[int]:
        """One id per word; equal ids mean equal stems. Ids hold within this process only."""
        return [*map(self._ids.__getitem__, self.words(text))]


@cache
def get_tokenizer(name: TokenizerName, stemmer: bool = True) -> Tokenizer:
    """The process-wide tokenizer of that name, so that stems are computed once."""
    return Tokenizer(name, stemmer)


def choose_tokenizer(texts: Iterable[str]) -> TokenizerName:
    """`unicode` where more than 1 % of the letters lie outside ASCII, else `rouge-score`.

    Ask with the references of the whole test set: every system scored on it then gets the same tokenizer.
    """
    letters = outside = 0
    for text in texts:
        if text.isascii():
            letters += len(text) - text.count(" ")
            continue
        text = unicodedata.normalize("NFC", text)
        letters += sum(map(str.isalpha, text))
        outside += sum(1 for character in text if ord(character) > 127 and character.isalpha())
    return "unicode" if outside > UNICODE_LETTER_SHARE * letters else "rouge-score"


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """The Unicode words of `text`, lower-cased and in NFC, each with its offsets (start, end) in `text` as given."""
    return [
        (unicodedata.normalize("NFC", _INVISIBLE.sub("", match[0])).lower(), match.start(), match.end())
        for match in _unicode_word().finditer(text)
    ]


@cache
def porter_stem() -> Callable[[str], str]:
    """nltk's Porter stemmer, the one rouge-score uses. Not cached by word: callers keep what they need."""
    from nltk.stem.porter import PorterStemmer  # late: importing nltk takes longer than scoring a test set

    return PorterStemmer().stem


@cache
def _unicode_word() -> re.Pattern[str]:
    letter = f"(?![{UNSPACED}])[^\\W_]"
    return re.compile(f"{unspaced_character().pattern}|{letter}(?:{letter}|[{marks()}{_INVISIBLES}])*")
