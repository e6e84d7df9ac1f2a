"""Amounts as people write and read them."""

from __future__ import annotations

import pytest

from common.budget.units import parse_amount
from common.errors import UsageError
from common.text.amounts import bytes_text, duration, scientific, short


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e18", 1e18),
        ("0.5B", 5e8),
        ("500M", 5e8),
        ("1_000", 1000),
        ("2k", 2000),
        ("3 T", 3e12),
        (" 7 ", 7),
    ],
)
def test_amounts_are_read_with_and_without_suffix(text, value):
    assert parse_amount(text, "--flops") == value


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "-inf", "abc", "", " ", "1e999", "B", "1e", "1,000", "-2B"])
def test_an_amount_that_is_not_positive_and_finite_is_refused_by_name_and_value(text):
    with pytest.raises(UsageError, match="--flops") as caught:
        parse_amount(text, "--flops")
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_amounts_are_shown_with_two_digits_and_with_a_suffix():
    assert scientific(1.234e9) == "1.2e9"
    assert scientific(0.00031) == "3.1e-4"
    assert [short(v) for v in (12, 999.6, 1.2e9, 9.16e7, 3.45e13)] == ["12", "1 K", "1.2 B", "91.6 M", "34.5 T"]
    assert short(1e16) == "1.0e16"


def test_bytes_and_seconds_are_shown_in_the_unit_a_person_would_use():
    assert [bytes_text(v) for v in (12, 2048, 5 * 2**20, 3.412 * 2**30, -(2**30))] == [
        "12 B",
        "2.00 KiB",
        "5.00 MiB",
        "3.41 GiB",
        "-1.00 GiB",
    ]
    assert [duration(v) for v in (0.42, 38.2, 750, 7500, 273600)] == [
        "0.42 s",
        "38 s",
        "12 min 30 s",
        "2 h 05 min",
        "3 d 04 h",
    ]
