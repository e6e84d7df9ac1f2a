"""ROUGE-1/2/L/Lsum of 11,000 real pairs: our scorer against calling rouge-score in a loop, and equality on each pair.

Run: python -m benchmarks.scoring --data FOLDER   (a folder with dialogsum/train.jsonl: id, document, summary)

Predictions are the first three turns of each dialogue, references its summary. Both sides get the same texts, one
sentence a line, which is what rouge-score needs for ROUGE-Lsum; a third figure is our scorer on the texts as they
are, finding the sentences itself. Both use the stemmer; our cache of stems is emptied before each run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import headline, median, time_in_turn, write_result
from common.metrics.baselines import lead
from common.metrics.rouge import MEASURES, RougeScores, rouge_scores
from common.metrics.sentences import split_sentences
from common.metrics.tokens import get_tokenizer

PAIRS = 11_000
TABLES = ("precision", "recall", "fmeasure")


def main() -> None:
    """Time both sides in turn, compare every figure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dialogsum/train.jsonl")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    predictions, references = load_pairs(arguments.data / "dialogsum" / "train.jsonl")
    lines = [["\n".join(split_sentences(text)) for text in side] for side in (predictions, references)]
    sides: dict[str, Callable[[], Any]] = {
        "sumkit": lambda: rouge_scores(lines[0], lines[1], sentences="newline"),
        "sumkit, finding sentences itself": lambda: rouge_scores(predictions, references),
        "rouge-score": lambda: score_with_peer(lines[0], lines[1]),
    }
    results: dict[str, Any] = {}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in sides}

    def run(name: str) -> None:
        get_tokenizer.cache_clear()
        start = time.process_time()
        results[name] = sides[name]()
        cpu_seconds[name].append(time.process_time() - start)

    seconds = time_in_turn({name: partial(run, name) for name in sides}, arguments.repeats)
    peer = results.pop("rouge-score")
    difference = max(largest_difference(scores, peer) for scores in results.values())
    rows: list[dict[str, Any]] = [
        {"side": name, "wall_seconds": seconds[name], "cpu_seconds": cpu_seconds[name],
         "median_cpu_seconds": median(cpu_seconds[name])}
        for name in sides
    ]  # fmt: skip
    rows += [
        {"pairs": len(predictions), "largest_difference_points": difference, "figures_each": 12},
        {f"mean_{measure}": float(results["sumkit"].fmeasure[measure].mean()) for measure in MEASURES},
    ]
    best = headline(
        f"CPU seconds to score {len(predictions):,} pairs (ROUGE-1/2/L/Lsum, stemmer)",
        median(cpu_seconds["sumkit"]),
        median(cpu_seconds["rouge-score"]),
        "rouge-score in a loop",
        lower_is_better=True,
    )
    path = write_result(
        "scoring",
        "python -m benchmarks.scoring --data FOLDER",
        rows,
        best,
        packages=("rouge-score", "nltk", "numpy"),
        notes=[
            "one process, one thread; DialogSum train, first three turns against the summary",
            "CPU seconds, because the machine was shared while it ran; wall seconds are beside them",
        ],
    )
    print(f"{path}: {best['ratio']:.1f} times faster, largest difference {difference:.1e} points")
    if difference > 1e-9:
        sys.exit("the scores differ from rouge-score's")


def load_pairs(path: Path) -> tuple[list[str], list[str]]:
    """Predictions (the first three turns) and references of the first 11,000 rows."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(PAIRS), lines, strict=False)]
    return lead([row["document"] for row in rows], 3), [row["summary"] for row in rows]


def score_with_peer(predictions: list[str], references: list[str]) -> np.ndarray:
    """rouge-score's precision, recall and F1 in percent, shape (pairs, measures, 3)."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(MEASURES), use_stemmer=True)
    scores = [scorer.score(reference, text) for text, reference in zip(predictions, references, strict=True)]
    return 100 * np.array([[row[measure] for measure in MEASURES] for row in scores])


def largest_difference(ours: RougeScores, peer: np.ndarray) -> float:
    """Largest absolute difference of any figure of any pair, in points."""
    table = np.stack([[getattr(ours, name)[measure] for name in TABLES] for measure in MEASURES])
    return float(np.abs(table.transpose(2, 0, 1) - peer).max())


if __name__ == "__main__":
    main()
