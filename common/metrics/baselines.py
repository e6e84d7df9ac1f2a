"""Summaries that need no model: Lead-1, Lead-3, a random sentence, and the extractive oracle.

A tuned model that does not beat the lead has learnt nothing worth running; the oracle is the most that copying whole
sentences can reach. Each is a list of texts, to be scored by the same scorer as a system's predictions.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from common.errors import DataError
from common.metrics.rouge import TokenizedText, tokenize
from common.metrics.sentences import split_sentences
from common.metrics.tokens import Tokenizer, choose_tokenizer

ORACLE_SENTENCES = 3
_TURN = re.compile(r"\s*[^\s:][^:\n]{0,40}:\s")


def document_units(document: str) -> list[str]:
    """The sentences of a document; the turns of a dialogue, one to a line and each with its speaker.

    Published leads on dialogues count turns. A text is a dialogue when at least two lines, and four in five, start
    like `Name: `.
    """
    lines = [line.strip() for line in document.splitlines() if line.strip()]
    turns = sum(1 for line in lines if _TURN.match(line))
    return lines if turns >= 2 and turns >= 0.8 * len(lines) else split_sentences(document)


def lead(documents: Sequence[str], units: int) -> list[str]:
    """The first `units` sentences (turns of a dialogue) of each document, one a line."""
    return ["\n".join(document_units(document)[:units]) for document in documents]


def random_sentence(documents: Sequence[str], seed: int = 0) -> list[str]:
    """One sentence (turn) of each document, drawn by seed and document alone: the same in any order or subset."""
    chosen = []
    for document in documents:
        units = document_units(document)
        digest = hashlib.sha256(f"{seed}\0{document}".encode("utf-8", "surrogatepass")).digest()
        chosen.append(units[int.from_bytes(digest[:8], "big") % len(units)] if units else "")
    return chosen


def extractive_oracle(
    documents: Sequence[str],
    references: Sequence[str | Sequence[str]],
    most_sentences: int = ORACLE_SENTENCES,
    language: str = "",
) -> list[str]:
    """The sentences that greedily raise mean ROUGE-1 and ROUGE-2 F most (Nallapati et al. 2017), one a line.

    At most `most_sentences`, in document order, stopping when none helps; with several references the choice that
    scores best against its own. `language` as for `rouge_scores`. Raises DataError when the two lists differ in length.
    """
    if len(documents) != len(references):
        raise DataError(f"{len(documents)} documents for {len(references)} references: they must be paired one to one")
    groups = [[given] if isinstance(given, str) else list(given) for given in references]
    words = choose_tokenizer((text for group in groups for text in group), language)
    return [
        _oracle(document_units(document), group, words, most_sentences)
        for document, group in zip(documents, groups, strict=True)
    ]


def _oracle(units: list[str], references: list[str], words: Tokenizer, most: int) -> str:
    tokenized = [tokenize(unit, words) for unit in units]
    best_score, best_choice = 0.0, units[:0]
    for reference in references:
        target = words.ids(reference)
        ones, twos = Counter(target), Counter(pairwise(target))
        chosen: list[int] = []
        score = 0.0
        while len(chosen) < most:
            gains = [
                (_score([tokenized[i] for i in sorted([*chosen, unit])], ones, twos), -unit)
                for unit in range(len(units))
                if unit not in chosen
            ]
            best = max(gains, default=(0.0, 0))
            if best[0] <= score:
                break
            score = best[0]
            chosen.append(-best[1])
        if score > best_score:
            best_score, best_choice = score, [units[unit] for unit in sorted(chosen)]
    return "\n".join(best_choice)


def _score(chosen: list[TokenizedText], ones: Counter[int], twos: Counter[tuple[int, int]]) -> float:
    tokens = [token for text in chosen for token in text.flat]
    return _f1(Counter(tokens), ones) + _f1(Counter(pairwise(tokens)), twos)


def _f1(ours: Counter[Any], theirs: Counter[Any]) -> float:
    hits = (ours & theirs).total()
    total = ours.total() + theirs.total()
    return 2 * hits / total if total else 0.0
