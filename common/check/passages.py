"""Documents and summaries in pieces whose offsets are known."""

from __future__ import annotations

from collections.abc import Iterator

from common.metrics.sentences import sentence_spans

Span = tuple[int, int]


def windows(spans: list[Span], size: int) -> Iterator[Span]:
    """Every run of `size` neighboring spans as one span; one span over all where there are fewer."""
    for first in range(max(1, len(spans) - size + 1) if spans else 0):
        yield spans[first][0], spans[min(first + size, len(spans)) - 1][1]


def passages(document: str, size: int) -> list[Span]:
    """The windows of `size` sentences of a document, in order, each moved on by one sentence."""
    return list(windows(sentence_spans(document), size))
