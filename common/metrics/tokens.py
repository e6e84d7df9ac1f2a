"""What a word is, for every count, comparison and score: Unicode's word boundaries, by one pattern.

Words follow UAX #29: letters with their marks, digits with their separators (`3.5`, `1,250`), apostrophes inside a
word; only an elided article stands apart (`l'`, `dell'`). Chinese and Japanese count by the character, as their
readers and published scores do; Thai, Lao, Khmer and Burmese by ICU's dictionaries.

Scores of English use rouge-score's tokenizer instead: it keeps only a-z and 0-9, which is what makes figures
comparable with published ones. The tokenizer of a scored set follows its language and is named in the results.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import count, islice
from typing import Literal

from common.metrics.language import detect_language, language_name
from common.text.scripts import BY_CHARACTER, BY_DICTIONARY, marks

TokenizerName = Literal["rouge-score", "unicode"]
# A text whose language was not recognized is scored as English unless more of its letters lie outside ASCII.
UNICODE_LETTER_SHARE = 0.01

_LATIN_WORD = re.compile("[a-z0-9]+")
_INVISIBLES = "\u00ad\u200b-\u200d\u2060\ufeff"
_INVISIBLE = re.compile(f"[{_INVISIBLES}]")
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+(?:(?:[.'](?<=[A-Za-z].)(?=[A-Za-z])|[.,'](?<=[0-9].)(?=[0-9]))[A-Za-z0-9]+)*")
_ELIDED = re.compile(
    r"(?:[cdjlmnst]['’](?=[^\W\d_])"
    r"|(?:qu|jusqu|lorsqu|puisqu|d?all|dell|nell|sull|coll|un|quest|quell|bell|sant|anch|tutt)['’](?=[^\W\d_]{2}))",
    re.IGNORECASE,
)
_SNOWBALL = {
    "ar": "arabic", "da": "danish", "nl": "dutch", "fi": "finnish", "fr": "french", "de": "german",
    "hu": "hungarian", "it": "italian", "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian",
    "es": "spanish", "sv": "swedish",
}  # fmt: skip


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

    `language` (ISO 639-1, empty for none) chooses the stemmer, on words of more than three characters: with
    rouge-score's words nltk's Porter, as rouge-score itself; with Unicode words nltk's Snowball of the language,
    and none where it has none.
    """

    def __init__(self, name: TokenizerName, stemmer: bool = True, language: str = "") -> None:
        self.name = name
        self.language = language
        self.stemmer = ""
        if stemmer and name == "rouge-score":
            self.stemmer = "Porter stemmer"
        elif stemmer and language in _SNOWBALL:
            self.stemmer = f"Snowball stemmer for {language_name(language)}"
        self._ids = WordIds(self._stem())

    def _stem(self) -> Callable[[str], str] | None:
        if not self.stemmer:
            return None
        return porter_stem() if self.name == "rouge-score" else snowball_stem(self.language)

    @property
    def description(self) -> str:
        """How results name it."""
        stemmer = self.stemmer or "no stemmer"
        if self.name == "rouge-score":
            return f"rouge-score ({stemmer})"
        return f"unicode (UAX #29 words in NFC, single characters in Chinese and Japanese, {stemmer})"

    def words(self, text: str) -> list[str]:
        """Lower-cased words before stemming."""
        if self.name == "rouge-score":
            return _LATIN_WORD.findall(text.lower())
        return words(text)

    def ids(self, text: str) -> list[int]:
        """One id per word; equal ids mean equal stems. Ids hold within this process only."""
        return [*map(self._ids.__getitem__, self.words(text))]


@cache
def get_tokenizer(name: TokenizerName, stemmer: bool = True, language: str = "") -> Tokenizer:
    """The process-wide tokenizer of that kind, so that stems are computed once."""
    return Tokenizer(name, stemmer, language)


def choose_tokenizer(texts: Iterable[str], language: str = "", stemmer: bool = True) -> Tokenizer:
    """The tokenizer for the language of `texts`, which is found out where it is not given.

    rouge-score's for English, Unicode words for every other. Ask with the references of the whole test set: every
    system scored on it then gets the same tokenizer.
    """
    known = list(texts)
    language = language or detect_language(known)
    latin = language == "en" if language else not _has_other_letters(known)
    return get_tokenizer("rouge-score" if latin else "unicode", stemmer, language)


