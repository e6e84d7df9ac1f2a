"""Where the results of an evaluation go, so that none is lost to another one.

The top of a run holds one evaluation. A new one takes its place only where it answers all that the old one did: the
same documents or more, every system, every extra score. Any other is written to RUN/evaluations/NAME, with a report
of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.progress import note
from common.run.directory import RunDirectory
from common.text.amounts import mapping

UNNAMED = re.compile(r"[^\w.]+")


@dataclass(frozen=True)
class Asked:
    """What an evaluation was asked for, as its results tell; `examples` are nested as their number grows."""

    data: str
    split: str
    examples: int
    multi_reference: str
    base_template: str | None
    bertscore: str
    systems: frozenset[str]

    def covers(self, other: Asked) -> bool:
        """Whether all that `other` answers is answered here too."""
        same = ("data", "split", "multi_reference")
        return (
            all(getattr(self, name) == getattr(other, name) for name in same)
            and self.examples >= other.examples
            and self.systems >= other.systems
            and other.base_template in (None, self.base_template)
            and other.bertscore in ("", self.bertscore)
        )

    def __str__(self) -> str:
        return f"{self.examples} {self.split} documents of {self.data}"

    def name_beside(self, other: Asked) -> str:
        """A folder's name that says how this differs from `other`."""
        parts = [Path(self.data).stem] if self.data != other.data else []
        parts += [self.split, str(self.examples)]
        if self.multi_reference != other.multi_reference:
            parts.append(self.multi_reference)
        if self.base_template != other.base_template:
            parts.append(f"base-{self.base_template}" if self.base_template else "no-base")
        parts += ["bertscore"] if self.bertscore and self.bertscore != other.bertscore else []
        parts += [f"with-{name}" for name in sorted(self.systems - other.systems - {"base"})]
        return UNNAMED.sub("-", "-".join(parts)).strip("-.")


def asked_of(results: Mapping[str, Any]) -> Asked:
    """What the evaluation that gave these results was asked for."""
    return Asked(
        data=str(results.get("data") or ""),
        split=str(results.get("split") or ""),
        examples=int(results.get("examples") or 0),
        multi_reference=str(results.get("multi_reference") or "best"),
        base_template=results.get("base_template"),
        bertscore=str(results.get("bertscore_model") or ""),
        systems=frozenset(mapping(results.get("systems"))),
    )


def stored_results(run: RunDirectory) -> dict[str, Any]:
    """The results in a directory; empty where there are none, or none that can be read."""
    try:
        found = json.loads(run.results.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def refuse_other_results(out: Path, run: RunDirectory, asked: Asked) -> None:
    """Raise ConfigError where `out` holds results that those of `run` would not cover; the untuned model's prompt is
    not known yet and does not count."""
    there = stored_results(RunDirectory(out))
    if not there:
        return
    held, name = asked_of({**there, "base_template": None}), Path(str(there.get("run") or run.path)).resolve().name
    if name != run.path.resolve().name or not asked.covers(held):
        raise ConfigError(
            f"--out {out}: holds the results of another evaluation ({name} on {held}), which would be overwritten; "
            "give another folder"
        )


def place_results(run: RunDirectory, results: Mapping[str, Any], own: bool) -> Path:
    """The directory for these results of `run`: its top, or one below RUN/evaluations, named on stderr.

    `own`: these are the run's own documents. Where others' results hold the top they are moved to RUN/evaluations.
    Results that are older than the adapter are those of another model and are replaced.
    """
    asked, there = asked_of(results), stored_results(run)
    if not there or run.results_are_outdated():
        return run.path
    held = asked_of(there)
    if asked.covers(held):
        return run.path
    if own and (held.data, held.split) != (asked.data, asked.split):
        place = _free(run, held, asked)
        move_evaluation(run, RunDirectory(place))
        note(f"the results that were in {run.path} ({held}) are now in {place}")
        return run.path
    place = _free(run, asked, held)
    note(f"written to {place}; the results in {run.path} ({held}) stay")
    return place


def _free(run: RunDirectory, asked: Asked, other: Asked) -> Path:
    """A folder below RUN/evaluations that holds nothing which `asked` does not cover."""
    name = asked.name_beside(other)
    for number in count(1):
        place = run.evaluations / (name if number == 1 else f"{name}-{number}")
        there = stored_results(RunDirectory(place))
        if not there or asked.covers(asked_of(there)):
            return place
    raise AssertionError("count() does not end")


def move_evaluation(source: RunDirectory, target: RunDirectory) -> None:
    """Move an evaluation and its report. results.json goes last: until then the move can be made again."""
    target.path.mkdir(parents=True, exist_ok=True)
    for file in (*source.report_files(), source.predictions, *source.other_predictions().values(), source.results):
        if file.exists():
            file.rename(target.path / file.name)
