"""Documents and summaries in pieces whose offsets are known."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator

from common.check.support import Evidence
from common.metrics.sentences import sentence_spans
from common.metrics.tokens import porter_stem, word_spans

Span = tuple[int, int]
LENGTH_COST = 0.25  # share of a sentence's words that a second sentence must add to make the passage longer
_ENGLISH = """
    a an the and or but nor so as at by for from in into of off on onto out over per than to up upon via with within
    without it its he him his she her hers they them their theirs we us our you your i me my this that these those there
    here who whom whose which what when where why how not no is am are was were be been being has have had having do
    does did will would shall should may might must can could if then because while also too very just more most such
    own same other others s t
"""
_FUNCTION_WORDS = frozenset(_ENGLISH.split())
_SPACE = re.compile(r"\s")


def windows(spans: list[Span], size: int) -> Iterator[Span]:
    """Every run of `size` neighboring spans as one span; one span over all where there are fewer."""
    for first in range(max(1, len(spans) - size + 1) if spans else 0):
        yield spans[first][0], spans[min(first + size, len(spans)) - 1][1]


def passages(document: str, size: int) -> list[Span]:
    """The windows of `size` sentences of a document, in order, each moved on by one sentence."""
    return list(windows(sentence_spans(document), size))


def fitting_passages(document: str, fits: Callable[[str], bool]) -> list[Span]:
    """Runs of whole sentences that `fits` accepts, each as long as can be, in order and without overlap.

    A single sentence that does not fit is cut between words. One span over all where the whole document fits.
    """
    spans = sentence_spans(document)
    if not spans or fits(document[spans[0][0] : spans[-1][1]]):
        return list(windows(spans, len(spans)))
    found: list[Span] = []
    first = 0
    while first < len(spans):
        start = spans[first][0]
        most = _longest_run(document, spans, first, fits)
        found += [(start, spans[most - 1][1])] if most > first else _cut(document, spans[first], fits)
        first = max(most, first + 1)
    return found


def _longest_run(document: str, spans: list[Span], first: int, fits: Callable[[str], bool]) -> int:
    """The end of the longest run of sentences from `first` that fits; `first` where not even one does."""
    low, high = first, first + 1
    while high <= len(spans) and fits(document[spans[first][0] : spans[high - 1][1]]):
        low, high = high, high + max(1, high - first)
    high = min(high, len(spans) + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(document[spans[first][0] : spans[middle - 1][1]]):
            low = middle
        else:
            high = middle
    return low


def _cut(document: str, span: Span, fits: Callable[[str], bool]) -> list[Span]:
    """A span in parts that fit, cut at the white space nearest to the middle, or in the middle where there is none."""
    start, end = span
    if end - start < 2 or fits(document[start:end]):
        return [span]
    middle = (start + end) // 2
    spaces = [match.start() for match in _SPACE.finditer(document, start + 1, end - 1)]
    at = min(spaces, key=lambda place: abs(place - middle), default=middle)
    return [part for half in ((start, at), (at + bool(spaces), end)) for part in _cut(document, half, fits)]


class PassageFinder:
    """A document's sentences, and pairs of neighbors, ranked by the words that they share with a sentence.

    Words are stemmed where they are English, English function words left out, and weighted by log((N + 1) / n) for a
    word in n of N sentences (inverse document frequency, Spärck Jones 1972): names and numbers count most.
    """

    def __init__(self, document: str) -> None:
        self._spans = sentence_spans(document)
        self._words = [_stems(document[start:end]) for start, end in self._spans]
        self._counts = Counter(word for words in self._words for word in words)

    def best(self, sentence: str, count: int = 3) -> list[tuple[Span, float]]:
        """At most `count` passages that share a word, the best first, none over another, each with the share of the
        sentence's word weight that it holds. The earlier of two equally good ones comes first.
        """
        weights = {word: self._weight(word) for word in _stems(sentence)}
        total = sum(weights.values())
        if not total:
            return []
        ranked = []
        for size in (1, 2):
            for first in range(len(self._spans) - size + 1):
                held = set().union(*self._words[first : first + size]).intersection(weights)
                share = sum(weights[word] for word in held) / total
                ranked.append((-(share - LENGTH_COST * (size - 1)), first, size, share))
        chosen: list[tuple[Span, float]] = []
        taken: set[int] = set()
        for _, first, size, share in sorted(ranked):
            places = range(first, first + size)
            if share > 0 and taken.isdisjoint(places) and len(chosen) < count:
                taken.update(places)
                chosen.append(((self._spans[first][0], self._spans[first + size - 1][1]), share))
        return chosen

    def _weight(self, word: str) -> float:
        return math.log((len(self._spans) + 1) / max(1, self._counts[word]))

    def evidence(self, sentence: str, support: float) -> tuple[Evidence, ...]:
        """The best passages of a sentence that a model rated as a whole: none supports it further than `support`."""
        return tuple(Evidence(start, end, min(share, support)) for (start, end), share in self.best(sentence))


def _stems(text: str) -> set[str]:
    stem = porter_stem()
    words = {word for word, _, _ in word_spans(text)} - _FUNCTION_WORDS
    return {stem(word) if word.isascii() and len(word) > 3 else word for word in words}
