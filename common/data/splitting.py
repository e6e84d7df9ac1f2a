"""Making the splits that a source does not bring, by a hash of seed and document.

So added rows do not move the others, and equal documents stay together. Knows nothing of files.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from common.data.duplicates import exact_key
from common.data.report import ReportBuilder
from common.errors import DataError
from common.types import Example

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
WHOLE = "all"  # the key of a source that has no splits of its own
Sets = dict[str, list[Example]]


def complete_splits(sets: Sets, fraction: float, seed: int, report: ReportBuilder) -> Sets:
    """Make the splits that the source does not bring: all three from one file, dev (and test) from train."""
    if WHOLE in sets:
        return _carve(sets[WHOLE], ("dev", "test"), fraction, seed, report, "one file")
    if "train" in sets and "dev" not in sets:
        made: tuple[Split, ...] = ("dev",) if "test" in sets else ("dev", "test")
        return {**sets, **_carve(sets["train"], made, fraction, seed, report, "train")}
    return sets


def _carve(
    examples: list[Example], names: tuple[Split, ...], fraction: float, seed: int, report: ReportBuilder, what: str
) -> Sets:
    """Take a share `fraction` of the examples for each of `names`, chosen by the hash of seed and document."""
    if fraction * len(names) >= 1:
        raise DataError(
            f"--dev-fraction {fraction} for each of {' and '.join(names)} leaves nothing to train on; use a smaller one"
        )
    if len(examples) <= len(names):
        report.note(f"too few examples ({len(examples)}) for a {' and a '.join(names)} set; all go to train")
        return {"train": examples, **{name: [] for name in names}}
    sets: Sets = {name: [] for name in ("train", *names)}
    places = [_place(example.document, seed) for example in examples]
    for example, place in zip(examples, places, strict=True):
        name: str = next((name for number, name in enumerate(names, 1) if place < number * fraction), "train")
        sets[name].append(example)
    if fraction:
        _fill_empty(sets, seed)
    counts = ", ".join(f"{len(sets[name])} {name}" for name in ("train", *names))
    report.note(f"{' and '.join(names)} made from {what} by seed {seed}: {counts}")
    return sets


def _fill_empty(sets: Sets, seed: int) -> None:
    """A source too small for its shares still gives one example to each set."""
    for name in sets:
        if not sets[name]:
            donor = max(sets, key=lambda split: len(sets[split]))
            moved = min(sets[donor], key=lambda example: _place(example.document, seed))
            sets[donor].remove(moved)
            sets[name].append(moved)


def _place(document: str, seed: int) -> float:
    """A number in [0, 1) drawn by hash, the same for equal documents."""
    digest = hashlib.sha256(f"{seed}:".encode() + exact_key(document)).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
