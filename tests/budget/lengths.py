"""Examples that have lengths only, for tests of batches, memory and time."""

from __future__ import annotations

from common.budget.workload import stand_ins
from common.types import EncodedExample


def encoded(lengths: list[tuple[int, int]]) -> list[EncodedExample]:
    """Examples of (tokens, target rows)."""
    return stand_ins(lengths)
