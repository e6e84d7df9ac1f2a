"""Fit the weights of the checker `built-in` on planted errors, and print them.

Run: python -m benchmarks.fit_checker --data FOLDER   (a folder with dialogsum and scitldr)

True summaries are the references of the demo corpus, SciTLDR and DialogSum, and sentences of their documents; false
ones are the same with errors of the kinds that overlap can see (another entity, another number, another clause).
Weights cannot be negative. The intercept is moved so that support 0.5 is the threshold with the best balanced accuracy.
Human judgements are not used: benchmarks/faithfulness.py measures on them.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from common.check.calibration import best_threshold
from common.check.overlap import DocumentWords
from common.check.planted import plant_errors
from common.data.named import demo_tables
from common.metrics.faithfulness import unsupported_claims
from common.metrics.sentences import sentence_spans

SEEN = ("entity", "number", "clause")
ROWS = 200
EACH = 40

Row = tuple[str, str]


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dialogsum and scitldr")
    folder = parser.parse_args().data
    features, truth, weights = [], [], []
    for rows in row_sets(folder):
        planted = [error for error in plant_errors(rows, each=EACH) if error.kind in SEEN]
        cases = [(row, 1) for row in rows] + [((rows[e.index][0], e.summary), 0) for e in planted]
        for (document, summary), is_true in cases:
            features.append(worst_sentence(document, summary))
            truth.append(is_true)
            weights.append(0.5 / (len(rows) if is_true else len(planted)))
    intercept, slopes = fit(np.array(features), np.array(truth), np.array(weights))
    odds = intercept - np.array(features) @ slopes
    shift = best_threshold(np.array(truth), odds)
    print(json.dumps({"INTERCEPT": intercept - shift, "MISSING": slopes[0], "CLAIMS": slopes[1]}))


def row_sets(folder: Path) -> Iterator[list[Row]]:
    """References, then document sentences, of each corpus."""
    demo = [(row.values["document"], row.values["summary"]) for row in demo_tables("train")["train"].rows]
    for rows in (demo, read(folder / "dialogsum/train.jsonl"), read(folder / "scitldr/train.jsonl")):
        yield rows
        yield [(document, sentence) for document, _ in rows for sentence in a_sentence(document)]


def read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(ROWS), lines, strict=False)]
    return [(row["document"], row["summary"]) for row in rows]


def a_sentence(document: str) -> list[str]:
    """One sentence of 8 to 40 words, if there is one."""
    found = [document[start:end] for start, end in sentence_spans(document)]
    fitting = [text for text in found if 8 <= len(text.split()) <= 40]
    return [random.Random(document).choice(fitting)] if fitting else []


def worst_sentence(document: str, summary: str) -> tuple[float, float]:
    """The largest missing share and log(1 + claims) of the summary's sentences."""
    words = DocumentWords(document)
    starts = [claim.start for claim in unsupported_claims(document, summary)]
    spans = sentence_spans(summary)
    return (
        max(words.missing(summary[start:end]) for start, end in spans),
        max(float(np.log1p(sum(start <= place < end for place in starts))) for start, end in spans),
    )


def fit(features: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Logistic regression with slopes of at least 0: (intercept, slopes)."""
    sign = 2 * truth - 1

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (values[0] - features @ values[1:])
        slope = -sign * weights / (1 + np.exp(margin))
        return float((np.logaddexp(0, -margin) * weights).sum()), np.r_[slope.sum(), -features.T @ slope]

    bounds = [(None, None), *[(0, None)] * features.shape[1]]
    found = minimize(loss, np.zeros(1 + features.shape[1]), jac=True, bounds=bounds)
    return float(found.x[0]), found.x[1:]


if __name__ == "__main__":
    main()
