"""Documents and summaries in pieces whose offsets are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from common.metrics.sentences import sentence_spans

Span = tuple[int, int]
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
