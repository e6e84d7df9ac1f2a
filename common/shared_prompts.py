"""What prompts that are run together have in common, so that it is run once. Knows token ids only."""

from __future__ import annotations

from collections.abc import Sequence

LEAST_SHARED = 16  # a shorter beginning is not worth a run of its own


def distinct_prompts(prompts: Sequence[Sequence[int]]) -> tuple[list[Sequence[int]], list[int]]:
    """The prompts without repetitions, in order, and for each prompt the place of its equal among them."""
    places: dict[tuple[int, ...], int] = {}
    index = [places.setdefault(tuple(prompt), len(places)) for prompt in prompts]
    return list(places), index


def shared_beginning(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all prompts have in common, at least one being left to each; 0 where too few to count."""
    if len(prompts) < 2:
        return 0
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))  # all others lie between these two in order
    room = min(len(prompt) for prompt in prompts) - 1
    shared = next((place for place in range(room) if first[place] != last[place]), room)
    return shared if shared >= LEAST_SHARED else 0
