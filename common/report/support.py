"""How many summaries their documents support, in sentences, and whether that may be believed at all.

Knows results.json; how support is found is in `common.check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.metrics.bootstrap import outcome
from common.text.amounts import Interval, decimal, finite, mapping, read_interval
from common.text.names import system_label

FLOOR = 80.0  # percent of summaries: with fewer supported ones nobody would hand them on unread
SHOWN = ("tuned", "base", "lead3")
KINDS = {
    "entity": "wrong names",
    "number": "wrong numbers",
    "exchange": "exchanged parties",
    "negation": "opposites",
    "clause": "clauses of other documents",
    "relation": "wrong relations",
}


@dataclass(frozen=True)
class Support:
    """What an evaluation found of support.

    known      the summaries were checked
    tells      the checker finds enough of the errors that were planted in the references to be believed
    share      supported summaries of the system under test in percent, None where not known
    worse      fewer of its summaries are supported than of the untuned model's
    sentence   all of it for a reader; empty where nothing was checked
    """

    known: bool
    tells: bool
    share: Interval | None
    worse: bool
    sentence: str

    @property
    def holds(self) -> bool:
        """Whether a gain in scores may be called a success: checked by a checker that tells, not worse, above FLOOR."""
        low = self.share.low if self.share else None
        return self.tells and not self.worse and low is not None and low >= FLOOR


def read_support(results: Mapping[str, Any], system: str) -> Support:
    """The finding on `system` in results.json."""
    checker, systems = mapping(results.get("checker")), mapping(results.get("systems"))
    shares = {
        name: read_interval(mapping(systems.get(name)).get("supported")) for name in dict.fromkeys((system, *SHOWN))
    }
    share = shares.get(system)
    if not checker or share is None:
        return Support(False, False, None, False, "")
    shares["references"] = read_interval(mapping(results.get("references")).get("supported"))
    difference = mapping(mapping(mapping(results.get("differences")).get(f"{system}-base")).get("supported"))
    low, high, p_value = (finite(difference.get(name)) for name in ("low", "high", "p_value"))
    worse = low is not None and high is not None and outcome(low, high, p_value) == "worse"
    tells = checker.get("tells") is True
    named = "; ".join(f"{_called(name)} {value} %" for name, value in shares.items() if value is not None)
    sentence = f"Supported by their documents: {named}. {_worth(checker)}" if tells else _cannot_tell(checker)
    return Support(True, tells, share, worse, sentence)


def _called(name: str) -> str:
    return name if name == "references" else system_label(name)


def _cannot_tell(checker: Mapping[str, Any]) -> str:
    return (
        f"How many of the summaries are true is not known. {_worth(checker)} That is too little for a finding: read "
        "some summaries beside their documents."
    )


def _worth(checker: Mapping[str, Any]) -> str:
    """What the checker found of planted errors, in a sentence or two."""
    accuracy = mapping(checker.get("balanced_accuracy"))
    values = [finite(accuracy.get(name)) for name in ("mean", "low", "high")]
    if any(value is None for value in values):
        return f"The checker {checker.get('name')} could not be tested here, because no error could be planted."
    mean, low, high = (decimal(100 * (value or 0.0), 0) for value in values)
    found = {kind: finite(share) for kind, share in mapping(checker.get("found")).items()}
    known = {KINDS[kind]: 100 * share for kind, share in found.items() if kind in KINDS and share is not None}
    listed = ", ".join(f"{decimal(share, 0)} % of {kind}" for kind, share in known.items())
    return (
        f"The checker {checker.get('name')} has a balanced accuracy of {mean} % [{low}, {high}] on "
        f"{checker.get('measured_on')} (50 % is chance)" + (f"; it found {listed}." if listed else ".")
    )
