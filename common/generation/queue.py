"""Which prompts are generated together: the longest first, and the next ones in the place of those that are done.

Knows lengths only. Refilling a batch whose texts end at different lengths keeps its rows at work (continuous
batching, Yu et al. 2022, Orca).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from common.engine import GenerationSpec

REFILL_SHARE = 0.875  # prompts join a batch once no more than this share of its rows is still running
GROWTH = 1.25  # a batch gets more rows, for which its cache is copied, when there is room for so many times as many


class PromptQueue:
    """Prompts that wait, longest first; their indices are handed out as rows of a running batch become free."""

    def __init__(self, lengths: Sequence[int], indices: Collection[int], spec: GenerationSpec) -> None:
        """`lengths` in tokens of all prompts, `indices` of those that are to be generated."""
        self._lengths = lengths
        self._spec = spec
        self._waiting = deque(sorted(indices, key=lambda index: (-lengths[index], index)))
        self.rows = 0  # that the batch may have now

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, running: Collection[int]) -> list[int]:
        """Indices of the prompts that join the running ones now; none while too few rows are free.

        Of a batch, rows x (longest prompt + new tokens) stays within `max_batch_tokens`, one row excepted.
        """
        if not self._waiting:
            return []
        room = rows_within(self.width([*running, self._waiting[0]]), self._spec)
        if not running or room >= GROWTH * self.rows:
            self.rows = room
        free = self.rows - len(running)
        if free < 1 or len(running) > REFILL_SHARE * self.rows:
            return []
        return [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]

    def width(self, indices: Collection[int]) -> int:
        """Positions that the longest of these prompts and its new tokens take."""
        return max(self._lengths[index] for index in indices) + self._spec.max_new_tokens


def rows_within(width: int, spec: GenerationSpec) -> int:
    """How many rows of `width` positions are generated together, all beams of a prompt being rows; at least one."""
    return max(1, min(spec.max_batch_rows, spec.max_batch_tokens // (width * spec.beams)))


def group_prompts(lengths: Sequence[int], spec: GenerationSpec) -> list[list[int]]:
    """Indices of prompts that are generated together to their end, longest first, so that the largest batch is the
    first one."""
    queue = PromptQueue(lengths, range(len(lengths)), spec)
    groups = []
    while queue:
        groups.append(queue.take([]))
    return groups
