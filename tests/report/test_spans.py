"""Which words are marked as different or copied, on texts where the answer can be read off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.metrics.tokens import get_tokenizer
from common.report.spans import copied_ranges, cut_into_pieces, different_ranges


def cut(text: str, ranges: list[tuple[int, int]]) -> list[str]:
    return [text[start:end] for start, end in ranges]


def test_words_the_reference_lacks_are_found_and_neighbours_joined() -> None:
    summary, reference = "The mayor quickly left the old city.", "The mayor left the city."
    assert cut(summary, different_ranges(summary, reference, get_tokenizer("rouge-score"))) == ["quickly", "old"]
    joined = "The very angry mayor left."
    assert cut(joined, different_ranges(joined, reference, get_tokenizer("rouge-score"))) == ["very angry"]


def test_equal_stems_count_as_the_same_word_as_they_do_in_the_score() -> None:
    assert different_ranges("He was training models", "He was trained: model", get_tokenizer("rouge-score")) == []
    assert cut("Les modèles", different_ranges("Les modèles", "Le modèle", get_tokenizer("unicode"))) == ["Les modèles"]


def test_a_word_of_the_reference_is_used_up_once() -> None:
    summary = "rain and rain and rain"
    assert cut(summary, different_ranges(summary, "rain and sun and rain", get_tokenizer("rouge-score"))) == ["rain"]


def test_copied_stretches_of_three_words_are_found_in_summary_and_document() -> None:
    document = "Old story: the council closed the bridge in May, and the mayor wept."
    summary = "In May the council closed the bridge, said the mayor."
    ours, theirs = copied_ranges(summary, document)
    assert cut(summary, ours) == ["the council closed the bridge"]
    assert cut(document, theirs) == ["the council closed the bridge"]


def test_scripts_without_spaces_are_compared_by_character() -> None:
    document, summary = "市議会は月曜日に橋を閉鎖した。", "市議会は橋を閉じた。"
    ours, theirs = copied_ranges(summary, document)
    assert cut(summary, ours) == ["市議会は", "橋を閉"]
    assert cut(document, theirs) == ["市議会は", "橋を閉"]
    assert cut(summary, different_ranges(summary, document, get_tokenizer("unicode"))) == ["じ"]


@given(st.text(max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from("xyz"))))
def test_pieces_joined_are_the_text_and_carry_exactly_their_marks(text: str, found: list[tuple[int, int, str]]) -> None:
    marks = [((min(a, b), min(max(a, b), len(text))), name, "") for a, b, name in found if min(a, b) < len(text)]
    pieces = cut_into_pieces(text, marks)
    assert "".join(piece.text for piece in pieces) == text
    place = 0
    for piece in pieces:
        middle = place
        expected = {name for (start, end), name, _ in marks if start <= middle < end}
        assert set(piece.marks) == expected
        place += len(piece.text)