def _has_other_letters(texts: Iterable[str]) -> bool:
    letters = outside = 0
    for text in texts:
        composed = unicodedata.normalize("NFC", text)
        letters += sum(map(str.isalpha, composed))
        outside += sum(1 for character in composed if ord(character) > 127 and character.isalpha())
    return outside > UNICODE_LETTER_SHARE * letters


def words(text: str) -> list[str]:
    """The words of `text`, lower-cased and in NFC."""
    return [word for word, _, _ in word_spans(text)]


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """The words of `text`, lower-cased and in NFC, each with its offsets (start, end) in `text` as given."""
    if text.isascii():
        lower = text.lower()
        return [(lower[start:end], start, end) for start, end in _spans(text)]
    return [
        (unicodedata.normalize("NFC", _INVISIBLE.sub("", text[start:end])).lower(), start, end)
        for start, end in _spans(text)
    ]


def count_words(text: str) -> int:
    """Number of words."""
    return sum(1 for _ in _spans(text))


def has_words(text: str, at_least: int) -> bool:
    """Whether the text has so many words, without splitting all of a long one."""
    return sum(1 for _ in islice(_spans(text), at_least)) == at_least


def _spans(text: str) -> Iterator[tuple[int, int]]:
    if text.isascii():
        found = map(re.Match.span, _ASCII_WORD.finditer(text))
        return _elided_apart(text, found) if "'" in text else found
    return _elided_apart(text, map(re.Match.span, _word().finditer(text)))


def _elided_apart(text: str, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans cut behind an elided article or pronoun, and where a dictionary finds several words in one."""
    for start, end in spans:
        if end - start > 2:
            elided = _ELIDED.match(text, start, end)
            if elided:
                yield start, elided.end() - 1
                start = elided.end()
            elif text[start] >= "\u0e00" and _by_dictionary().match(text, start):
                yield from _dictionary_spans(text, start, end)
                continue
        yield start, end


def _dictionary_spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The words of a stretch of Thai, Lao, Khmer or Burmese, by ICU; its offsets are code points below U+10000."""
    from icu4py.breakers import WordBreaker  # late: loads ICU's data

    for first, last in WordBreaker(text[start:end], "th").segments():
        if any(map(str.isalnum, text[start + first : start + last])):
            yield start + first, start + last


@cache
def porter_stem() -> Callable[[str], str]:
    """nltk's Porter stemmer, the one rouge-score uses. Not cached by word: callers keep what they need."""
    from nltk.stem.porter import PorterStemmer  # late: importing nltk takes longer than scoring a test set

    return PorterStemmer().stem


def snowball_stem(language: str) -> Callable[[str], str]:
    """nltk's Snowball stemmer of a language (ISO 639-1) that has one."""
    from nltk.stem.snowball import SnowballStemmer

    return SnowballStemmer(_SNOWBALL[language]).stem


@cache
def _word() -> re.Pattern[str]:
    """UAX #29, with a run of a script that needs a dictionary as one match."""
    joined = f"{marks()}{_INVISIBLES}"
    letter = f"[^\\W_{BY_CHARACTER}{BY_DICTIONARY}]"
    run = f"{letter}+(?:[{joined}]+{letter}*)*"
    # A separator joins letters to letters, or digits to digits.
    joint = f"[.'’·](?<=[^\\W\\d_].)(?=[^\\W\\d_])|[.'’·](?<=[{joined}].)(?=[^\\W\\d_])|[.,'’٫٬](?<=\\d.)(?=\\d)"
    return re.compile(
        f"{run}(?:(?:{joint}){run})*|[{BY_CHARACTER}][{marks()}]*|[{BY_DICTIONARY}][{BY_DICTIONARY}{joined}]*"
    )


@cache
def _by_dictionary() -> re.Pattern[str]:
    return re.compile(f"[{BY_DICTIONARY}]")
