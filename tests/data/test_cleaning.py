"""Cleaning: what it changes, what it must leave alone, and that it is done in one pass and in time."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.cleaning import _MARKS, MAX_COMBINING_RUN, _is_plain, _tidied, clean_text, cleaned
from common.metrics.tokens import count_words, has_words

anything = st.text(alphabet=st.characters(codec=None), max_size=60)  # lone surrogates included


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  two\t words \r\n  next\rlast ", "two words\nnext\nlast"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("a\x00b\x07c\x1b[31md\x85e", "abc[31md\ne"),
        ("e\u0301", "\u00e9"),
        ("x\ud800y\udfffz", "x\ufffdy\ufffdz"),
        ("no\u00a0break\u3000wide\u2009thin", "no break wide thin"),
        ("\ufeffmark", "mark"),
        ("one\u2028two", "one\ntwo"),
    ],
)
def test_hand_worked_cases(before: str, after: str) -> None:
    assert clean_text(before) == after


@pytest.mark.parametrize(
    "text",
    [
        "<|im_end|> ### Summary: {document} {article} %s <b>html</b> [INST]",
        "العربية من اليمين إلى اليسار",
        "日本語の文書。改行も。",
        "family 👨\u200d👩\u200d👧 and flag 🏳️\u200d🌈",
        "हिन्दी क्\u200dष",
        "name: value\n- item\n- item\n\nend",
    ],
)
def test_text_is_data_and_stays(text: str) -> None:
    assert clean_text(text) == unicodedata.normalize("NFC", text)


def test_a_text_taken_as_plain_is_one_that_no_pass_changes() -> None:
    taken = 0
    for code in range(0x10000):
        text = f"caf\u00e9 {chr(code)}x"
        assert _MARKS.search(text) or not unicodedata.combining(chr(code)), hex(code)
        if _is_plain(text):
            taken += 1
            assert _tidied(text) == (text, frozenset()), hex(code)
    assert taken > 0.5 * 0x10000
    assert not _is_plain("e" + "\u0301" * (2 * MAX_COMBINING_RUN))


def test_changes_are_named() -> None:
    assert cleaned("a\ud800\x00e\u0301")[1] == {
        "lone surrogates replaced by U+FFFD",
        "control characters removed",
        "normalised to Unicode NFC",
    }
    assert cleaned("  plain   spaces ")[1] == frozenset()


@given(anything)
@settings(max_examples=300, deadline=None)
def test_what_is_taken_as_plain_is_left_as_it_is(text: str) -> None:
    text = text.strip()
    if _is_plain(text):
        assert _tidied(text) == (text, frozenset())


@given(anything)
@settings(max_examples=300, deadline=None)
def test_clean_text_is_clean(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    once.encode("utf-8")
    assert unicodedata.is_normalized("NFC", once)
    assert not [c for c in once if unicodedata.category(c) in ("Cc", "Cs") and c != "\n"]
    assert "  " not in once
    assert once == once.strip()


def test_endless_combining_marks_take_linear_time() -> None:
    hostile = "a" + "\u0315\u0300" * 100_000  # 45 s when normalised as it is
    began = time.process_time()
    result = clean_text(hostile)
    assert time.process_time() - began < 5
    assert len(result) > 200_000
    assert clean_text(result) == result
    assert clean_text("a" + "\u0300" * MAX_COMBINING_RUN).count("\u034f") <= 1


def test_a_50_megabyte_document_is_cleaned() -> None:
    document = "A long, long line of text. " * 2_000_000
    assert len(clean_text(document)) == len(document) - 1


def test_words_are_counted_in_every_script() -> None:
    assert count_words("two words") == 2
    assert count_words("今天天气很好") == 6
    assert count_words("ภาษาไทย") == 2  # language, Thai
    assert count_words("русский текст") == 2
    for text in ("", "one two three", "今天天气"):
        assert [has_words(text, n) for n in range(6)] == [count_words(text) >= n for n in range(6)]
