"""How numbers, names and intervals are written in a report, the same in HTML, Markdown and plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.text.amounts import finite, mapping

SYSTEM_LABELS = {
    "tuned": "fine-tuned",
    "base": "untuned",
    "lead1": "Lead-1",
    "lead3": "Lead-3",
    "random": "random sentence",
    "oracle": "extractive oracle",
}
METRIC_LABELS = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "bleu": "BLEU",
    "chrf": "chrF",
    "meteor": "METEOR",
    "bertscore": "BERTScore",
}
OTHER_LABELS = {
    "perplexity": "perplexity of the references",
    "length_ratio": "length ratio, summary to reference",
    "repeated_3grams": "repeated trigrams, %",
    "longest_repeat": "longest loop, times",
    "coverage": "coverage: copied words, %",
    "density": "density: words in a copied fragment",
    "compression": "compression, document to summary",
    "novel_1grams": "novel words, %",
    "novel_2grams": "novel bigrams, %",
    "novel_3grams": "novel trigrams, %",
    "novel_4grams": "novel 4-grams, %",
    "unsupported_claims": "unsupported claims in a summary",
    "with_unsupported": "summaries with unsupported claims, %",
}
QUALITY_METRICS = tuple(METRIC_LABELS)
ROUGE_METRICS = QUALITY_METRICS[:3]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; `low` and `high` are None where only the mean is known."""

    mean: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return f"{decimal(self.mean)} {self.bounds}".rstrip()

    @property
    def bounds(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"[{decimal(self.low)}, {decimal(self.high)}]"


def read_interval(value: Any) -> Interval | None:
    """An interval from `{"mean", "low", "high"}` or a plain number; None for anything else."""
    if (number := finite(value)) is not None:
        return Interval(number)
    fields: Mapping[str, Any] = mapping(value)
    mean = finite(fields.get("mean"))
    return None if mean is None else Interval(mean, finite(fields.get("low")), finite(fields.get("high")))


def system_label(name: str) -> str:
    """How a system is called in sentences and tables; names of earlier runs stay as they are."""
    return SYSTEM_LABELS.get(name, name)


def metric_label(name: str) -> str:
    return METRIC_LABELS.get(name) or OTHER_LABELS.get(name) or name.replace("_", " ")


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


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(count: float) -> str:
    """Bytes as MiB or GiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def share(part: float, whole: float) -> str:
    """`12 %`; a share that is small but not none is `<1 %`, one that is nearly all is `>99 %`."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 1:
        return "<1 %"
    return ">99 %" if 99 < percent < 100 else f"{percent:.0f} %"
