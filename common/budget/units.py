"""Amounts as people write and read them: `0.5B`, `1.2e9`, `89.8 M`, `3.4 GiB`, `2 h 05 min`.

Knows nothing of what is counted. Standard library only: the budget command's start-up depends on it.
"""

from __future__ import annotations

import math

from common.errors import UsageError

_SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_NAMES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


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


def scientific(value: float) -> str:
    """Two significant digits, without the plus sign and zeros of `%e`: `1.2e9`, `3.0e-4`."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def short(value: float) -> str:
    """Three significant digits with a suffix: `89.8 M`, `1.2 B`, `34.5 T`; plain below 1e3, `1.2e16` from 1e15."""
    for size, name in _NAMES:
        if value >= size * 0.9995:
            return f"{value / size:.3g} {name}" if value < size * 999.5 else scientific(value)
    return f"{value:.3g}"


def bytes_text(count: float) -> str:
    """Binary units with three significant digits: `3.41 GiB`, `512 MiB`, `17 KiB`, `12 B`."""
    sign, size = ("-" if count < 0 else ""), abs(count)
    for factor, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= factor:
            scaled = size / factor
            digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
            return f"{sign}{scaled:.{digits}f} {name}"
    return f"{sign}{size:.0f} B"


def seconds_text(seconds: float) -> str:
    """Time as read aloud: `0.42 s`, `38 s`, `12 min 30 s`, `2 h 05 min`, `3 d 04 h`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours:02d} h"
