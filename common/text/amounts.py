"""Amounts: read from JSON, and written the same in terminal, report, plots and messages.

`31.2 [30.1, 32.4]`, `89.8 M`, `3.41 GiB`, `2 h 05 min`, `<1 %`. Standard library only: start-up depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAMES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def finite(value: Any) -> float | None:
    """`value` as a float when it is a finite number, else None (also for booleans)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` when it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; `low` and `high` are None where only the mean is known."""

    mean: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return self.text()

    def text(self, digits: int = 1) -> str:
        """`31.2 [30.1, 32.4]`, or the mean alone."""
        return f"{decimal(self.mean, digits)} {self.bounds_text(digits)}".rstrip()

    @property
    def bounds(self) -> str:
        return self.bounds_text()

    def bounds_text(self, digits: int = 1) -> str:
        """`[30.1, 32.4]`, empty where only the mean is known."""
        known = self.low is not None and self.high is not None
        return f"[{decimal(self.low or 0.0, digits)}, {decimal(self.high or 0.0, digits)}]" if known else ""


def read_interval(value: Any) -> Interval | None:
    """An interval from `{"mean", "low", "high"}` or a plain number; None for anything else."""
    if (number := finite(value)) is not None:
        return Interval(number)
    fields = mapping(value)
    mean = finite(fields.get("mean"))
    return None if mean is None else Interval(mean, finite(fields.get("low")), finite(fields.get("high")))


def decimal(value: float, digits: int = 1) -> str:
    """Fixed decimals with a true minus sign, and never a negative zero."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def signed(value: float) -> str:
    """One decimal with its sign; what rounds to zero has none."""
    text = decimal(value)
    return text if text.startswith("−") or text == "0.0" else "+" + text


def quantity(value: Any) -> str:
    """Any JSON value for a table cell: whole numbers with thousands separators, floats with four digits."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    if isinstance(value, list | tuple):
        return ", ".join(quantity(item) for item in value) or "none"
    return str(value)


def share(part: float, whole: float) -> str:
    """`12 %`; a share that is small but not none is `<1 %`, one that is nearly all is `>99 %`."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 1:
        return "<1 %"
    return ">99 %" if 99 < percent < 100 else f"{percent:.0f} %"


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


def duration(seconds: float) -> str:
    """Time as read aloud: `0.42 s`, `38 s`, `12 min 30 s`, `2 h 05 min`, `3 d 04 h`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours:02d} h"
