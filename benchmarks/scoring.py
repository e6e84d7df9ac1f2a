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
    results: dict[str, Any] = {}

    def ours() -> None:
        get_tokenizer.cache_clear()
        results["ours"] = rouge_scores(lines[0], lines[1], sentences="newline")

    def ours_splitting() -> None:
        get_tokenizer.cache_clear()
        results["ours_splitting"] = rouge_scores(predictions, references)

    def peer() -> None:
        results["peer"] = score_with_peer(lines[0], lines[1])

    seconds = time_in_turn(
        {"sumkit": ours, "sumkit, finding sentences itself": ours_splitting, "rouge-score": peer}, arguments.repeats
    )
    differences = [largest_difference(results[side], results["peer"]) for side in ("ours", "ours_splitting")]
    rows = [{"side": side, "seconds": times, "median_seconds": median(times)} for side, times in seconds.items()]
    rows += [
        {"pairs": len(predictions), "largest_difference_points": max(differences), "figures_each": 12},
        {f"mean_{measure}": float(results["ours"].fmeasure[measure].mean()) for measure in MEASURES},
    ]
    best = headline(
        f"seconds to score {len(predictions):,} pairs (ROUGE-1/2/L/Lsum, stemmer)",
        median(seconds["sumkit"]),
        median(seconds["rouge-score"]),
        "rouge-score in a loop",
        lower_is_better=True,
    )
    path = write_result(
        "scoring",
        "python -m benchmarks.scoring --data FOLDER",
        rows,
        best,
        packages=("rouge-score", "nltk", "numpy"),
        notes=["one process; DialogSum train, first three turns against the summary"],
    )
    print(f"{path}: {best['ratio']:.1f} times faster, largest difference {max(differences):.1e} points")
    if max(differences) > 1e-9:
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
