"""The checker `built-in`: how much of a sentence the document holds, and which of its claims it does not.

Needs nothing but the two texts and takes milliseconds. It sees what a summary adds to its document: words, names,
numbers, quotations. It does not see who did what to whom: two true things in a wrong relation pass. How well it tells
on the data at hand is measured with planted errors and stands beside every figure (`common/check/calibration.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from common.check.overlap import DocumentWords
from common.check.support import Checked, DocumentSummary, SentenceSupport
from common.metrics.faithfulness import unsupported_claims
from common.metrics.sentences import sentence_spans

# Log odds of support = INTERCEPT - MISSING * missing share - CLAIMS * log(1 + claims), fitted on planted errors in the
# demo corpus, SciTLDR and DialogSum (python -m benchmarks.fit_checker), shifted so that 0.5 separates best there.
INTERCEPT = 0.92
MISSING = 2.83
CLAIMS = 3.63


class BuiltIn:
    """Overlap and rules together."""

    name = "built-in"
    default_threshold = 0.5

    def check(self, items: Sequence[DocumentSummary]) -> list[Checked]:
        """One result for each item; documents that follow each other and are equal are read once."""
        results: list[Checked] = []
        words, last = DocumentWords(""), ""
        for item in items:
            if item.document != last:
                words, last = DocumentWords(item.document), item.document
            results.append(_checked(words, item))
        return results


def _checked(words: DocumentWords, item: DocumentSummary) -> Checked:
    starts = [claim.start for claim in unsupported_claims(item.document, item.summary)]
    sentences = []
    for start, end in sentence_spans(item.summary):
        text = item.summary[start:end]
        claims = sum(start <= place < end for place in starts)
        support = sentence_support(words.missing(text), claims)
        sentences.append(SentenceSupport(start, end, support, words.evidence(text)))
    return Checked(tuple(sentences))


def sentence_support(missing: float, claims: int) -> float:
    """Support in (0, 1) of a sentence of whose words the share `missing` is not in the document, with so many
    unsupported claims.
    """
    return 1.0 / (1.0 + math.exp(MISSING * missing + CLAIMS * math.log1p(claims) - INTERCEPT))
