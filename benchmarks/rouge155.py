"""ROUGE against the original ROUGE-1.5.5 script: how many of its F1 values ours meets, with and without the stemmer.

Run: SUMKIT_DATA=FOLDER python -m benchmarks.rouge155   (a folder with rouge155/vectors.jsonl: prediction, reference,
rouge1, rouge2, rougeL as 1.5.5 printed them with stemming on, as fractions)
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from benchmarks.record import headline, write_result
from common.metrics.rouge import rouge_scores

MEASURES = ("rouge1", "rouge2", "rougeL")
TOLERANCE = 0.002
REQUIRED_SHARE = 0.92


def main() -> None:
    """Compare, write the result, and exit with 1 where the agreement is not what it should be."""
    folder = os.environ.get("SUMKIT_DATA")
    if not folder:
        sys.exit("set SUMKIT_DATA to the folder that holds rouge155/vectors.jsonl")
    with (Path(folder) / "rouge155" / "vectors.jsonl").open(encoding="utf-8") as lines:
        vectors = [json.loads(line) for line in lines]
    rows = [agreement(vectors, stemmer) for stemmer in (True, False)]
    with_stemmer, without = (float(row["share_within"]) for row in rows)
    best = headline(
        "share of ROUGE-1.5.5 values met within 0.002", with_stemmer, without, "the same without the stemmer"
    )
    path = write_result(
        "rouge155", "SUMKIT_DATA=FOLDER python -m benchmarks.rouge155", rows, best, packages=("nltk", "numpy")
    )
    print(f"{path}: {100 * with_stemmer:.1f} % of the values met with the stemmer, {100 * without:.1f} % without")
    if with_stemmer < REQUIRED_SHARE or without >= REQUIRED_SHARE:
        sys.exit(f"expected at least {REQUIRED_SHARE:.0%} with the stemmer and less without")


def agreement(vectors: list[dict[str, str | float]], stemmer: bool) -> dict[str, float | bool | int]:
    """Share of values within the tolerance, by measure and in all, and the largest deviation."""
    scores = rouge_scores(
        [str(row["prediction"]) for row in vectors],
        [str(row["reference"]) for row in vectors],
        tokenizer="rouge-score",
        stemmer=stemmer,
    ).fmeasure
    deviations = {
        measure: np.abs(scores[measure] / 100 - np.array([row[measure] for row in vectors], float))
        for measure in MEASURES
    }
    every = np.concatenate(list(deviations.values()))
    return {
        "stemmer": stemmer,
        "pairs": len(vectors),
        "values": len(every),
        "share_within": float((every <= TOLERANCE).mean()),
        **{f"share_within_{measure}": float((values <= TOLERANCE).mean()) for measure, values in deviations.items()},
        "median_deviation": float(np.median(every)),
        "largest_deviation": float(every.max()),
    }


if __name__ == "__main__":
    main()
