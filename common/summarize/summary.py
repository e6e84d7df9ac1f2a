"""What a summary is, and what may be asked of one. Knows nothing of models."""

from __future__ import annotations

import re
from dataclasses import dataclass

from common.check.support import SentenceSupport
from common.errors import ConfigError
from common.metrics.sentences import sentence_spans
from common.metrics.tokens import word_spans
from common.summarize.long_documents import METHODS, LongMethod
from common.types import StopReason

DEFAULT_LONG: LongMethod = "two-stage"  # see benchmarks/results/long_documents.json
_OPENING = re.compile(r"[\s\"'“‘«(\[{,;:–—\-，、；：（「『【]+$")


@dataclass(frozen=True)
class Summary:
    """A summary and how it came about.

    stop_reason    why generation of the text ended: `eos` by itself, `length` at the token limit, `error`
    prompt_tokens  tokens read, `tokens` tokens written, over all generations it took
    unread_tokens  tokens of the document that no prompt held
    parts          for a long document: the summaries of its parts, or the key sentences kept
    candidates     for an ensemble's vote: what each model wrote
    sentences      where evidence was asked for: support and passages of each sentence
    dropped        where faithfulness was: sentences left out, because the document does not support them
    from_document  no sentence was supported, so that the text is the document's own key sentence
    error          what went wrong, empty where nothing did
    """

    text: str
    stop_reason: StopReason
    prompt_tokens: int = 0
    tokens: int = 0
    unread_tokens: int = 0
    parts: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    sentences: tuple[SentenceSupport, ...] = ()
    dropped: tuple[str, ...] = ()
    from_document: bool = False
    error: str = ""

    @property
    def support(self) -> float | None:
        """That of its least supported sentence, in [0, 1]; None where it was not checked, or is empty."""
        return min((sentence.support for sentence in self.sentences), default=None)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class SummaryOptions:
    """What a caller may ask for; 0 means no limit, or the run's own where it has one.

    long         what becomes of a document that the prompt cannot hold
    sentences    keep at most this many sentences
    max_words    keep at most this many words; also told to the model where its template has {max_words}
    temperature  0 is greedy
    evidence     check each sentence, and give the passages that it rests on
    faithful     of so many summaries the best supported one, without its unsupported sentences (0: off)
    """

    long: LongMethod = DEFAULT_LONG
    sentences: int = 0
    max_words: int = 0
    max_new_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    evidence: bool = False
    faithful: int = 0

    def __post_init__(self) -> None:
        if self.long not in METHODS:
            raise ConfigError(f"long is {self.long!r}; choose from {', '.join(METHODS)}")
        for name in ("sentences", "max_words", "max_new_tokens", "seed", "faithful"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ConfigError(f"{name} is {value!r}; give a whole number of 0 or more")
        if not 0 <= self.temperature <= 5:
            raise ConfigError(f"temperature is {self.temperature!r}; give a number from 0 to 5")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p!r}; give a number above 0 and at most 1")


def shorten(text: str, sentences: int = 0, max_words: int = 0) -> str:
    """The first `sentences` sentences of `text` within `max_words` words (0: no limit).

    The word limit ends the text after a whole sentence where one fits, else after a whole word.
    """
    spans = sentence_spans(text)
    if sentences and len(spans) > sentences:
        text = text[: spans[sentences - 1][1]]
    words = word_spans(text) if max_words else []
    if len(words) <= max_words:
        return text
    cut = words[max_words][1]  # where the first word too many begins
    whole = [end for _, end in spans if end <= cut]
    return text[: whole[-1]] if whole else _OPENING.sub("", text[:cut])
