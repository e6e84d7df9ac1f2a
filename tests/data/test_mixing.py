"""Concise examples mixed in at a share: exact counts, order kept, nothing repeated, the same for the same seed."""

import pytest

from common.data.mixing import mix_concise
from common.types import Example


def examples(concise, others):
    short = [Example(f"c{i}", "document", "three short words") for i in range(concise)]
    long = [Example(f"o{i}", "document", "word " * 20) for i in range(others)]
    return [item for pair in zip(short, long, strict=False) for item in pair] + short[others:] + long[concise:]


@pytest.mark.parametrize(
    ("concise", "others", "share", "expected"),
    [
        (20, 80, 0.5, (20, 20)),
        (80, 20, 0.5, (20, 20)),
        (10, 90, 0.25, (10, 30)),
        (10, 90, 1.0, (10, 0)),
        (0, 9, 0.5, (0, 0)),
    ],
)
def test_as_many_examples_as_the_share_allows(concise, others, share, expected):
    given = examples(concise, others)
    mixed = mix_concise(given, share, 10, seed=0)
    counts = sum(e.id.startswith("c") for e in mixed), sum(e.id.startswith("o") for e in mixed)
    assert counts == expected
    assert len({e.id for e in mixed}) == len(mixed)
    assert [e.id for e in given if e in mixed] == [e.id for e in mixed]
    assert mixed == mix_concise(given, share, 10, seed=0)


def test_another_seed_leaves_out_others_and_share_0_keeps_all():
    given = examples(20, 80)
    assert mix_concise(given, 0.5, 10, seed=1) != mix_concise(given, 0.5, 10, seed=2)
    assert mix_concise(given, 0.0, 10, seed=1) == given


def test_a_summary_of_exactly_the_limit_is_concise():
    given = [Example("a", "d", "one two three"), Example("b", "d", "one two three four")]
    assert [e.id for e in mix_concise(given, 1.0, 3, seed=0)] == ["a"]
