"""The committed results as Markdown tables, for README and docs/benchmarks.md. Measures nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
SYSTEMS = {
    "tuned": "fine-tuned",
    "base": "untuned, its best zero-shot prompt",
    "lead3": "Lead-3 (first three sentences)",
    "lead1": "Lead-1 (first sentence)",
}
ALIGNED = {"tuned": "aligned", "base": "untuned"}
NOT_TRAINED = ("lead1", "lead3", "random", "oracle")
# Results whose other side is a limit, by the beginning of their names: a ratio to it would compare nothing.
HELD_TO_A_LIMIT = ("chinchilla_", "exports", "kill_and_resume", "loading_memory", "planner_", "soak_")
MEASURES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}


def all_results() -> dict[str, dict[str, Any]]:
    """Every committed result by the name of its file."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def scores_table(result: dict[str, Any]) -> str:
    """A run's systems with their 95 % intervals, the fine-tuned one in bold; the gain, time and device below."""
    lines = [f"| system | {' | '.join(MEASURES.values())} |", "|---|---|---|---|"]
    rows = {row["system"]: row for row in result["rows"] if "system" in row}
    for name, label in SYSTEMS.items():
        if name in rows:
            bold = "**" if name == "tuned" else ""
            cells = [
                f"{bold}{rows[name][m]['mean']:.1f}{bold} [{rows[name][m]['low']:.1f}, {rows[name][m]['high']:.1f}]"
                for m in MEASURES
            ]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    training = next(row["training"] for row in result["rows"] if "training" in row)
    gain, scored = training["differences"]["tuned-base"], training["examples_scored"]
    finished = rows["tuned"]["stop_reasons"]["eos"]
    share = f"All {scored}" if finished == scored else f"{finished} of {scored}"
    minutes, seconds = divmod(round(training["seconds"]), 60)
    lines += [
        "",
        f"ROUGE in percent, with 95 % intervals. Gain over the untuned model: {gain['mean']:.1f} ROUGE-1 "
        f"[{gain['low']:.1f}, {gain['high']:.1f}].\n{share} summaries finished before the length limit. "
        f"{result['device']}, {minutes} min {seconds:02d} s of training, "
        f"{result['date'][:10]}.",
    ]
    return "\n".join(lines)


