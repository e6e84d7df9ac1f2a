"""How many tokens of a summary one pass gives with prompt lookup, counted on summaries that runs have written.

Run: python -m benchmarks.lookup_passes RUN... [--limit N] [--out DIR]

Each run's predictions.csv is gone through as `cuda_sum.generate` would: a guess holds as far as it equals the summary.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, headline, write_result
from common.generation.lookup import MOST, PromptLookup
from common.run.loaded_run import load_run
from common.run.predictions import read_predictions
from common.summarize.summarizer import Summarizer


def main() -> None:
    """Count for each run, write the result and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, default=150, help="summaries of each run")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = [count(run, arguments.limit) for run in arguments.runs]
    for row in rows:
        print(f"{row['run']:<16} {row['tokens_per_pass']:.2f} tokens a pass, {row['rows_per_pass']:.2f} rows")
    path = write_result(
        "lookup_passes",
        f"python -m benchmarks.lookup_passes RUN... --limit {arguments.limit}",
        rows,
        headline(f"tokens a pass, {rows[0]['run']}", rows[0]["tokens_per_pass"], 1.0, "one token a pass"),
        packages=("transformers",),
        notes=[f"most guessed after equal tokens: {', '.join(f'{most} after {length}' for length, most in MOST)}"],
        directory=arguments.out,
    )
    print(path)


def count(directory: Path, limit: int) -> dict[str, Any]:
    """Passes, tokens (the stop token included) and rows of passes over a run's first `limit` summaries."""
    loaded = load_run(directory, "cuda")
    rows, _ = read_predictions(loaded.run.predictions)
    written = [row for row in rows if row.stop_reason == "eos"][:limit]
    room = Summarizer.from_loaded(loaded).spec.max_new_tokens
    prompts = loaded.prompt_format.prompts([row.document for row in written], room)
    texts = loaded.tokenizer.encode_texts([row.prediction for row in written])
    passes = tokens = fed = 0
    for prompt, text in zip(prompts, texts, strict=True):
        summary = [*map(int, text), loaded.tokenizer.eos_id]
        lookup, done = PromptLookup([*prompt.tokens, summary[0]]), 1
        while done < len(summary):
            guess = lookup.guess(room - done - 1)
            equal = (mine == token for mine, token in zip(guess, summary[done:], strict=False))
            taken = min(1 + next((i for i, same in enumerate(equal) if not same), len(guess)), len(summary) - done)
            for token in summary[done : done + taken]:
                lookup.add(token)
            done, passes, fed = done + taken, passes + 1, fed + 1 + len(guess)
        tokens += len(summary) - 1
    return {
        "run": directory.name,
        "summaries": len(written),
        "tokens_per_pass": tokens / passes,
        "rows_per_pass": fed / passes,
    }


if __name__ == "__main__":
    main()
