"""Words in scripts without spaces are the same for lengths, duplicates and scores."""

from __future__ import annotations

import pytest

from common.data.words import count_words
from common.metrics.tokens import word_spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("กินข้าว", 5),  # กิ, น, ข้, า, ว
        ("ພາສາລາວ", 7),
        ("ひらがな", 4),
        ("が", 1),  # as one character, and as か with a mark
        ("か\u3099", 1),
        ("今天 rain 天气", 5),
    ],
)
def test_a_character_with_its_marks_is_one_word_wherever_words_are_counted(text: str, words: int) -> None:
    assert count_words(text) == len(word_spans(text)) == words
