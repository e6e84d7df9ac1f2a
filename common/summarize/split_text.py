"""A long text in parts that fit, cut where a reader would: between sections, paragraphs, sentences, in that order.

Lengths are whatever the caller counts (tokens of a model). Knows nothing of models or summaries.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from common.metrics.sentences import sentence_spans
from common.metrics.tokens import count_words, word_spans

Count = Callable[[Sequence[str]], list[int]]

SECTION, PARAGRAPH, SENTENCE, WORD = 3, 2, 1, 0
BORDER_WORTH = 0.2  # how far from its ideal place, as a share of a part, a cut may move for the next better border
_SMALLEST_SHARE = 0.5  # of an ideal part
_HEADING_WORDS = 12
_BLANK_LINE = re.compile(r"\n\s*\n")
_LAST_MARK = re.compile(r"[.!?…,;:。！？]['\"”’)\]]*$")


@dataclass(frozen=True)
class Piece:
    """A stretch that is not cut further: its text with the white space after it, its length, the border before it."""

    text: str
    length: int
    border: int


def split_parts(text: str, room: int, count: Count) -> list[str]:
    """`text` in parts of at most `room`, as few and as even as borders allow; joined they are `text`, stripped.

    One part where it fits. A sentence longer than `room` is cut between words, a word longer than it anywhere.
    """
    if room < 1:
        raise ValueError(f"room must be at least 1, not {room}")
    pieces = _pieces(text.strip(), room, count)
    parts: list[str] = []
    start = 0
    left = sum(piece.length for piece in pieces)
    while start < len(pieces):
        end = _end_of_part(pieces, start, left, room)
        left -= sum(piece.length for piece in pieces[start:end])
        parts.append("".join(piece.text for piece in pieces[start:end]))
        start = end
    return [fitting for part in parts for fitting in _checked(part, room, count)]


def _checked(part: str, room: int, count: Count) -> list[str]:
    """The part, halved where it is longer than the sum of its pieces (tokens may merge differently)."""
    if count([part])[0] <= room or len(part) < 2:
        return [part]
    middle = _near_middle(part)
    return [*_checked(part[:middle], room, count), *_checked(part[middle:], room, count)]


def _end_of_part(pieces: Sequence[Piece], start: int, left: int, room: int) -> int:
    """Where the part that begins at `start` ends, `left` being the length from there to the end of the text."""
    if left <= room:
        return len(pieces)
    ideal = left / math.ceil(left / room)
    best_end, best_worth, length = start + 1, -math.inf, 0
    for end in range(start + 1, len(pieces)):
        length += pieces[end - 1].length
        if length > room:
            break
        if length >= _SMALLEST_SHARE * ideal or best_worth == -math.inf:
            worth = BORDER_WORTH * pieces[end].border - abs(length - ideal) / ideal
            if worth > best_worth:
                best_end, best_worth = end, worth
    return best_end


def _pieces(text: str, room: int, count: Count) -> list[Piece]:
    spans = sentence_spans(text)
    starts = [0, *[start for start, _ in spans[1:]], len(text)] if spans else [0, len(text)]
    stretches = [text[start:end] for start, end in pairwise(starts)]
    borders = [SECTION, *[_border(before, after) for before, after in pairwise(stretches)]]
    pieces: list[Piece] = []
    for stretch, length, border in zip(stretches, count(stretches), borders, strict=True):
        if length <= room:
            pieces.append(Piece(stretch, length, border))
            continue
        fragments = _fragments(stretch, room, count)
        lengths = count(fragments)
        pieces += [
            Piece(fragment, size, WORD if index else border)
            for index, (fragment, size) in enumerate(zip(fragments, lengths, strict=True))
        ]
    return pieces


def _border(before: str, after: str) -> int:
    """What lies between two neighbouring stretches, white space included."""
    if not _BLANK_LINE.search(before):
        return SENTENCE
    return SECTION if is_heading(after) else PARAGRAPH


def is_heading(stretch: str) -> bool:
    """Whether a stretch, with the white space after it, looks like a heading: short, alone on its line, no stop."""
    line = stretch.strip()
    if line.startswith("#"):
        return True
    alone = "\n" in stretch[len(stretch.rstrip()) :]
    return alone and 0 < count_words(line) <= _HEADING_WORDS and not _LAST_MARK.search(line) and line[0].isalnum()


def _fragments(stretch: str, room: int, count: Count) -> list[str]:
    """A stretch halved between words until each fragment fits."""
    pending, done = [stretch], []
    while pending:
        lengths = count(pending)
        following: list[tuple[str, int]] = []
        for fragment, length in zip(pending, lengths, strict=True):
            if length <= room or len(fragment) < 2:
                following.append((fragment, 0))
            else:
                middle = _near_middle(fragment)
                following += [(fragment[:middle], 1), (fragment[middle:], 1)]
        if not any(again for _, again in following):
            done = [fragment for fragment, _ in following]
            break
        pending = [fragment for fragment, _ in following]
    return done


def _near_middle(text: str) -> int:
    """The word border nearest to the middle of `text`, the middle itself where there is none; never an end of it."""
    middle = len(text) // 2
    for reach in (200, len(text)):
        first = max(0, middle - reach)
        starts = [first + start for _, start, _ in word_spans(text[first : middle + reach])]
        # The first word of a window may be the rest of one.
        candidates = [place for place in starts if first < place < len(text)]
        if candidates:
            return min(candidates, key=lambda place: abs(place - middle))
    return middle
