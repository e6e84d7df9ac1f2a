"""Sentence boundaries, case by case, and the law that no visible character is lost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.metrics.sentences import sentence_spans, split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It rained. We stayed in!  Did you?", ["It rained.", "We stayed in!", "Did you?"]),
        ("Dr. Hale met Mr. Ito at 5 p.m. on Monday.", ["Dr. Hale met Mr. Ito at 5 p.m. on Monday."]),
        ("They left at 5 p.m. The rest stayed.", ["They left at 5 p.m.", "The rest stayed."]),
        ("The U.S. Senate voted. It passed.", ["The U.S. Senate voted.", "It passed."]),
        ("Smith et al. (2018) agree, e.g. Jones.", ["Smith et al. (2018) agree, e.g. Jones."]),
        ("It grew 3.5 per cent. See Fig. 2 and No. 7.", ["It grew 3.5 per cent.", "See Fig. 2 and No. 7."]),
        ("J. R. Tolkien wrote it. He did.", ["J. R. Tolkien wrote it.", "He did."]),
        ('"Stop!" he said. "Now." Nobody moved.', ['"Stop!" he said.', '"Now."', "Nobody moved."]),
        ("1. Open the lid. 2. Press start.", ["1. Open the lid.", "2. Press start."]),
        ("I don't. You do.", ["I don't.", "You do."]),
        ("first line\nsecond line\n\nthird", ["first line", "second line", "third"]),
        ("Is it over?\n#Person2#: No.\n#Person1#: Oh.", ["Is it over?", "#Person2#: No.", "#Person1#: Oh."]),
        ("hi! how are you? i am fine.", ["hi!", "how are you?", "i am fine."]),
        ("he was fined . the club paid .", ["he was fined .", "the club paid ."]),
        ("他来了。我走了！真的吗？", ["他来了。", "我走了！", "真的吗？"]),
        ("यह सच है। वह गया।", ["यह सच है।", "वह गया।"]),
        ("Il est là. Où vas-tu ? À Paris.", ["Il est là.", "Où vas-tu ?", "À Paris."]),
        ("Wait... what happened… Nobody knows.", ["Wait... what happened…", "Nobody knows."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


CASES = Path(__file__).with_name("sentence_cases")


def cases(language: str) -> list[tuple[str, list[str]]]:
    """Texts and their sentences from a file where `‖` stands before each further sentence of a line."""
    lines = (CASES / f"{language}.txt").read_text(encoding="utf-8").splitlines()
    texts = [line.replace("\\n", "\n") for line in lines]
    return [(text.replace("‖", ""), [part.strip() for part in text.split("‖")]) for text in texts]


@pytest.mark.parametrize("language", sorted(path.stem for path in CASES.glob("*.txt")))
def test_hand_made_cases_of_each_language_are_split_without_being_told_the_language(language: str) -> None:
    known = cases(language)
    assert len(known) >= (60 if language in ("en", "de", "id", "zh") else 20)
    wrong = [(text, split_sentences(text), wanted) for text, wanted in known if split_sentences(text) != wanted]
    assert not wrong


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ('The pump is new. "We are glad . " It cost ninety. " The board agreed. "\nGuests waited.',
         ["The pump is new.", '"We are glad . "', "It cost ninety.", '" The board agreed. "', "Guests waited."]),
        ("It is over . ”", ["It is over . ”"]),
        ("One. — Two.", ["One.", "— Two."]),
        ("...", ["..."]),
        ("Over!\n***\nNext.", ["Over!\n***", "Next."]),
    ],
)  # fmt: skip
def test_no_sentence_is_punctuation_alone(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@settings(deadline=None)
@given(st.text(alphabet="ab A.!?\n\"'。। 1", max_size=40))
def test_splitting_loses_nothing_but_white_space(text: str) -> None:
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())
    spans = sentence_spans(text)
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
