"""Amounts as people type them: `1e18`, `500_000`, `0.5B`."""

from __future__ import annotations

import math

from common.errors import UsageError

_SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}


def parse_amount(text: str, what: str) -> float:
    """A positive finite number from `1e18`, `500_000`, `0.5B` or `500M`. Raises UsageError naming `what`.

    Suffixes K, M, B or G, and T (any case) stand for 1e3, 1e6, 1e9 and 1e12.
    """
    stripped = text.strip()
    number, factor = stripped, 1.0
    if len(stripped) > 1 and stripped[-1].lower() in _SUFFIXES and stripped[-2] in "0123456789. ":
        number, factor = stripped[:-1], _SUFFIXES[stripped[-1].lower()]
    try:
        value = float(number) * factor
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"{what} {text!r} is not a positive finite number; write it like 1e18, 500000 or 0.5B")
    return value
