"""Sizes that engines and planner share, worked by hand, and those that are a library's."""

import pytest

from common.budget.memory import CACHE_STEP
from common.budget.run_shape import generation_batch
from common.config import resolve
from common.engine import GenerationSpec
from common.engine_base.sizes import chunk_rows, group_size
from common.generation.queue import group_prompts


def test_chunks_shrink_as_the_vocabulary_grows():
    assert chunk_rows(151_936, "mlx") == 96  # 2^24 logits / 151,936 = 110, rounded down to a multiple of 16
    assert chunk_rows(151_936, "cpu") == 48
    assert chunk_rows(151_936, "cuda") == 208
    assert chunk_rows(10**9, "mlx") == 16


def test_the_largest_group_that_divides_a_width_is_taken():
    assert [group_size(width) for width in (128, 96, 80)] == [64, 32, 0]


def test_the_planner_counts_the_steps_in_which_mlx_lms_cache_grows():
    cache = pytest.importorskip("mlx_lm.models.cache")
    assert cache.BatchKVCache.step == CACHE_STEP


@pytest.mark.parametrize("beams", [1, 3])
def test_the_planner_counts_the_rows_that_are_generated_together(beams):
    config = resolve({"generation": {"beams": beams, "max_new_tokens": 20, "generation_batch_tokens": 1000}})
    planned = generation_batch(config, 80)
    spec = GenerationSpec(max_new_tokens=20, beams=beams, max_batch_tokens=1000)
    largest = max(len(group) for group in group_prompts([80] * 50, spec))
    assert (planned.tokens, planned.rows) == (100, largest * beams)
    assert planned.rows * planned.tokens <= 1000