def runs_table(results: dict[str, dict[str, Any]]) -> str:
    """One line for each recorded fine-tune: ROUGE-1 of the systems, the gain with its interval, time and device."""
    lines = [
        "| run | fine-tuned | untuned | Lead-3 | gain over untuned | documents | training* | device |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        rows = {row["system"]: row["rouge1"] for row in result["rows"] if "system" in row and "rouge1" in row}
        training = next((row["training"] for row in result["rows"] if "training" in row), None)
        if training is None or not {"tuned", "base", "lead3"} <= rows.keys():
            continue
        gain = training["differences"]["tuned-base"]
        lines.append(
            f"| `{name}` | **{rows['tuned']['mean']:.1f}** | {rows['base']['mean']:.1f} "
            f"| {rows['lead3']['mean']:.1f} | {gain['mean']:+.1f} [{gain['low']:.1f}, {gain['high']:.1f}] "
            f"| {training['examples_scored']:,} {training['split']} | {training['seconds'] / 60:,.1f} min "
            f"| {result['device']} |"
        )
    note = "\\* Training steps alone, all at the median speed: evaluations and pauses do not count."
    return "\n".join([*lines, "", note])


def recipes_table(results: dict[str, dict[str, Any]]) -> str:
    """One line for each recorded run of a recipe (`recipe_NAME`): ROUGE of the systems, endings, and the command."""
    lines = ["| recipe | system | ROUGE-1 / 2 / L | finished |", "|---|---|---|---|"]
    commands = []
    for name, result in results.items():
        if not name.startswith("recipe_"):
            continue
        recipe = f"`{name.removeprefix('recipe_')}`"
        commands.append(f"{recipe}: `{result['command']}`")
        for row in result["rows"]:
            if row.get("system") not in SYSTEMS:
                continue
            scores = " / ".join(f"{row[measure]['mean']:.1f}" for measure in MEASURES)
            reasons = row.get("stop_reasons")
            ended = f"{reasons.get('eos', 0)} of {sum(reasons.values())}" if reasons else ""
            lines.append(f"| {recipe} | {SYSTEMS[row['system']]} | {scores} | {ended} |")
            recipe = ""
    return "\n".join([*lines, "", *(f"- {command}" for command in commands)])


def methods_table(result: dict[str, Any] | None, first: str) -> str:
    """Ways to summarize the same documents, a line each, with their cost, and what the differences are against."""
    if result is None:
        return "Not measured yet."
    lines = [
        f"| {first} | ROUGE-1 | ROUGE-2 | difference in ROUGE-1 | unsupported claims | seconds each |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        difference = _signed(row["difference"]["rouge1"]) if "difference" in row else ""
        lines.append(
            f"| {row['system']} | {_interval(row['rouge1'])} | {_interval(row['rouge2'])} | {difference} "
            f"| {row['unsupported_claims']:.2f} | {row['seconds_each']:.1f} |"
        )
    scored = next(row["examples"] for row in result["rows"])
    return "\n".join([*lines, "", f"{scored} documents, {_measured(result)}: `{result['command']}`"])


def exports_table(result: dict[str, Any] | None) -> str:
    """Every export of one run beside the run itself: size, logits, greedy summaries, and what they score."""
    if result is None:
        return "Not measured yet."
    lines = [
        "| export | size | logits off | same next token | identical summaries | ROUGE-L with the run's | ROUGE-1 |",
        "|---|---|---|---|---|---|---|",
    ]
    own = ""
    for row in result["rows"]:
        if "failed" in row:
            lines.append(f"| `{row['export']}` | refused: {row['failed'].splitlines()[0]} | | | | | |")
            continue
        logits, texts = row["verification"]["logits"], row["verification"]["summaries"]
        own = f"{texts['run']['rouge1']:.1f}"
        lines.append(
            f"| `{row['export']}` | {row['bytes'] / 1e6:,.1f} MB | {100 * logits['error']:.1f} % "
            f"| {100 * logits['same_choice']:.1f} % | {texts['identical']} of {texts['documents']} "
            f"| {texts['agreement']:.1f} | {texts['export']['rouge1']:.1f} |"
        )
    return "\n".join([*lines, "", f"The run's own ROUGE-1: {own}. {_measured(result)}: `{result['command']}`"])


def prompts_table(result: dict[str, Any] | None) -> str:
    """Templates zero-shot and tuned on the same documents: ROUGE-1, what they cost in tokens, and endings."""
    if result is None:
        return "Not measured yet."
    lines = ["| template | | ROUGE-1 | tokens it adds | finished |", "|---|---|---|---|---|"]
    rows = [row for row in result["rows"] if "template" in row]
    for row in sorted(rows, key=lambda row: -row["rouge1"]["mean"]):
        lines.append(
            f"| `{row['template']}` | {'tuned' if row['run'] else 'zero-shot'} | {_interval(row['rouge1'])} "
            f"| {row['overhead_tokens']:.0f} | {row['stop_reasons']['eos']} of {sum(row['stop_reasons'].values())} |"
        )
    return "\n".join([*lines, "", f"{_measured(result)}: `{result['command']}`"])


def alignment_table(results: dict[str, dict[str, Any]]) -> str:
    """Recorded alignments (`align_NAME`): the aligned run, the one it started from and the untuned model."""
    found = {name: result for name, result in results.items() if name.startswith("align_")}
    if not found:
        return "Not measured yet."
    lines = [
        "| run | system | ROUGE-1 | ROUGE-2 | ROUGE-L | words | unsupported claims |",
        "|---|---|---|---|---|---|---|",
    ]
    below = []
    for name, result in found.items():
        shown = f"`{name}`"
        for row in result["rows"]:
            if "system" not in row or row["system"] in NOT_TRAINED:
                continue
            label = ALIGNED.get(row["system"], "before alignment")
            scores = " | ".join(_interval(row[measure]) for measure in MEASURES)
            lines.append(f"| {shown} | {label} | {scores} | {row['words']:.1f} | {row['unsupported_claims']:.2f} |")
            shown = ""
        training = next(row["training"] for row in result["rows"] if "training" in row)
        known = {*SYSTEMS, *NOT_TRAINED}
        gain = next(value for pair, value in training["differences"].items() if pair.split("-", 1)[1] not in known)
        below.append(
            f"- `{name}`: {training['examples_scored']} {training['split']} documents, {_signed(gain)} ROUGE-1 against "
            f"the run before; {_measured(result)}: `{result['command']}`"
        )
    return "\n".join([*lines, "", *below])


def _interval(score: dict[str, float]) -> str:
    return f"{score['mean']:.1f} [{score['low']:.1f}, {score['high']:.1f}]"


def _signed(score: dict[str, float]) -> str:
    return f"{score['mean']:+.1f} [{score['low']:+.1f}, {score['high']:+.1f}]"


def _measured(result: dict[str, Any]) -> str:
    return f"{result['device']}, {result['date'][:10]}"


def limits_table(results: dict[str, dict[str, Any]]) -> str:
    """One line for each result that is held to a limit, rather than compared with another way of doing it."""
    lines = ["| result | measured | value | limit | kept | device | date |", "|---|---|---|---|---|---|---|"]
    for name, result in results.items():
        head = result["headline"]
        if name.startswith(HELD_TO_A_LIMIT):
            limit, kept = f"{head['peer_name']}: {_figure(head['peer'])}", "yes" if head["ratio"] >= 1 else "no"
            lines.append(
                f"| `{name}` | {head['metric']} | {_figure(head['ours'])} | {limit} | {kept} "
                f"| {result['device']} | {result['date'][:10]} |"
            )
    return "\n".join(lines)


def headline_table(results: dict[str, dict[str, Any]]) -> str:
    """One line for each other result: what was measured, ours, the other side, the ratio (above 1: ours is better)."""
    lines = ["| result | measured | ours | compared with | ratio | device | date |", "|---|---|---|---|---|---|---|"]
    for name, result in results.items():
        head = result["headline"]
        if name.startswith(HELD_TO_A_LIMIT):
            continue
        lines.append(
            f"| `{name}` | {head['metric']} | {_figure(head['ours'])} | {head['peer_name']}: "
            f"{_figure(head['peer'])} | {head['ratio']:.2f} | {result['device']} | {result['date'][:10]} |"
        )
    return "\n".join(lines)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
