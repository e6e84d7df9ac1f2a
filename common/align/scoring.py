"""How good a sampled summary is: ROUGE against the reference, less what it is too long and what its document lacks.

Knows nothing of models or pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.metrics.faithfulness import faithfulness
from common.metrics.rouge import rouge_scores
from common.metrics.tokens import count_words
from common.types import Example


@dataclass(frozen=True)
class Reward:
    """The terms of a summary's score.

    target_words    words up to which a summary is not too long
    length_weight   loss of score for each further `target_words` words
    support_weight  loss of score for each number, date, name or quote that the document does not hold
    """

    target_words: int
    length_weight: float
    support_weight: float

    def score(self, summaries: Sequence[str], examples: Sequence[Example]) -> NDArray[np.float64]:
        """Score of each summary of the example at its place, shape (summaries,); at most 1.

        The mean of ROUGE-1, -2 and -L (F, 0 to 1, best reference), less both penalties.
        """
        if not summaries:
            return np.zeros(0)
        rouge = rouge_scores(summaries, [example.all_references for example in examples])
        overlap = np.mean([rouge.fmeasure[name] for name in ("rouge1", "rouge2", "rougeL")], axis=0) / 100
        words = np.array([count_words(summary) for summary in summaries])
        excess = np.maximum(0.0, words / self.target_words - 1.0)
        claims = faithfulness([example.document for example in examples], summaries)["unsupported"]
        score: NDArray[np.float64] = overlap - self.length_weight * excess - self.support_weight * claims
        return score


def typical_words(examples: Sequence[Example]) -> int:
    """Median length of the reference summaries in words, at least 1."""
    return max(1, round(float(np.median([count_words(example.summary) for example in examples]))))
