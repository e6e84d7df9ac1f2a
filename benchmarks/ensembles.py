"""What a vote among runs and an average of their adapters gain over the runs alone.

Run: python -m benchmarks.ensembles --run RUN --run RUN --run RUN --data dialogsum/dev.jsonl [--limit N] [--out DIR]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.record import RESULTS, headline, write_result
from benchmarks.scored_summaries import line_of, read_examples, row_of, score
from common.summarize.ensemble import elect, load_averaged
from common.summarize.summarizer import Summarizer


def main() -> None:
    """Score each run, the vote over their summaries, and the averaged run; differences are against the best run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", dest="runs", action="append", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="JSONL with document and summary")
    parser.add_argument("--limit", type=int, default=0, help="use at most this many documents (0: all)")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    examples = read_examples(arguments.data, arguments.limit)
    documents = [example.document for example in examples]
    written, took = {}, {}
    for run in arguments.runs:
        began = time.perf_counter()
        written[run.name] = Summarizer.load(run, engine=arguments.engine).summarize(documents)
        took[run.name] = time.perf_counter() - began
    scores = {name: score(examples, summaries) for name, summaries in written.items()}
    best = max(scores, key=lambda name: float(scores[name]["rouge1"].mean()))
    singles = len(written)
    written["vote"] = [elect(candidates) for candidates in zip(*written.values(), strict=True)]
    took["vote"] = sum(took.values())
    began = time.perf_counter()
    written["average"] = load_averaged(arguments.runs, arguments.engine).summarize(documents)
    took["average"] = time.perf_counter() - began
    rows = []
    for place, (name, summaries) in enumerate(written.items()):
        against = scores[best] if place >= singles else None
        rows.append(row_of(name, examples, summaries, took[name], against))
        print(line_of(rows[-1]), flush=True)
    means = {row["system"]: row["rouge1"]["mean"] for row in rows}
    winner = max(("vote", "average"), key=lambda name: means[name])
    path = write_result(
        "ensembles",
        "python -m benchmarks.ensembles --run RUN --run RUN --run RUN --data dialogsum/dev.jsonl"
        + (f" --limit {arguments.limit}" if arguments.limit else ""),
        rows,
        headline(f"ROUGE-1 of the {winner}", means[winner], means[best], "the best run alone"),
        packages=("torch", "mlx", "transformers"),
        notes=[f"difference: paired, against the best run alone ({best}), which is chosen on these same documents"],
        directory=arguments.out,
    )
    print(path)


if __name__ == "__main__":
    main()
