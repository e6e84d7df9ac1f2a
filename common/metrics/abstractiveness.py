"""How much of a summary is copied: extractive coverage, density and compression, and novel n-grams.

Grusky, Naaman and Artzi 2018, "Newsroom" (section 4, with the greedy algorithm of its figure 2), and the novel n-grams
of Narayan, Cohen and Lapata 2018. Words are lower-cased, unstemmed, without punctuation, in any script. Knows nothing
of quality: copying is neither good nor bad here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError
from common.metrics.tokens import word_spans, words

MEASURES = ("coverage", "density", "compression", "novel_1grams", "novel_2grams", "novel_3grams", "novel_4grams")


def abstractiveness(documents: Sequence[str], summaries: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Per-example measures, arrays of shape (examples,).

    coverage        percent of summary words that lie in a fragment shared with the document
    density         mean length, in words, of the fragment that a summary word lies in (0 for none)
    compression     words of the document for each word of the summary
    novel_Ngrams    percent of the summary's distinct n-grams that the document does not hold; NaN where the
                    summary has none, as for every measure of an empty summary

    Raises DataError when the two lists differ in length.
    """
    if len(documents) != len(summaries):
        raise DataError(f"{len(summaries)} summaries for {len(documents)} documents: they must be paired one to one")
    rows = [_measure(document, summary) for document, summary in zip(documents, summaries, strict=True)]
    table = np.array(rows, dtype=float).reshape(len(rows), len(MEASURES))
    return {name: table[:, column] for column, name in enumerate(MEASURES)}


def copied_spans(document: str, summary: str, minimum_words: int = 3) -> list[tuple[int, int]]:
    """Offsets (start, end) in the summary of the shared fragments of at least `minimum_words` words, in order."""
    ours = word_spans(summary)
    fragments = shared_fragments(words(document), [word for word, _, _ in ours])
    return [(ours[start][1], ours[start + length - 1][2]) for start, length in fragments if length >= minimum_words]


def shared_fragments(document: Sequence[str], summary: Sequence[str]) -> list[tuple[int, int]]:
    """Greedy longest shared word sequences as (start in the summary, length), in order and disjoint.

    As in Grusky et al., a search that has just matched a run goes on behind that run in the document.
    """
    places: dict[str, list[int]] = {}
    for place, word in enumerate(document):
        places.setdefault(word, []).append(place)
    fragments: list[tuple[int, int]] = []
    start = 0
    while start < len(summary):
        longest = 0
        searched = 0
        for place in places.get(summary[start], ()):
            if place < searched:
                continue
            length = 1
            while (
                start + length < len(summary)
                and place + length < len(document)
                and summary[start + length] == document[place + length]
            ):
                length += 1
            longest = max(longest, length)
            searched = place + length
        if longest:
            fragments.append((start, longest))
        start += max(longest, 1)
    return fragments


def novel_ngrams(document: Sequence[str], summary: Sequence[str], n: int) -> float:
    """Percent of the distinct n-grams of the summary that the document does not hold; NaN for a shorter summary."""
    ours = _ngrams(summary, n)
    return 100 * len(ours - _ngrams(document, n)) / len(ours) if ours else float("nan")


def _measure(document: str, summary: str) -> list[float]:
    source, ours = words(document), words(summary)
    if not ours:
        return [float("nan")] * len(MEASURES)
    lengths = [length for _, length in shared_fragments(source, ours)]
    return [
        100 * sum(lengths) / len(ours),
        sum(length**2 for length in lengths) / len(ours),
        len(source) / len(ours),
        *(novel_ngrams(source, ours, n) for n in (1, 2, 3, 4)),
    ]


def _ngrams(words: Sequence[str], n: int) -> set[tuple[str, ...]]:
    return set(zip(*(words[offset:] for offset in range(n)), strict=False))
