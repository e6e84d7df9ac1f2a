"""Numbers as values: how they are written must not matter, and what they mean must."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.metrics.numbers import find_numbers, is_supported, known_values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,099 people", 1099),
        ("£1.2m", 1.2e6),
        ("3 billion", 3e9),
        ("10k", 1e4),
        ("2.5 per cent", 2.5),
        ("the 21st", 21),
        ("twenty-five", 25),
        ("two hundred and six", 206),
        ("three thousand four hundred", 3400),
        ("a million", 1e6),
        ("the third time", 3),
        ("nineteen eighty-four", 1984),
        ("'90s", 1990),
        ("1.234.567", 1234567),
        ("٣٥", 35),
    ],
)
def test_a_number_is_read_however_it_is_written(text: str, value: float) -> None:
    numbers = find_numbers(text)
    assert any(value in number.values for number in numbers)
    assert all(text[number.start : number.end].strip() for number in numbers)


@pytest.mark.parametrize("text", ["#Person1#", "B2B", "word2vec", "thousands of people", "no numbers", "2vec"])
def test_digits_inside_words_and_vague_quantities_are_not_numbers(text: str) -> None:
    assert find_numbers(text) == []


@pytest.mark.parametrize(
    ("summary", "document"),
    [
        ("20%", "19.6 per cent"),
        ("more than 1,000", "1,099 referrals"),
        ("1.2 million", "1,187,000 homes"),
        ("seven", "7"),
        ("a dozen or 12", "a dozen eggs"),
        ("two", "both men"),
        ("2016", "the 2015-16 season"),
        ("1.30", "half past one"),
        ("7 pm", "19:00"),
        ("19:30", "seven thirty"),
        ("$12.5", "12 dollars 50 cents"),
        ("5000", "5, 000 dollars"),
        ("50%", "half of them"),
        ("1313", "room thirteen-thirteen"),
    ],
)
def test_a_value_is_supported_by_other_spellings_and_by_what_rounds_to_it(summary: str, document: str) -> None:
    assert all(is_supported(number, known_values(document)) for number in find_numbers(summary))


@pytest.mark.parametrize(
    ("summary", "document"),
    [("22", "23"), ("2016", "2015"), ("7,000", "700"), ("30%", "20%"), ("five", "four"), ("1.8", "1.2"), ("1", "none")],
)
def test_another_value_is_not_supported(summary: str, document: str) -> None:
    numbers = find_numbers(summary)
    assert numbers
    assert not any(is_supported(number, known_values(document)) for number in numbers)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_supports_its_own_numbers(text: str) -> None:
    known = known_values(text)
    assert all(is_supported(number, known) for number in find_numbers(text))
