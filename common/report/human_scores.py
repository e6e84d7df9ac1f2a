"""Ratings read back from a blinded sheet: means, win rates, and how far the raters agree.

Ratings of one summary are averaged over raters first, so that intervals are over documents, not over clicks.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from common.data.read_csv import large_fields
from common.errors import DataError
from common.metrics.agreement import krippendorff_alpha
from common.metrics.bootstrap import Interval, bootstrap_interval
from common.report.human_sheet import CRITERIA, FOLDER, KEY, RATING_COLUMNS, SCALE
from common.text import amounts
from common.text.names import system_label
from common.text.table import text_table

SYSTEMS = ("tuned", "base", "reference")
MOST_PROBLEMS = 10  # named in an error message; the rest is counted

Place = tuple[str, str]  # (item, summary label)
Ratings = dict[tuple[str, Place], dict[str, float]]  # (rater, place) -> criterion -> rating


@dataclass(frozen=True)
class WinRate:
    """How often `first` was rated higher than `second` on the same document, ties counting half, in percent."""

    first: str
    second: str
    rate: Interval
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class HumanScores:
    """Mean ratings by system and criterion, win rates of all pairs, and Krippendorff's ordinal alpha by criterion.

    An alpha is None where fewer than two raters rated the same summaries, or all ratings are equal.
    """

    raters: tuple[str, ...]
    documents: int
    means: Mapping[str, Mapping[str, Interval]]
    win_rates: tuple[WinRate, ...]
    agreement: Mapping[str, float | None]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def read_human_scores(run: Path, files: Sequence[Path]) -> HumanScores:
    """Read the rating files of one or more raters against the key in the run's `human` folder.

    Raises DataError listing every problem: another sheet's ratings, unknown items, ratings off the scale, a rater
    who rated the same summary twice, or no rating at all.
    """
    key, sheet = read_key(Path(run) / FOLDER / KEY)
    ratings: Ratings = {}
    problems: list[str] = []
    for file in files:
        _read_ratings(Path(file), sheet, key, ratings, problems)
    if problems:
        shown = problems[:MOST_PROBLEMS]
        more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        raise DataError("\n".join(["the ratings cannot be used:", *shown, *more]))
    if not ratings:
        raise DataError(f"{', '.join(map(str, files))}: no rating is filled in")
    return summarise(ratings, key)


def read_key(path: Path) -> tuple[dict[Place, str], str]:
    """(item, label) -> system, and the id of the sheet."""
    if not path.is_file():
        raise DataError(f"{path} is missing; the key is written together with the sheet: sumkit eval --human-sheet N")
    columns, rows = _read_csv(path)
    systems = {row.get("system") for row in rows}
    if not rows or not {"sheet", "item", "summary"} <= set(columns) or not systems <= set(SYSTEMS):
        raise DataError(
            f"{path} is damaged: it must name the system ({', '.join(SYSTEMS)}) of each item and summary. Take it from "
            "a backup; a new sheet, sumkit eval --human-sheet N, would not fit ratings that were made on the old one"
        )
    return {(row["item"], row["summary"]): row["system"] for row in rows}, rows[0]["sheet"]


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Column names and rows of a CSV file as spreadsheets write it; a cell that a short row lacks is empty."""
    try:
        with large_fields(), path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            sample = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, restval="", delimiter=";" if sample.count(";") > sample.count(",") else ",")
            return list(reader.fieldnames or ()), list(reader)
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _read_ratings(path: Path, sheet: str, key: Mapping[Place, str], ratings: Ratings, problems: list[str]) -> None:
    columns, rows = _read_csv(path)
    missing = [name for name in RATING_COLUMNS if name not in columns]
    if missing:
        raise DataError(
            f"{path}: is not a filled-in sheet, it has no column {', '.join(missing)}; give the CSV file that the form "
            f"saved, or the filled-in {FOLDER}/sheet.csv"
        )
    for line, row in enumerate(rows, 2):
        where = f"{path}, row {line}"
        place = ((row["item"] or "").strip(), (row["summary"] or "").strip())
        given = {name: _rating((row[name] or "").strip(), name, where, problems) for name in CRITERIA}
        values = {name: value for name, value in given.items() if value is not None}
        if not values:
            continue
        rater = (row["rater"] or "").strip() or path.stem
        if row["sheet"] != sheet:
            problems.append(f"{where}: belongs to sheet {row['sheet']!r}, the key is of sheet {sheet!r}")
        elif place not in key:
            problems.append(f"{where}: item {place[0]!r}, summary {place[1]!r} is not in the sheet")
        elif (rater, place) in ratings:
            problems.append(f"{where}: rater {rater!r} rated item {place[0]}, summary {place[1]} twice")
        else:
            ratings[(rater, place)] = values


