"""Which words of a summary its reference lacks, and which stretches the document holds word for word.

Words count as equal when the ROUGE scorer takes them for equal (same tokenizer, same stems), so that what is coloured
is what the score counts. Copied stretches are the fragments of `common.metrics.abstractiveness`. Knows nothing of HTML.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from common.metrics.abstractiveness import copied_spans
from common.metrics.tokens import Tokenizer, word_spans

Range = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """A stretch of text and the marks on it: `different`, `copied`, `unsupported`; `note` explains a mark."""

    text: str
    marks: tuple[str, ...] = ()
    note: str = ""


def different_ranges(text: str, other: str, tokenizer: Tokenizer) -> list[Range]:
    """Words of `text` that `other` lacks, neighbours joined; a word of `other` is used up once, as in ROUGE-1."""
    left = Counter(key for key, _, _ in _comparable(other, tokenizer))
    found: list[Range] = []
    before_differs = False
    for key, start, end in _comparable(text, tokenizer):
        differs = left[key] <= 0
        left[key] -= 1
        if differs and before_differs:
            found[-1] = (found[-1][0], end)
        elif differs:
            found.append((start, end))
        before_differs = differs
    return found


def _comparable(text: str, tokenizer: Tokenizer) -> list[tuple[object, int, int]]:
    """(key, start, end) of each word; a word the scorer ignores (a foreign script) is its own key."""
    return [(tuple(tokenizer.ids(word)) or word, start, end) for word, start, end in word_spans(text)]


def copied_ranges(summary: str, document: str) -> tuple[list[Range], list[Range]]:
    """Runs of at least three words that both hold: where in the summary, and where first in the document."""
    copied = copied_spans(document, summary)
    words = word_spans(document)
    text = [word for word, _, _ in words]
    sources = []
    for start, end in copied:
        fragment = [word for word, _, _ in word_spans(summary[start:end])]
        place = _find(fragment, text)
        if place >= 0:
            sources.append((words[place][1], words[place + len(fragment) - 1][2]))
    return copied, sources


def _find(fragment: Sequence[str], words: Sequence[str]) -> int:
    """Place of the first occurrence of `fragment` in `words`, -1 where there is none."""
    length = len(fragment)
    return next((i for i, word in enumerate(words) if word == fragment[0] and words[i : i + length] == fragment), -1)


def cut_into_pieces(text: str, marked: Iterable[tuple[Range, str, str]]) -> list[Piece]:
    """`text` cut where marks begin and end; a mark is (range, name, note) and ranges may overlap.

    The pieces joined are the text.
    """
    spans = list(marked)
    borders = sorted({0, len(text), *(edge for span, _, _ in spans for edge in span if edge <= len(text))})
    pieces = []
    for start, end in pairwise(borders):
        here = [(name, note) for (low, high), name, note in spans if low <= start and end <= high]
        names = tuple(sorted({name for name, _ in here}))
        pieces.append(Piece(text[start:end], names, "; ".join(note for _, note in here if note)))
    return pieces
