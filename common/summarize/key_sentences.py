"""Which sentences of a long text to keep when it must be read in fewer tokens: central ones, and early ones.

Centrality is continuous LexRank (Erkan and Radev 2004): the stationary distribution of a walk between sentences by
the cosine of their TF-IDF vectors, damping 0.85. Pure numpy; knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.metrics.tokens import words

Scores = NDArray[np.float64]

# Best mean ROUGE-1 recall of 0, 0.5, 1, 2 and 4 on news (benchmarks/results/key_sentences.json).
POSITION_WEIGHT = 2.0
BLOCK = 1000  # sentences compared with each other at once, which bounds memory on texts of any length
_DAMPING = 0.85
_STEPS = 30


def key_sentences(sentences: Sequence[str], tokens: Sequence[int], room: int) -> list[int]:
    """Positions, in order, of the best sentences that together have at most `room` tokens.

    A sentence that does not fit is passed over for one that does. Empty only where no sentence fits.
    """
    ranked = np.argsort(-sentence_scores(sentences), kind="stable")
    chosen, left = [], room
    for position in ranked.tolist():
        if tokens[position] <= left:
            chosen.append(position)
            left -= tokens[position]
    return sorted(chosen)


def sentence_scores(sentences: Sequence[str]) -> Scores:
    """How much each sentence stands for its text, shape (sentences,): centrality and earliness, both standardised."""
    if not sentences:
        return np.zeros(0)
    blocks = [lexrank(sentences[start : start + BLOCK]) for start in range(0, len(sentences), BLOCK)]
    centrality = np.concatenate([block * len(block) for block in blocks])
    earliness = 1.0 / np.sqrt(1.0 + np.arange(len(sentences)))
    return _standardised(centrality) + POSITION_WEIGHT * _standardised(earliness)


def lexrank(sentences: Sequence[str]) -> Scores:
    """Stationary distribution over the sentences, shape (sentences,), sum 1."""
    vectors = _tf_idf(sentences)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, 0.0)
    sums = similarity.sum(1, keepdims=True)
    count = len(sentences)
    walk = np.where(sums > 0, similarity / np.where(sums > 0, sums, 1.0), 1.0 / count)
    rank = np.full(count, 1.0 / count)
    for _ in range(_STEPS):
        rank = (1.0 - _DAMPING) / count + _DAMPING * (rank @ walk)
    return rank


def _tf_idf(sentences: Sequence[str]) -> Scores:
    """Rows of length 1 (0 for sentences without words), shape (sentences, vocabulary)."""
    rows = [words(sentence) for sentence in sentences]
    vocabulary = {word: column for column, word in enumerate(dict.fromkeys(word for row in rows for word in row))}
    counts = np.zeros((len(sentences), max(1, len(vocabulary))))
    for row, found in enumerate(rows):
        np.add.at(counts[row], [vocabulary[word] for word in found], 1.0)
    weighted = counts * np.log((1.0 + len(sentences)) / (1.0 + (counts > 0).sum(0)))
    lengths = np.linalg.norm(weighted, axis=1, keepdims=True)
    return weighted / np.where(lengths > 0, lengths, 1.0)


def _standardised(values: Scores) -> Scores:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)
