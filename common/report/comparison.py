"""Several runs on the documents they share: means, paired differences, differing settings, telling examples.

Pairs by id and document hash, never by position. Differences between all pairs are tested together: p values are
Holm's (1979), so that more runs do not make chance findings likelier. Knows nothing of how the result is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError
from common.metrics.bootstrap import Difference, Interval, bootstrap_intervals, paired_difference
from common.run.contents import RunFiles, read_run
from common.run.predictions import PredictionRow
from common.text.names import ROUGE_METRICS


@dataclass(frozen=True)
class PairedDifference:
    """`first` minus `second` in one measure; `adjusted_p` is the p value after Holm's correction over all pairs."""

    first: str
    second: str
    measure: str
    difference: Difference
    adjusted_p: float


@dataclass(frozen=True)
class TellingExample:
    """A document on which the runs differ much: each run's summary and score."""

    id: str
    reference: str
    summaries: Mapping[str, str]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class RunComparison:
    """Runs compared on `shared` documents; `own` counts the documents each run was evaluated on.

    settings   dotted path -> value by run, for settings that differ
    """

    names: tuple[str, ...]
    own: Mapping[str, int]
    shared: int
    means: Mapping[str, Mapping[str, Interval]]
    differences: tuple[PairedDifference, ...]
    settings: Mapping[str, Mapping[str, Any]]
    examples: tuple[TellingExample, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what no single example can tell (a detectable difference) is None."""
        values = asdict(self)
        for pair in values["differences"]:
            if not math.isfinite(pair["difference"]["detectable"]):
                pair["difference"]["detectable"] = None
        return values


def compare_runs(paths: Sequence[Path], measure: str = "rouge1", examples: int = 5, seed: int = 0) -> RunComparison:
    """Compare two or more evaluated runs; `examples` telling ones are chosen by the spread of `measure`.

    Raises DataError when a run has no per-example scores, ids repeat, a shared id stands for different documents or
    references, or no id is shared.
    """
    runs = dict(zip(run_names(paths), (read_run(path) for path in paths), strict=True))
    rows = {name: _rows_by_id(name, run) for name, run in runs.items()}
    _refuse_other_measures(runs)
    shared = shared_ids(rows)
    scores = {
        name: {m: np.array([own[i].scores[m] for i in shared]) for m in ROUGE_METRICS} for name, own in rows.items()
    }
    return RunComparison(
        names=tuple(runs),
        own={name: len(own) for name, own in rows.items()},
        shared=len(shared),
        means={name: bootstrap_intervals(table, seed=seed) for name, table in scores.items()},
        differences=tuple(
            difference for m in ROUGE_METRICS for difference in paired_differences({n: scores[n][m] for n in runs}, m)
        ),
        settings=differing_settings(runs),
        examples=telling_examples(rows, shared, measure, examples),
    )


def _refuse_other_measures(runs: Mapping[str, RunFiles]) -> None:
    """Raise DataError where runs were not scored by the same rule, so that a difference would be the rule's."""
    several = any(len(row.references) > 1 for run in runs.values() for row in run.predictions)
    fields = {"rouge_tokenizer": ""} | ({"multi_reference": "--multi-reference"} if several else {})
    for field, flag in fields.items():
        found = {name: run.results[field] for name, run in runs.items() if field in run.results}
        if len(set(map(str, found.values()))) > 1:
            said = ", ".join(f"{name} {value}" for name, value in found.items())
            remedy = f"score them alike with {flag}: " if flag else "score them on the same documents: "
            raise DataError(f"the runs' scores are of different kinds ({field}: {said}); {remedy}sumkit eval RUN")


def run_names(paths: Sequence[Path]) -> list[str]:
    """A short name for each run: its folder's, or its path where two folders have the same. Raises DataError."""
    resolved = [path.resolve() for path in paths]
    if len(resolved) < 2:
        raise DataError("comparing takes two runs or more; give their directories")
    if len(set(resolved)) < len(resolved):
        raise DataError("a run is given twice; give different run directories")
    short = [path.name for path in resolved]
    return [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]


def _rows_by_id(name: str, run: RunFiles) -> dict[str, PredictionRow]:
    if not run.predictions:
        file = run.directory.predictions
        what = f"{file.name} holds no row that can be read" if file.is_file() else f"has no {file.name} to compare"
        raise DataError(f"{run.path}: {what}; evaluate it first: sumkit eval {run.path}")
    rows = {row.id: row for row in run.predictions}
    if len(rows) < len(run.predictions):
        seen = [row.id for row in run.predictions]
        twice = next(i for i in seen if seen.count(i) > 1)
        raise DataError(f"{run.directory.predictions}: {len(seen) - len(rows)} ids repeat, the first is {twice!r}")
    unscored = [row.id for row in run.predictions if any(measure not in row.scores for measure in ROUGE_METRICS)]
    if unscored:
        raise DataError(
            f"{run.directory.predictions}: {len(unscored)} rows have no scores, the first is {unscored[0]!r}; "
            f"evaluate the run again: sumkit eval {run.path}"
        )
    return rows


def shared_ids(rows: Mapping[str, Mapping[str, PredictionRow]]) -> list[str]:
    """Ids that every run has, in the first run's order. Raises DataError where they do not mean the same."""
    (first_name, first), *others = rows.items()
    shared = [i for i in first if all(i in own for _, own in others)]
    if not shared:
        raise DataError(f"the runs share no document id; evaluate them on the same data ({', '.join(rows)})")
    for name, own in others:
        for noun, same in (("documents", _same_document), ("references", _same_references)):
            different = [i for i in shared if not same(first[i], own[i])]
            if different:
                raise DataError(
                    f"{len(different)} ids stand for different {noun} in {first_name} and {name}, the first is "
                    f"{different[0]!r}: evaluate both on the same data"
                )
    return shared


def _same_document(ours: PredictionRow, theirs: PredictionRow) -> bool:
    return ours.document_sha256 == theirs.document_sha256


def _same_references(ours: PredictionRow, theirs: PredictionRow) -> bool:
    """Of several references each run shows the one it was scored on, so that all of them have to be compared."""
    if ours.references and theirs.references:
        return ours.references == theirs.references
    return ours.reference == theirs.reference


def paired_differences(scores: Mapping[str, Any], measure: str) -> list[PairedDifference]:
    """Every pair of runs in one measure, the better one first, with p values corrected over all pairs."""
    found = []
    for first, second in combinations(scores, 2):
        difference = paired_difference(scores[first], scores[second])
        if difference.mean < 0:
            first, second, difference = second, first, paired_difference(scores[second], scores[first])
        found.append((first, second, difference))
    adjusted = holm([difference.p_value for _, _, difference in found])
    return [PairedDifference(a, b, measure, d, p) for (a, b, d), p in zip(found, adjusted, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the i-th smallest p value times (n - i), never falling, at most 1."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted


def differing_settings(runs: Mapping[str, RunFiles]) -> dict[str, dict[str, Any]]:
    """Settings that are not the same in every run (where a run's output goes does not count)."""
    paths = {
        f"{group}.{name}": None
        for run in runs.values()
        for group, values in run.config.items()
        if isinstance(values, Mapping) and group != "output"
        for name in values
    }
    table = {path: {name: run.setting(path) for name, run in runs.items()} for path in paths}
    return {path: row for path, row in table.items() if len({repr(value) for value in row.values()}) > 1}


def telling_examples(
    rows: Mapping[str, Mapping[str, PredictionRow]], shared: Sequence[str], measure: str, count: int
) -> tuple[TellingExample, ...]:
    """The documents with the widest spread of `measure` over the runs, widest first."""

    def spread(identifier: str) -> float:
        values = [own[identifier].scores[measure] for own in rows.values()]
        return max(values) - min(values)

    chosen = sorted(shared, key=lambda identifier: -spread(identifier))[:count]
    first = next(iter(rows.values()))
    return tuple(
        TellingExample(
            identifier,
            first[identifier].reference,
            {name: own[identifier].prediction for name, own in rows.items()},
            {name: own[identifier].scores[measure] for name, own in rows.items()},
        )
        for identifier in chosen
    )
