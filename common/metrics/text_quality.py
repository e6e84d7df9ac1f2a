"""What can be said of a summary without its document: length, sentences, repetition, emptiness.

Words are those of `tokens`, in any script. Knows nothing of why generation stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError
from common.metrics.sentences import sentence_spans
from common.metrics.tokens import count_words, words

MEASURES = ("words", "length_ratio", "sentences", "repeated_3grams", "longest_repeat", "empty")


def text_quality(predictions: Sequence[str], references: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Per-example measures, arrays of shape (examples,).

    words             words of the prediction
    length_ratio      words of the prediction for each word of the reference; NaN where the reference has none
    sentences         sentences of the prediction
    repeated_3grams   percent of its 3-grams that stood there before; 0 below three words
    longest_repeat    how often its most repeated run of one to four words occurs back to back (1: no repetition)
    empty             1 where the prediction has no word, else 0

    Raises DataError when the two lists differ in length.
    """
    if len(predictions) != len(references):
        raise DataError(f"{len(predictions)} predictions for {len(references)} references: pair them one to one")
    rows = []
    for prediction, reference in zip(predictions, references, strict=True):
        found = words(prediction)
        reference_words = count_words(reference)
        rows.append(
            (
                len(found),
                len(found) / reference_words if reference_words else float("nan"),
                len(sentence_spans(prediction)) if found else 0,
                repeated_ngrams(found, 3),
                longest_repeat(found),
                not found,
            )
        )
    table = np.array(rows, dtype=float).reshape(len(rows), len(MEASURES))
    return {name: table[:, column] for column, name in enumerate(MEASURES)}


def repeated_ngrams(words: Sequence[str], n: int) -> float:
    """Percent of the n-grams that occurred earlier in the same text (0 where there are none)."""
    ngrams = list(zip(*(words[offset:] for offset in range(n)), strict=False))
    return 100 * (1 - len(set(ngrams)) / len(ngrams)) if ngrams else 0.0


def longest_repeat(words: Sequence[str], longest_run: int = 4) -> int:
    """How often the most repeated run of up to `longest_run` words stands back to back: 3 for `so so so`, 0 for none.

    A generation that does not stop usually ends in such a loop.
    """
    most = min(1, len(words))
    for length in range(1, longest_run + 1):
        same = 0
        for place in range(length, len(words)):
            same = same + 1 if words[place] == words[place - length] else 0
            most = max(most, same // length + 1)
    return most
