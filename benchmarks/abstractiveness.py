"""Novel n-grams of the XSum references beside the figures of the paper that introduced the data set.

Run: python -m benchmarks.abstractiveness --data FOLDER   (a folder with xsum/train.jsonl, dev.jsonl, test.jsonl)

Narayan, Cohen and Lapata 2018, table 1: 35.76, 83.45, 95.50 and 98.49 % of the reference's 1- to 4-grams do not occur
in the document. Their figures are over 226,711 articles tokenized with punctuation; these are over the articles in
the folder, with our words (no punctuation), and once more with punctuation marks as tokens.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np

from benchmarks.record import headline, write_result
from common.metrics.abstractiveness import novel_ngrams
from common.metrics.bootstrap import bootstrap_interval
from common.metrics.tokens import word_spans

PUBLISHED = {1: 35.76, 2: 83.45, 3: 95.50, 4: 98.49}


def main() -> None:
    """Measure with both kinds of token, print beside the published figures, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with xsum/*.jsonl")
    folder = parser.parse_args().data / "xsum"
    examples = [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    kinds = {"words": words, "words and punctuation": words_and_punctuation}
    rows = []
    for kind, split in kinds.items():
        tokens = [(split(example["document"]), split(example["summary"])) for example in examples]
        for n, published in PUBLISHED.items():
            values = np.array([novel_ngrams(document, summary, n) for document, summary in tokens])
            interval = bootstrap_interval(values[np.isfinite(values)])
            rows.append(
                {"tokens": kind, "n": n, "ours": interval.mean, "low": interval.low, "high": interval.high,
                 "published": published, "difference": interval.mean - published}
            )  # fmt: skip
            print(
                f"{kind}, {n}-grams: {interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}], paper {published}"
            )
    worst = max(abs(float(str(row["difference"]))) for row in rows if row["tokens"] == "words")
    path = write_result(
        "abstractiveness",
        "python -m benchmarks.abstractiveness --data FOLDER",
        [{"articles": len(examples)}, *rows],
        headline(
            "novel bigrams of XSum references, %", float(str(rows[1]["ours"])), PUBLISHED[2], "Narayan et al. 2018"
        ),
        packages=("numpy",),
        notes=["the ratio compares a property of the data with its published value: 1 is agreement, not a contest"],
    )
    print(f"{path}: largest difference to the paper {worst:.2f} points")


def words(text: str) -> list[str]:
    """The words that `abstractiveness` counts."""
    return [word for word, _, _ in word_spans(text)]


def words_and_punctuation(text: str) -> list[str]:
    """Lower-cased words and single punctuation marks."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


if __name__ == "__main__":
    main()
