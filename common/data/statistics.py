"""Figures about a data set that decide how it can be trained on: lengths, what would be cut, compression, novelty.

Lengths are in words, and in tokens where a prompt format (template and tokenizer) is given. Knows nothing of files,
printing or plotting.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.metrics.tokens import count_words
from common.types import Example

if TYPE_CHECKING:
    from common.data.prompts import PromptFormat

BINS = 24
NOVELTY_SAMPLE = 2000  # examples, evenly spaced: novel n-grams take about 1 ms each
NOVELTY_CHARACTERS = 100_000  # of a document that are searched for a summary's n-grams
DOCUMENT_PERCENTILE, SUMMARY_PERCENTILE = 95, 99
_CHUNK = 2048


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths. `edges` has one entry more than `counts`; the last bin takes everything above."""

    mean: float
    median: float
    p95: float
    p99: float
    max: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Fit:
    """What a length limit does to a split; shares are of its examples.

    cut_examples     share whose document is cut, cut_tokens the share of all document tokens that is lost
    long_summaries   share left out of training because the summary exceeds its own limit
    """

    template: str
    max_length: int
    overhead_tokens: int
    cut_examples: float
    cut_tokens: float
    long_summaries: float


@dataclass(frozen=True)
class SplitStatistics:
    """Figures of one split. Compression is document words per summary word; novelty is the share of a summary's
    distinct n-grams (n = 1 to 4) that its document does not hold, in percent."""

    examples: int
    references_per_example: float
    document_words: Lengths
    summary_words: Lengths
    compression_mean: float
    compression_median: float
    novel_ngrams: dict[str, float]
    document_tokens: Lengths | None = None
    summary_tokens: Lengths | None = None
    fit: Fit | None = None


@dataclass(frozen=True)
class Recommendation:
    """Lengths, in tokens, that keep 95 % of documents whole and 99 % of summaries in training."""

    max_document_tokens: int
    max_summary_tokens: int
    max_length: int


def describe(splits: Mapping[str, Sequence[Example]], form: PromptFormat | None = None) -> dict[str, SplitStatistics]:
    """Statistics of every split that holds examples; with a prompt format also in tokens."""
    return {name: describe_split(examples, form) for name, examples in splits.items() if examples}


def describe_split(examples: Sequence[Example], form: PromptFormat | None = None) -> SplitStatistics:
    """Statistics of a split of at least one example."""
    documents = np.array([count_words(example.document) for example in examples])
    summaries = np.array([count_words(example.summary) for example in examples])
    compression = documents / np.maximum(summaries, 1)
    statistics = SplitStatistics(
        examples=len(examples),
        references_per_example=float(np.mean([len(example.all_references) for example in examples])),
        document_words=lengths(documents),
        summary_words=lengths(summaries),
        compression_mean=float(compression.mean()),
        compression_median=float(np.median(compression)),
        novel_ngrams=novelty(examples),
    )
    if form is None:
        return statistics
    document_tokens, summary_tokens = token_counts(examples, form)
    return dataclasses.replace(
        statistics,
        document_tokens=lengths(document_tokens),
        summary_tokens=lengths(summary_tokens),
        fit=fit_of(document_tokens, summary_tokens, form),
    )


def lengths(values: NDArray[np.int64]) -> Lengths:
    """Summary figures and a histogram with bins of equal, round width from the least to the 99th percentile."""
    p95, p99 = (float(np.percentile(values, q)) for q in (95, 99))
    width = _round_width((p99 - values.min()) / BINS)
    first = int(values.min() // width)
    edges = width * np.arange(first, int(p99 // width) + 2)
    inside = np.minimum(values, edges[-1] - width / 2)
    counts, _ = np.histogram(inside, edges)
    return Lengths(
        mean=float(values.mean()),
        median=float(np.median(values)),
        p95=p95,
        p99=p99,
        max=int(values.max()),
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def novelty(examples: Sequence[Example]) -> dict[str, float]:
    """Mean percent of novel n-grams over at most NOVELTY_SAMPLE examples; lengths without any value are left out."""
    from common.metrics.abstractiveness import abstractiveness

    chosen = [examples[i] for i in range(0, len(examples), math.ceil(len(examples) / NOVELTY_SAMPLE))]
    documents = [example.document[:NOVELTY_CHARACTERS] for example in chosen]
    measured = abstractiveness(documents, [example.summary[:NOVELTY_CHARACTERS] for example in chosen])
    values = {f"{n}": measured[f"novel_{n}grams"] for n in (1, 2, 3, 4)}
    return {n: float(np.nanmean(found)) for n, found in values.items() if not np.isnan(found).all()}


def token_counts(examples: Sequence[Example], form: PromptFormat) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens of each document, and of each summary with its joining space and EOS."""
    documents: list[int] = []
    summaries: list[int] = []
    for start in range(0, len(examples), _CHUNK):
        part = examples[start : start + _CHUNK]
        documents += map(len, form.tokenizer.encode_texts([example.document.strip() for example in part]))
        summaries += map(len, form.summary_ids([example.summary for example in part]))
    return np.array(documents), np.array(summaries)


def fit_of(documents: NDArray[np.int64], summaries: NDArray[np.int64], form: PromptFormat) -> Fit:
    """What the format's limits cut from documents and leave out, given lengths in tokens."""
    kept = summaries <= form.max_summary_tokens
    room = np.array([form.document_room(int(summary)) for summary in summaries])
    lost = np.where(kept, np.maximum(documents - room, 0), 0)
    return Fit(
        template=form.template.name,
        max_length=form.max_length,
        overhead_tokens=form.overhead,
        cut_examples=float((lost > 0).mean()),
        cut_tokens=float(lost.sum() / max(1, documents.sum())),
        long_summaries=float((~kept).mean()),
    )


def recommend(statistics: SplitStatistics) -> Recommendation | None:
    """Limits from the percentiles, rounded up to multiples that shapes like; None where there are no tokens."""
    if statistics.document_tokens is None or statistics.summary_tokens is None or statistics.fit is None:
        return None
    document = _round_up(statistics.document_tokens.p95, 32)
    summary = _round_up(statistics.summary_tokens.p99, 8)
    return Recommendation(document, summary, _round_up(document + summary + statistics.fit.overhead_tokens, 32))


def to_dict(statistics: Mapping[str, SplitStatistics]) -> dict[str, Any]:
    """Plain values, ready for JSON."""
    return {name: dataclasses.asdict(split) for name, split in statistics.items()}


def _round_up(value: float, multiple: int) -> int:
    return max(multiple, math.ceil(value / multiple) * multiple)


def _round_width(width: float) -> float:
    """The next width of 1, 2, 5 or 10 times a power of ten, at least 1."""
    if width <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(width))
    return next(float(step * power) for step in (1, 2, 5, 10) if step * power >= width)
