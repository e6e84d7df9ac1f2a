"""The tables of a report as plain cells: scores, other measures, stop reasons, settings, environment, commands.

Cells are text that is not yet escaped. Knows nothing of HTML or Markdown.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.report.verdict import REFERENCE_POINTS, Verdict
from common.run.contents import RunFiles
from common.run.directory import RunDirectory
from common.text.amounts import (
    Interval,
    bytes_text,
    decimal,
    duration,
    finite,
    mapping,
    quantity,
    read_interval,
    share,
    signed,
)
from common.text.names import QUALITY_METRICS, metric_label, system_label

NOTHING = ("", "–", "none", "0")  # facts that say no more than that there is nothing to say
STOP_REASONS = ("eos", "length", "error")
STOP_LABELS = {"eos": "finished", "length": "cut at the limit", "error": "failed"}
# Keys of results.json and environment.json that have tables of their own.
OWN_SECTION = ("systems", "differences", "stop_reasons", "training_data", "data_report", "overlap", "notes")


@dataclass(frozen=True)
class ScoreRow:
    """One system and its score in each column, None where it was not measured; `best` names its winning columns."""

    system: str
    label: str
    scores: tuple[Interval | None, ...]
    best: tuple[bool, ...]


@dataclass(frozen=True)
class Table:
    """A table with a header row; the first cell of each row is its header."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def ordered_systems(names: Sequence[str]) -> list[str]:
    """The fine-tuned model first, then the fixed reference points, then earlier runs."""
    order = {name: place for place, name in enumerate(("tuned", *REFERENCE_POINTS))}  # the oracle last of all
    return sorted(names, key=lambda name: order.get(name, len(order) - 1.5))


def score_table(results: Mapping[str, Any]) -> tuple[tuple[str, ...], list[ScoreRow]]:
    """(metric names, rows) of the quality measures that any system has. The oracle never counts as best."""
    systems = {name: mapping(value) for name, value in mapping(results.get("systems")).items()}
    metrics = tuple(m for m in QUALITY_METRICS if any(read_interval(scores.get(m)) for scores in systems.values()))
    intervals = {name: tuple(read_interval(scores.get(m)) for m in metrics) for name, scores in systems.items()}
    contenders = [scores for name, scores in intervals.items() if name != "oracle"]
    highest = [max((s[i].mean for s in contenders if s[i]), default=None) for i in range(len(metrics))]  # type: ignore[union-attr]
    rows = [
        ScoreRow(
            name,
            system_label(name),
            intervals[name],
            tuple(
                score is not None and name != "oracle" and score.mean == top
                for score, top in zip(intervals[name], highest, strict=True)
            ),
        )
        for name in ordered_systems(list(systems))
    ]
    return metrics, rows


def other_measures(results: Mapping[str, Any]) -> Table | None:
    """Everything else that was measured, one measure a row and one system a column."""
    systems = {name: mapping(value) for name, value in mapping(results.get("systems")).items()}
    names = ordered_systems(list(systems))
    measures = dict.fromkeys(m for name in names for m in systems[name] if m not in QUALITY_METRICS)
    rows = []
    for measure in measures:
        cells = [read_interval(systems[name].get(measure)) for name in names]
        if any(cells):
            rows.append((metric_label(measure), *(_measured(cell) if cell else "–" for cell in cells)))
    return Table(("measure", *map(system_label, names)), tuple(rows)) if rows else None


