"""Text of unknown origin, made harmless for pages, terminals and Markdown readers."""

from __future__ import annotations

import pytest

from common.safe_text import markdown_text, one_line, visible


def test_terminal_escapes_and_direction_overrides_become_visible_signs() -> None:
    assert visible("a\x1b[31mred\x1b[0m\x07\x7f\x9b") == "a␛[31mred␛[0m␇␡⟨U+009B⟩"
    assert visible("abc\u202etxt.exe\u2066x\u2069") == "abc⟨U+202E⟩txt.exe⟨U+2066⟩x⟨U+2069⟩"


@pytest.mark.parametrize(
    "text", ["tab\tstays", "日本語", "عربي\u200f", "👩‍💻 zero-width joiner", "हिन्दी", "line\nbreak"]
)
def test_ordinary_text_of_any_script_is_left_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_what_no_file_can_hold_becomes_a_replacement_character() -> None:
    assert visible("a\ud800b\uffff") == "a\ufffdb\ufffd"
    visible("\ud800").encode("utf-8")


def test_every_kind_of_line_break_becomes_a_newline() -> None:
    assert visible("a\r\nb\rc\u2028d\x85e") == "a\nb\nc\nd\ne"


def test_one_line_collapses_white_space_and_cuts_with_an_ellipsis() -> None:
    assert one_line(" a\n\n b\tc ") == "a b c"
    assert one_line("abcdefgh", 5) == "abcd…"
    assert one_line("abcde", 5) == "abcde"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("[click](javascript:alert(1))", r"[click\](javascript:alert(1))"),
        ("# no heading", r"\# no heading"),
        ("1. no list", "&#49;. no list"),
        ("2.5 stays", "2.5 stays"),
        ("a | b", r"a \| b"),
        ("`code` *bold* _x_ $m$ ~~s~~", r"\`code\` \*bold\* \_x\_ \$m\$ \~\~s\~\~"),
        ("[x]: http://evil", r"[x\]: http://evil"),
        ("score [1.0, 2.0]", "score [1.0, 2.0]"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_markdown_shows_text_as_it_stands(text: str, expected: str) -> None:
    assert markdown_text(text) == expected
