"""The bookkeeping of generated texts, by hand-worked cases."""

from common.engine import GenerationSpec
from common.generation.texts import NOT_A_NUMBER, Texts
from common.types import Generation

SPEC = GenerationSpec(max_new_tokens=2, eos_ids=(9, 8))


def test_a_text_ends_at_a_stop_token_at_its_limit_or_where_there_is_no_next_token():
    grown: list[tuple[int, int]] = []
    texts = Texts([[1]] * 4, SPEC, vocab_size=10, on_token=lambda index, token: grown.append((index, token)))
    assert texts.runnable == [0, 1, 2, 3]
    assert [texts.add(index, 5) for index in (0, 1, 2)] == [None] * 3
    ends = [texts.add(0, 9), texts.add(1, 6), texts.add(2, NOT_A_NUMBER), texts.add(3, 8)]
    assert ends == [
        Generation((5,), "eos"),
        Generation((5, 6), "length"),
        Generation((5,), "error", "the model's logits became NaN or infinite"),
        Generation((), "eos"),
    ]
    assert [ends[0].stop_token, ends[1].stop_token, ends[3].stop_token] == [9, None, 8]
    assert grown == [(0, 5), (1, 5), (2, 5), (1, 6)], "stop tokens are no part of a text"


def test_results_are_reported_as_they_end_and_returned_in_the_order_of_the_prompts():
    done: list[int] = []
    texts = Texts([[1], [], [2]], SPEC, vocab_size=10, on_done=lambda index, _: done.append(index))
    last, first = Generation((3,), "eos"), Generation((4,), "eos")
    texts.end(2, last)
    texts.end(0, first)
    assert done == [1, 2, 0]
    assert texts.results() == [first, Generation((), "error", "the prompt is empty"), last]


def test_a_prompt_that_cannot_run_says_why_and_is_not_runnable():
    prompts = [[], [1, 10], [-1], [0, 9], [1] * 4]
    texts = Texts(prompts, SPEC, vocab_size=10, longest=5)
    assert texts.runnable == [3]
    texts.end(3, Generation((), "eos"))
    assert [result.error for result in texts.results()] == [
        "the prompt is empty",
        "the prompt holds token ids outside 0 to 9",
        "the prompt holds token ids outside 0 to 9",
        "",
        "prompt and new tokens are 6, the model's attention window holds 5",
    ]
    assert Texts([[1]], GenerationSpec(max_new_tokens=0), 10).results() == [Generation((), "length")]
