"""Record a finished run's scores as a benchmark result: `python -m benchmarks.record_run RUN NAME --command "…"`.

Takes the figures from the run's own results.json and metrics.jsonl; measures nothing itself. The rate is that of the
median step, and the seconds are the tokens at that rate: pauses and short disturbances do not count.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.record import headline, median, write_result

PACKAGES = ("torch", "mlx", "mlx-lm", "transformers", "peft", "numpy", "rouge-score")


def main() -> None:
    """Read the run, write benchmarks/results/NAME.json and print its path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--command", required=True, help="the command that made the run")
    arguments = parser.parse_args()
    results = json.loads((arguments.run / "results.json").read_text(encoding="utf-8"))
    state = json.loads((arguments.run / "finished.json").read_text(encoding="utf-8"))["state"]
    lines = (arguments.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rate = median([line["tokens_per_second"] for line in map(json.loads, lines) if "tokens_per_second" in line])
    rows = [
        {
            "system": name,
            **{measure: scores[measure] for measure in ("rouge1", "rouge2", "rougeL", "rougeLsum")},
            **{measure: round(scores[measure], 3) for measure in ("words", "unsupported_claims")},
            "stop_reasons": results["stop_reasons"].get(name),
        }
        for name, scores in results["systems"].items()
    ]
    training = {
        "steps": state["step"],
        "tokens": state["tokens"],
        "target_tokens": state["target_tokens"],
        "seconds": round(state["tokens"] / rate, 1),
        "seconds_with_pauses": round(state["seconds"], 1),
        "tokens_per_second": round(rate, 1),
        "examples_scored": results["examples"],
        "split": results["split"],
        "multi_reference": results["multi_reference"],
        "differences": {name: values["rouge1"] for name, values in results["differences"].items()},
    }
    tuned, base = results["systems"]["tuned"]["rouge1"]["mean"], results["systems"]["base"]["rouge1"]["mean"]
    path = write_result(
        arguments.name,
        arguments.command,
        [*rows, {"training": training}],
        headline("ROUGE-1 F", tuned, base, f"untuned model, template {results['base_template']}"),
        packages=PACKAGES,
        device=results["device"],
    )
    print(path)


if __name__ == "__main__":
    main()
