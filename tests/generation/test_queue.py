"""Prompts are handed out once each, longest first, within both limits, as rows become free."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from common.engine import GenerationSpec
from common.generation.queue import REFILL_SHARE, PromptQueue, group_prompts

SPEC = GenerationSpec(max_new_tokens=8)


def test_groups_hold_every_prompt_once_within_both_limits() -> None:
    lengths = [5, 90, 30, 30, 7, 1, 60, 2]
    spec = replace(SPEC, max_batch_rows=3, max_batch_tokens=150)
    groups = group_prompts(lengths, spec)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) <= 3
        assert len(group) == 1 or len(group) * (max(lengths[i] for i in group) + 8) <= 150
    assert [lengths[i] for group in groups for i in group] == sorted(lengths, reverse=True)
    assert groups[0] == [1], "98 tokens leave no room for a second row in 150"


def test_beams_are_rows() -> None:
    spec = replace(SPEC, max_batch_rows=8, max_batch_tokens=120)
    assert [len(group) for group in group_prompts([2] * 6, spec)] == [6]
    assert [len(group) for group in group_prompts([2] * 6, replace(spec, beams=4))] == [3, 3]


def test_prompts_join_when_enough_rows_are_free_and_the_batch_stays_within_its_limits() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 300, 200).tolist()
    spec = replace(SPEC, max_batch_rows=16, max_batch_tokens=1500)
    queue = PromptQueue(lengths, [index for index in range(200) if index % 7], spec)
    taken: list[int] = []
    running: list[int] = []
    refills = 0
    while queue or running:
        new = queue.take(running)
        if new:
            refills += bool(running)
            assert len(running) <= REFILL_SHARE * queue.rows
            running += new
            assert len(running) * queue.width(running) <= 1500 or len(running) == 1
            assert len(running) <= 16
            taken += new
        elif queue:
            assert len(running) > REFILL_SHARE * queue.rows
        running.pop(int(generator.integers(len(running))))
    assert sorted(taken) == [index for index in range(200) if index % 7]
    assert [lengths[index] for index in taken] == sorted((lengths[index] for index in taken), reverse=True)
    assert refills > 20
    assert queue.rows == 16, "rows that are shorter leave room for more of them"


def test_nothing_waits_for_a_prompt_that_is_too_long_for_the_limits() -> None:
    queue = PromptQueue([4000, 3], range(2), replace(SPEC, max_batch_tokens=100))
    assert queue.take([]) == [0]
    assert queue.take([0]) == []
    assert queue.take([]) == [1]
    assert queue.take([]) == []