def _rating(text: str, criterion: str, where: str, problems: list[str]) -> float | None:
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if value not in SCALE:
        problems.append(f"{where}: {criterion} is {text!r}; allowed are {SCALE[0]} to {SCALE[-1]}, or nothing")
        return None
    return value


def summarise(ratings: Ratings, key: Mapping[Place, str]) -> HumanScores:
    """Means, win rates and agreement of ratings that were checked."""
    raters = tuple(sorted({rater for rater, _ in ratings}))
    by_system: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)  # system -> item -> criterion -> mean
    for place, system in key.items():
        given = [ratings[(rater, place)] for rater in raters if (rater, place) in ratings]
        means = {name: [values[name] for values in given if name in values] for name in CRITERIA}
        if given:
            by_system[system][place[0]] = {name: float(np.mean(v)) for name, v in means.items() if v}
    systems = sorted(by_system, key=SYSTEMS.index)
    return HumanScores(
        raters=raters,
        documents=len({place[0] for _, place in ratings}),
        means={system: _means(by_system[system]) for system in systems},
        win_rates=tuple(_win_rate(a, b, by_system) for a, b in combinations(systems, 2)),
        agreement={name: _agreement(ratings, raters, name) for name in CRITERIA},
    )


def _means(items: Mapping[str, Mapping[str, float]]) -> dict[str, Interval]:
    columns = {name: [values[name] for values in items.values() if name in values] for name in CRITERIA}
    found = {name: bootstrap_interval(values) for name, values in columns.items() if values}
    found["overall"] = bootstrap_interval([float(np.mean(list(values.values()))) for values in items.values()])
    return found


def _win_rate(first: str, second: str, by_system: Mapping[str, Mapping[str, Mapping[str, float]]]) -> WinRate:
    """Compare the mean rating over the criteria that both summaries of a document got."""
    outcomes = []
    for item, ours in by_system[first].items():
        theirs = by_system[second].get(item, {})
        both = [name for name in ours if name in theirs]
        if both:
            gap = sum(ours[name] - theirs[name] for name in both)
            outcomes.append(0.5 if abs(gap) < 1e-9 else float(gap > 0))
    rate = bootstrap_interval([100 * outcome for outcome in outcomes]) if outcomes else Interval(50.0, 0.0, 100.0)
    return WinRate(first, second, rate, outcomes.count(1.0), outcomes.count(0.5), outcomes.count(0.0))


def _agreement(ratings: Ratings, raters: Sequence[str], criterion: str) -> float | None:
    places = sorted({place for _, place in ratings})
    table = np.full((len(raters), len(places)), np.nan)
    for row, rater in enumerate(raters):
        for column, place in enumerate(places):
            table[row, column] = ratings.get((rater, place), {}).get(criterion, np.nan)
    if ((~np.isnan(table)).sum(axis=0) >= 2).sum() == 0:
        return None
    alpha = krippendorff_alpha(table, "ordinal")
    return None if math.isnan(alpha) else alpha


def human_table(scores: HumanScores) -> str:
    """The scores as aligned text for a terminal."""
    names = [*CRITERIA, "overall"]
    rows = [
        [system_label(system), *(_mean(means[name]) if name in means else "–" for name in names)]
        for system, means in scores.means.items()
    ]
    alphas = [scores.agreement[name] for name in CRITERIA]
    rows.append(["agreement", *("–" if alpha is None else f"{alpha:.2f}" for alpha in alphas), ""])
    lines = [text_table(["system", *names], rows)]
    lines.append(
        f"{len(scores.raters)} raters, {scores.documents} documents; agreement is Krippendorff's ordinal alpha"
    )
    for win in scores.win_rates:
        lines.append(
            f"{system_label(win.first)} beats {system_label(win.second)} in {win.rate.mean:.0f} % "
            f"[{win.rate.low:.0f}, {win.rate.high:.0f}] of the documents "
            f"({win.wins} wins, {win.ties} ties, {win.losses} losses)"
        )
    return "\n".join(lines)


def _mean(score: Interval) -> str:
    return amounts.Interval(score.mean, score.low, score.high).text(2)
