"""The checker `rules`: numbers, dates, names and quotations that the document does not hold."""

from __future__ import annotations

from collections.abc import Sequence

from common.check.overlap import DocumentWords
from common.check.support import Checked, DocumentSummary, SentenceSupport
from common.metrics.faithfulness import unsupported_claims
from common.metrics.sentences import sentence_spans


class Rules:
    """Surface rules alone. What they do not mark may still be false: other checkers build on them."""

    name = "rules"
    default_threshold = 0.5

    def check(self, items: Sequence[DocumentSummary]) -> list[Checked]:
        """Support 1 for a sentence without an unsupported claim, 1 / (1 + claims) / 2 for others."""
        return [_checked(item) for item in items]


def _checked(item: DocumentSummary) -> Checked:
    document = DocumentWords(item.document)
    starts = [claim.start for claim in unsupported_claims(item.document, item.summary)]
    sentences = []
    for start, end in sentence_spans(item.summary):
        claims = sum(start <= place < end for place in starts)
        support = 1.0 if not claims else 0.5 / (1 + claims)
        sentences.append(SentenceSupport(start, end, support, document.evidence(item.summary[start:end])))
    return Checked(tuple(sentences))
