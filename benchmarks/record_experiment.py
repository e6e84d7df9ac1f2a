"""Record a sweep or a comparison of prompts as a benchmark result: `python -m benchmarks.record_experiment FILE NAME`.

FILE is a sweep's results.json, or what `sumkit prompts --score --json` printed. Measures nothing itself.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.record import headline, write_result

PACKAGES = ("torch", "mlx", "mlx-lm", "transformers", "peft", "numpy", "rouge-score")


def main() -> None:
    """Read the file, write benchmarks/results/NAME.json and print its path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("name")
    parser.add_argument("--command", required=True, help="the command that made the file, without paths of a machine")
    arguments = parser.parse_args()
    results = json.loads(arguments.file.read_text(encoding="utf-8"))
    rows, first = _sweep(results) if "trials" in results else _prompts(results)
    facts = {key: results[key] for key in ("model", "measure", "documents", "halving", "rounds") if key in results}
    facts["data"] = Path(results["data"]).name
    notes = [results["best"]["sentence"]] if "best" in results else []
    print(write_result(arguments.name, arguments.command, [facts, *rows], first, packages=PACKAGES, notes=notes))


def _sweep(results: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows = [{key: value for key, value in row.items() if key != "run"} for row in results["trials"]]
    measure = results["measure"]
    scored = [row for row in rows if row["status"] == "finished"]
    best, worst = scored[0], scored[-1]
    lower = measure == "dev_loss"
    said = ", ".join(f"{name} {value}" for name, value in worst["settings"].items())
    return rows, headline(
        f"{measure} of the chosen trial", best[measure]["mean"], worst[measure]["mean"],
        f"the last of {len(scored)} finished trials ({said})", lower_is_better=lower,
    )  # fmt: skip


def _prompts(results: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows = [{**row, "run": "tuned" if row["run"] else None} for row in results["templates"]]
    zero = [row for row in rows if not row["run"]]
    best, worst = zero[0], zero[-1]
    return rows, headline(
        f"ROUGE-1 of the best zero-shot template, {best['template']}", best["rouge1"]["mean"],
        worst["rouge1"]["mean"], f"the worst, {worst['template']}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
