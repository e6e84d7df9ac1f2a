"""Longest common subsequences on bit vectors: one integer operation per token in place of a row of a table.

After Hyyrö 2004, "Bit-parallel LCS-length computation revisited". The union of ROUGE-Lsum depends on which of several
longest subsequences is taken; the one that rouge-score takes is found here too. Works on token ids, knows no text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def lcs_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common subsequence, O(len(shorter)) operations on integers of len(longer) bits."""
    shorter, longer = (first, second) if len(first) < len(second) else (second, first)
    places = _places(longer)
    full = (1 << len(longer)) - 1
    row = full  # bit i is 0 where the table grows from i to i + 1
    for token in shorter:
        matches = places.get(token)
        if matches:
            kept = row & matches
            row = ((row + kept) | (row - kept)) & full
    return len(longer) - row.bit_count()


def union_lcs_hits(reference: Sequence[Sequence[int]], candidate: Sequence[Sequence[int]]) -> int:
    """Tokens of the union of each reference sentence's LCS with every candidate sentence, each counted once."""
    left = Counter(token for sentence in candidate for token in sentence)
    hits = 0
    for sentence in reference:
        places = _places(sentence)
        union = 0
        for other in candidate:
            if not places.keys().isdisjoint(other):
                union |= _lcs_positions(places, len(sentence), other)
        while union:
            lowest = union & -union
            token = sentence[lowest.bit_length() - 1]
            union ^= lowest
            if left[token] > 0:
                left[token] -= 1
                hits += 1
    return hits


def _lcs_positions(places: dict[int, int], length: int, candidate: Sequence[int]) -> int:
    """Bit mask of the reference positions in the LCS that rouge-score's back-tracking picks among equals.

    It walks from the end, takes a match wherever it stands on one, and otherwise drops a reference token unless
    that would lose length. Of candidate tokens that match nothing, one in a row is enough for that walk.
    """
    full = (1 << length) - 1
    row = full
    columns: list[tuple[int, int]] = []
    matchable = 0
    in_gap = True
    for token in candidate:
        matches = places.get(token)
        if matches:
            matchable |= matches
            kept = row & matches
            row = ((row + kept) | (row - kept)) & full
            columns.append((matches, row ^ full))
            in_gap = False
        elif not in_gap:
            columns.append((0, row ^ full))
            in_gap = True
    if matchable.bit_count() == length - row.bit_count():
        return matchable  # nothing to choose: every position that matches is in it
    below = full
    picked = 0
    for matches, grows in reversed(columns):
        stops = (matches | grows) & below
        if not stops:
            break
        position = 1 << (stops.bit_length() - 1)
        if matches & position:
            picked |= position
            below = position - 1
        else:
            below = 2 * position - 1
    return picked


def _places(tokens: Sequence[int]) -> dict[int, int]:
    """Bit mask of the positions of each token."""
    places: dict[int, int] = {}
    bit = 1
    for token in tokens:
        places[token] = places.get(token, 0) | bit
        bit <<= 1
    return places
