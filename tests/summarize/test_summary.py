"""Shortening, streaming and options."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.metrics.tokens import count_words
from common.summarize.summary import SummaryOptions, shorten
from common.summarize.text_stream import TextStream

TEXT = "Mr. Hill said never. The ferry, which is old, stays. Nobody left."


def test_sentences_are_counted_as_readers_count_them() -> None:
    assert shorten(TEXT, sentences=1) == "Mr. Hill said never."
    assert shorten(TEXT, sentences=2) == "Mr. Hill said never. The ferry, which is old, stays."
    assert shorten(TEXT, sentences=9) == TEXT == shorten(TEXT)


def test_a_word_limit_ends_after_a_whole_sentence_where_one_fits_else_after_a_word() -> None:
    assert shorten(TEXT, max_words=9) == "Mr. Hill said never."
    assert shorten(TEXT, max_words=10) == "Mr. Hill said never. The ferry, which is old, stays."
    assert shorten("The ferry, which is old, stays.", max_words=2) == "The ferry"


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("3月4日，星月号渡轮因油泵漏油两次停航，350名旅客在码头等了2个小时。", 5, "3月4日，星"),
        ("星月号停航。旅客等候。", 6, "星月号停航。"),
        ("เรือหยุดสองครั้ง ปั๊มรั่ว", 2, "เรือหยุด"),
        ("L'été fut (très) long.", 4, "L'été fut (très)"),
    ],
)
def test_a_word_limit_counts_what_the_language_calls_a_word(text: str, most: int, short: str) -> None:
    assert shorten(text, max_words=most) == short


@given(st.text(alphabet="ab. ,\n!。你"), st.integers(0, 3), st.integers(0, 4))
def test_shortening_keeps_a_beginning_within_the_limits_and_is_idempotent(text: str, sentences: int, most: int) -> None:
    short = shorten(text, sentences, most)
    assert text.startswith(short)
    assert not most or count_words(short) <= most
    assert shorten(short, sentences, most) == short


@pytest.mark.parametrize(
    "wrong", [{"long": "cut"}, {"sentences": -1}, {"max_words": 1.5}, {"temperature": 9.0}, {"top_p": 0.0}]
)
def test_wrong_options_name_the_option_and_what_is_allowed(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is .*(choose|give)"):
        SummaryOptions(**wrong)  # type: ignore[arg-type]


@given(st.text(min_size=1).map(lambda text: text.strip() or "x"))
def test_pieces_joined_are_the_text_and_never_hold_half_a_character(text: str) -> None:
    def decode(tokens: Sequence[int]) -> str:
        return bytes(tokens).decode("utf-8", "replace").strip()

    text = text.encode("utf-8", "replace").decode().replace("\ufffd", "?").strip()
    stream = TextStream(decode)
    pieces = [stream.push(byte) for byte in text.encode()]
    assert all("\ufffd" not in piece for piece in pieces)
    assert "".join(pieces) + stream.finish(text) == text


def test_bytes_that_never_become_a_character_appear_at_the_end() -> None:
    stream = TextStream(lambda tokens: bytes(tokens).decode("utf-8", "replace"))
    shown = "".join(stream.push(byte) for byte in b"a\xe2\x82")
    assert shown == "a"
    assert shown + stream.finish("a\ufffd") == "a\ufffd"
