"""Guesses from what stood after the same tokens before."""

from __future__ import annotations

import numpy as np

from common.generation.lookup import MOST, PromptLookup


def test_a_guess_is_what_followed_the_last_two_tokens() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 9, 1])
    lookup.add(2)
    assert lookup.guess(3) == [3, 4, 5]
    assert lookup.guess(100) == [3, 4, 5, 9, 1, 2]
    assert lookup.guess(0) == []


def test_after_one_equal_token_the_guess_is_shorter() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 9, 2])
    assert lookup.guess(100) == [3, 4, 5]


def test_the_latest_place_counts_and_new_tokens_have_none() -> None:
    assert PromptLookup([1, 2, 7, 1, 2, 8, 1, 2]).guess(1) == [8]
    assert PromptLookup([1, 2, 3]).guess(5) == []
    assert PromptLookup().guess(5) == []


def test_guesses_equal_a_search_through_the_whole_text() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, 6, 300).tolist()
    lookup = PromptLookup()
    for position, token in enumerate(tokens):
        lookup.add(token)
        text, wanted = tokens[: position + 1], []
        for length, most in MOST:
            last = [end for end in range(length, len(text)) if text[end - length : end] == text[-length:]]
            if last:
                wanted = text[last[-1] : last[-1] + most]
                break
        assert lookup.guess(100) == wanted
