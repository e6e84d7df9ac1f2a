"""Parts of a long text: nothing is lost, everything fits, and cuts fall where a reader would cut."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from common.summarize.split_text import is_heading, split_parts


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


SENTENCE = "The ferry leaves at night with nine people on it."  # ten words
TEXTS = st.lists(
    st.sampled_from([SENTENCE, "Short one.", "\n\n", "\n\nCosts\n\n", "日本の文。", "no end", "x" * 40, "\n"]),
    max_size=30,
).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 60))
def test_parts_fit_and_joined_are_the_text(text: str, room: int) -> None:
    parts = split_parts(text, room, characters)
    assert "".join(parts) == text.strip()
    assert all(len(part) <= room for part in parts)


def test_a_text_that_fits_is_one_part() -> None:
    assert split_parts(SENTENCE, 10, words) == [SENTENCE]


def test_parts_are_even_rather_than_full_with_a_small_rest() -> None:
    text = " ".join([SENTENCE] * 11)  # 110 words in rooms of 100
    assert sorted(words(split_parts(text, 100, words))) == [50, 60]


def test_a_cut_moves_to_a_paragraph_and_further_to_a_section() -> None:
    def ends(separators: dict[int, str]) -> list[int]:
        text = "".join(SENTENCE + separators.get(number, " ") for number in range(1, 13))
        return words(split_parts(text, 100, words))

    assert ends({}) == [60, 60]
    assert ends({5: "\n\n"}) == [50, 70]
    assert ends({4: "\n\nCosts and dates\n\n"}) == [40, 83], "the heading goes with what it heads"


def test_a_sentence_longer_than_the_room_is_cut_between_words() -> None:
    parts = split_parts("word " * 100, 30, words)
    assert words(parts) == [25, 25, 25, 25]
    assert all(part.startswith("word") for part in parts)


def test_headings_are_told_from_short_sentences_and_items() -> None:
    assert is_heading("Costs and dates\n\n")
    assert is_heading("# Costs\n")
    assert not is_heading("He left.\n\n")
    assert not is_heading("- an item\n")
    assert not is_heading("Costs and dates ")