def score_notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader must know of how scores were made, as results.json states it."""
    notes = results.get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


def _measured(value: Interval) -> str:
    """One decimal from 10 on, two below, none for whole numbers."""
    digits = 0 if value.mean == int(value.mean) else 1 if abs(value.mean) >= 10 else 2
    return f"{decimal(value.mean, digits)} {value.bounds}".rstrip()


def overlap_table(results: Mapping[str, Any]) -> Table | None:
    """Scores without the documents that were trained on, one system a row; None where there are none such."""
    systems = {n: mapping(v) for n, v in mapping(mapping(results.get("overlap")).get("without_them")).items()}
    metrics = tuple(m for m in QUALITY_METRICS if any(read_interval(scores.get(m)) for scores in systems.values()))
    rows = tuple(
        (system_label(name), *(str(read_interval(systems[name].get(metric)) or "–") for metric in metrics))
        for name in ordered_systems(list(systems))
    )
    return Table(("system", *map(metric_label, metrics)), rows) if metrics and rows else None


def stop_counts(run: RunFiles) -> dict[str, dict[str, int]]:
    """How generations ended, by system; counted from the predictions where results.json does not say."""
    stated = {
        name: {reason: int(finite(mapping(value).get(reason)) or 0) for reason in STOP_REASONS}
        for name, value in mapping(run.results.get("stop_reasons")).items()
    }
    if not stated:
        generated = {run.main_system: run.predictions, "base": run.others.get("base", ())}
        for name, rows in generated.items():
            stated[name] = {reason: sum(row.stop_reason == reason for row in rows) for reason in STOP_REASONS}
    return {name: stated[name] for name in ordered_systems([n for n in stated if sum(stated[n].values())])}


def stop_table(run: RunFiles) -> Table | None:
    counts = stop_counts(run)
    rows = tuple(
        (system_label(name), *(f"{by[reason]:,} ({share(by[reason], sum(by.values()))})" for reason in STOP_REASONS))
        for name, by in counts.items()
    )
    return Table(("system", *(STOP_LABELS[reason] for reason in STOP_REASONS)), rows) if rows else None


def key_figures(run: RunFiles, verdict: Verdict) -> list[tuple[str, str, str]]:
    """(what, figure, explanation) of the numbers to read first; only those that are known."""
    figures = []
    tuned = mapping(mapping(run.results.get("systems")).get(run.main_system))
    if (score := read_interval(tuned.get("rouge1"))) is not None:
        figures.append(("ROUGE-1", decimal(score.mean), score.bounds))
    for item in verdict.comparisons[:2]:
        label = system_label(item.other)
        figures.append((f"gain over {label}", signed(item.difference.mean), item.difference.bounds))
    if examples := finite(run.results.get("examples")):
        figures.append(("test examples", f"{examples:,.0f}", str(run.results.get("split") or "")))
    if run.metrics:
        last = run.metrics[-1]
        epochs = finite(last.get("epoch"))
        passes = f"{epochs:.4g} epoch{'s' if epochs != 1 else ''}" if epochs else ""
        figures.append(("training steps", f"{last['step']:,.0f}", passes))
    if seconds := training_seconds(run):
        figures.append(("training time", duration(seconds), ""))
    if peak := max((finite(row.get("peak_memory_bytes")) or 0 for row in run.metrics), default=0):
        figures.append(("peak memory", bytes_text(peak), ""))
    if trainable := finite(run.environment.get("trainable_parameters")):
        total = finite(run.environment.get("parameters")) or 0
        part = f"{100 * trainable / total:.2g} % of all" if total else ""
        figures.append(("trained parameters", f"{trainable:,.0f}", part))
    return figures


def training_seconds(run: RunFiles) -> float:
    """Seconds spent in training steps: as stated, else from tokens and tokens per second of the log."""
    if stated := finite(run.state.get("seconds")):
        return stated
    total = 0.0
    for row in run.metrics:
        tokens, speed = finite(row.get("tokens")), finite(row.get("tokens_per_second"))
        total += tokens / speed if tokens and speed else 0.0
    return total


def settings_table(run: RunFiles) -> list[tuple[str, str, bool]]:
    """(flag, value, whether it differs from the default) of every setting; one that has no flag by its dotted path."""
    from common.config import all_settings

    defaults = {info.path: info.default for info in all_settings()}
    flags = {info.path: info.flag for info in all_settings()}
    rows = []
    for group, values in run.config.items():
        named = values.items() if isinstance(values, Mapping) else (("", values),)
        for name, value in named:
            path = f"{group}.{name}" if name else str(group)
            rows.append((flags.get(path, path), quantity(value), path not in defaults or value != defaults[path]))
    return rows


def facts_table(values: Mapping[str, Any], without: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Nested facts as (dotted path, value) rows; a long list is shown by its first items."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if key in without:
            continue
        if isinstance(value, Mapping):
            rows.extend((f"{key}.{inner}", shown) for inner, shown in facts_table(value))
        elif isinstance(value, list) and len(value) > 8:
            rows.append((str(key), quantity(value[:8]) + f", … ({len(value):,} in all)"))
        else:
            rows.append((str(key), quantity(value)))
    return rows


def data_facts(run: RunFiles) -> list[tuple[str, str]]:
    """What is recorded about the data: settings, what encoding did to it, counts in results.json."""
    rows = [("data set", quantity(run.results.get("data") or run.setting("data.data")))]
    for group in ("training_data", "data_report", "overlap", "notes"):
        for source in (run.environment, run.results):
            words = group.replace("_", " ")
            found = facts_table(mapping(source.get(group)), without=("without_them",))
            rows += [(f"{words}: {name.replace('_', ' ')}", v) for name, v in found if v not in NOTHING]
    return rows


def repeat_commands(run: RunFiles) -> list[tuple[str, str]]:
    """(what it does, command line) to repeat training, evaluation and this report."""
    from common.config import all_settings

    home, path = run.directory.home, shlex.quote(str(run.path))
    config = shlex.quote(str(RunDirectory(home).config))
    commands = []
    if run.config:
        again = shlex.quote(f"{home}-again")
        commands.append(("Train again with exactly these settings", f"sumkit train --config {config} --run {again}"))
        flags = []
        for info in all_settings():
            value = run.setting(info.path, info.default)
            if value == info.default or info.name == "run":
                continue
            if isinstance(value, bool):
                flags.append(info.flag if value else f"--no-{info.flag[2:]}")
            else:
                flags.append(f"{info.flag} {shlex.quote(str(value))}")
        if flags:
            commands.append(("The same from the command line", f"sumkit train {' '.join(flags)} --run {again}"))
    if run.results:
        evaluate = ["sumkit eval", shlex.quote(str(home)), *_evaluation_flags(run.results)]
        commands.append(("Evaluate again", " ".join(evaluate)))
    commands.append(("Write this report again", f"sumkit report {path}"))
    return commands


def _evaluation_flags(results: Mapping[str, Any]) -> list[str]:
    """The flags of `sumkit eval` that make these results again."""
    given = [(name, results.get(name)) for name in ("data", "split", "limit")]
    if results.get("multi_reference") != "best":
        given.append(("multi-reference", results.get("multi_reference")))
    given += [("base-template", results.get("base_template")), ("bertscore", results.get("bertscore_model"))]
    given += [("beside", path) for path in mapping(results.get("beside")).values()]
    flags = [f"--{name} {shlex.quote(str(value))}" for name, value in given if isinstance(value, str | int) and value]
    systems = mapping(results.get("systems"))
    return flags if not systems or "base" in systems else [*flags, "--no-base"]
