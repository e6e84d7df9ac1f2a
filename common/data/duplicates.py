"""Exact and near duplicates of documents, within a set and between two sets.

Exact: equal but for case and white space. Near: the sets of three-word shingles overlap by at least `SIMILARITY`
(Jaccard). Candidates come from MinHash signatures in locality-sensitive buckets (Broder 1997; Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, chapter 3), and each is then checked exactly. The same texts give the same
answer in every process. Knows nothing of examples, splits or what is done about duplicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.metrics.tokens import words

SIMILARITY = 0.8
SHINGLE = 3
BANDS, ROWS = 20, 5  # a pair at 0.8 is missed with probability (1 - 0.8**5)**20 = 0.0004
MAX_CHARACTERS = 200_000  # near duplicates are judged on this much of a document
_CHECKED = 16  # candidates checked exactly, the most alike first: bounds the time on texts made from one template
_CHUNK = 2048
_SEED = 20_200_215

Hashes = NDArray[np.uint32]


@dataclass(frozen=True)
class Sketch:
    """What is kept of a document for comparison.

    key        equal for documents that differ only in case and white space
    shingles   sorted distinct hashes of its runs of SHINGLE words
    signature  their MinHash signature, shape (BANDS * ROWS,)
    """

    key: bytes
    shingles: Hashes
    signature: Hashes


@dataclass(frozen=True)
class Match:
    """Document `index` repeats document `of`; `exact` but for case and white space, else by `similarity`."""

    index: int
    of: int
    exact: bool
    similarity: float


def exact_key(document: str) -> bytes:
    """Equal for documents that differ only in case and white space."""
    text = " ".join(document.casefold().split())
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def sketch(documents: Sequence[str]) -> list[Sketch]:
    """Sketches of documents, in order; about 0.2 ms each."""
    word_hashes = _WordHashes()
    sketches: list[Sketch] = []
    for start in range(0, len(documents), _CHUNK):
        chunk = documents[start : start + _CHUNK]
        shingles = [_shingles(document, word_hashes) for document in chunk]
        sketches += map(Sketch, map(exact_key, chunk), shingles, _signatures(shingles))
    return sketches


def find_duplicates(sketches: Sequence[Sketch]) -> list[Match]:
    """Documents that repeat an earlier one that is not itself listed: dropping those listed leaves no pair."""
    matches = []
    keys: dict[bytes, int] = {}
    index = _Index()
    for number, item in enumerate(sketches):
        earlier = keys.setdefault(item.key, number)
        match = Match(number, earlier, True, 1.0) if earlier != number else index.nearest(number, item)
        if match:
            matches.append(match)
        else:
            index.add(number, item)
    return matches


def find_leaks(sketches: Sequence[Sketch], held_out: Sequence[Sketch]) -> list[Match]:
    """Documents that repeat a held-out one; `of` counts in `held_out`."""
    keys = {item.key: number for number, item in reversed(list(enumerate(held_out)))}
    index = _Index()
    for number, item in enumerate(held_out):
        index.add(number, item)
    matches = []
    for number, item in enumerate(sketches):
        earlier = keys.get(item.key)
        match = Match(number, earlier, True, 1.0) if earlier is not None else index.nearest(number, item)
        if match:
            matches.append(match)
    return matches


class _Index:
    """Sketches in buckets: two that agree on all rows of a band share one."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, bytes], list[int]] = {}
        self._numbers: list[int] = []
        self._shingles: list[Hashes] = []
        self._signatures = np.empty((64, BANDS * ROWS), dtype=np.uint32)

    def add(self, number: int, item: Sketch) -> None:
        position = len(self._numbers)
        if position == len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.empty_like(self._signatures)])
        self._signatures[position] = item.signature
        self._numbers.append(number)
        self._shingles.append(item.shingles)
        for key in _bucket_keys(item.signature):
            self._buckets.setdefault(key, []).append(position)

    def nearest(self, number: int, item: Sketch) -> Match | None:
        """The most similar document in the index, if it reaches SIMILARITY."""
        if not len(item.shingles):
            return None
        found = {p for key in _bucket_keys(item.signature) for p in self._buckets.get(key, ())}
        if not found:
            return None
        positions = np.array(sorted(found))
        # Signatures estimate the overlap with a standard error of 0.04 at 0.8: far fewer exact checks are left.
        estimates = (self._signatures[positions] == item.signature).mean(axis=1)
        likely = np.argsort(-estimates, kind="stable")[:_CHECKED]
        best: Match | None = None
        for position in positions[likely[estimates[likely] >= SIMILARITY - 0.2]]:
            similarity = _jaccard(self._shingles[position], item.shingles)
            if similarity >= SIMILARITY and (best is None or similarity > best.similarity):
                best = Match(number, self._numbers[position], False, similarity)
        return best


def _bucket_keys(signature: Hashes) -> Iterator[tuple[int, bytes]]:
    data, width = signature.tobytes(), ROWS * signature.itemsize
    return ((band, data[band * width : (band + 1) * width]) for band in range(BANDS))


def _jaccard(a: Hashes, b: Hashes) -> float:
    union = len(np.union1d(a, b))
    return (len(a) + len(b) - union) / union


class _WordHashes(dict[str, int]):
    """64-bit hashes by word, the same in every process; each word is hashed once."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
        value = self[word] = int.from_bytes(digest, "little")
        return value


def _shingles(document: str, word_hashes: _WordHashes) -> Hashes:
    """Sorted distinct hashes of the document's runs of SHINGLE words; a shorter document is one run."""
    found = words(document[:MAX_CHARACTERS])
    hashes = np.fromiter(map(word_hashes.__getitem__, found), dtype=np.uint64, count=len(found))
    width = min(SHINGLE, len(hashes))
    if not width:
        return np.empty(0, dtype=np.uint32)
    count = len(hashes) - width + 1
    mixed = np.zeros(count, dtype=np.uint64)
    for offset in range(width):
        mixed = (mixed ^ hashes[offset : offset + count]) * np.uint64(0x9E3779B97F4A7C15)  # wraps modulo 2**64
        mixed ^= mixed >> np.uint64(29)
    return np.unique((mixed >> np.uint64(32)).astype(np.uint32))


def _signatures(shingles: Sequence[Hashes]) -> Hashes:
    """MinHash signatures, shape (documents, BANDS * ROWS): the least of each affine image of the shingles."""
    random = np.random.default_rng(_SEED)
    multipliers = random.integers(1, 2**63, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = random.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64)
    signatures = np.zeros((len(shingles), BANDS * ROWS), dtype=np.uint32)
    filled = [number for number, found in enumerate(shingles) if len(found)]
    if not filled:
        return signatures
    together = np.concatenate([shingles[number] for number in filled]).astype(np.uint64)
    starts = np.cumsum([0, *(len(shingles[number]) for number in filled[:-1])])
    for column in range(BANDS * ROWS):
        images = together * multipliers[column] + offsets[column]
        signatures[filled, column] = np.minimum.reduceat(images, starts) >> np.uint64(32)
    return signatures
