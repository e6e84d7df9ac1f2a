"""What a checker says about a summary, and what a checker is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Evidence:
    """A passage [start, end) of the document, in code points, and how far it supports the sentence, in [0, 1]."""

    start: int
    end: int
    support: float


@dataclass(frozen=True)
class SentenceSupport:
    """A sentence [start, end) of the summary, its support in [0, 1], and its best passages, the best first.

    Where it could not be rated, `failure` says why and the support is NaN: neither supported nor not.
    """

    start: int
    end: int
    support: float
    evidence: tuple[Evidence, ...] = ()
    failure: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: `support` null, and a `failure`, where it could not be rated."""
        values = asdict(self)
        if self.failure:
            return values | {"support": None}
        del values["failure"]
        return values


@dataclass(frozen=True)
class Checked:
    """A summary's sentences in order. An empty summary has none, and no support: it states nothing."""

    sentences: tuple[SentenceSupport, ...]

    @property
    def support(self) -> float:
        """That of the least supported sentence; NaN where one could not be rated."""
        if self.failure:
            return math.nan
        return min((sentence.support for sentence in self.sentences), default=0.0)

    @property
    def failure(self) -> str:
        """Why a sentence could not be rated, the first of several; empty where all were."""
        return next((sentence.failure for sentence in self.sentences if sentence.failure), "")


@dataclass(frozen=True)
class DocumentSummary:
    """What is checked: a summary against the document that it is about."""

    document: str
    summary: str


class Checker(Protocol):
    """Anything that rates summaries against their documents. `name` is what results and reports call it."""

    @property
    def name(self) -> str: ...

    @property
    def default_threshold(self) -> float:
        """The support from which a summary counts as supported where no calibration was made."""
        ...

    def check(self, items: Sequence[DocumentSummary]) -> list[Checked]:
        """One result for each item, in order. Shows progress where it takes long."""
        ...
