"""How much weight a sentence's place in the text deserves beside its centrality, without any model.

Run: python -m benchmarks.key_sentences --data xsum/train.jsonl [--out DIR]

On the longest tenth of the documents by words: ROUGE recall of the reference in the sentences kept within a budget.
Chosen on training documents, so that benchmarks.long_documents on test documents is not flattered.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import RESULTS, headline, write_result
from benchmarks.scored_summaries import read_examples
from common.metrics.rouge import rouge_scores
from common.metrics.sentences import split_sentences
from common.summarize.key_sentences import POSITION_WEIGHT, Scores, lexrank
from common.types import Example

BUDGETS = (100, 200, 300)  # words
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
MEASURES = ("rouge1", "rouge2", "rougeL")
Rank = Callable[[Sequence[str]], Scores]


def main() -> None:
    """Score each weight and the lead at each budget, write the result and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="JSONL with document and summary")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    examples = sorted(read_examples(arguments.data), key=lambda example: -len(example.document.split()))
    examples = examples[: len(examples) // 10]
    ranks: dict[str, Rank] = {f"weight {weight:g}": weighted(weight) for weight in WEIGHTS}
    ranks["lead"] = lambda sentences: -np.arange(len(sentences), dtype=float)
    rows = [row_of(name, rank, budget, examples) for budget in BUDGETS for name, rank in ranks.items()]
    for row in rows:
        print(f"{row['words']} words, {row['ranking']:<10}", *(f"{measure} {row[measure]:.2f}" for measure in MEASURES))
    means = {name: np.mean([row["rouge1"] for row in rows if row["ranking"] == name]) for name in ranks}
    path = write_result(
        "key_sentences",
        "python -m benchmarks.key_sentences --data xsum/train.jsonl",
        rows,
        headline("mean ROUGE-1 recall", means[f"weight {POSITION_WEIGHT:g}"], means["lead"], "the lead"),
        packages=("numpy",),
        notes=[f"{len(examples)} documents of {len(examples[-1].document.split())} words or more; recall in percent"],
        directory=arguments.out,
    )
    print(path)


def weighted(weight: float) -> Rank:
    """Centrality plus `weight` times earliness, both standardised, as in common.summarize.key_sentences."""

    def rank(sentences: Sequence[str]) -> Scores:
        earliness = 1.0 / np.sqrt(1.0 + np.arange(len(sentences)))
        central = lexrank(sentences)
        spread = central.std() or 1.0
        return (central - central.mean()) / spread + weight * (earliness - earliness.mean()) / (earliness.std() or 1.0)

    return rank


def row_of(name: str, rank: Rank, budget: int, examples: Sequence[Example]) -> dict[str, Any]:
    """Mean recall of the references in what a ranking keeps."""
    kept = []
    for example in examples:
        sentences = split_sentences(example.document)
        left, chosen = budget, []
        for position in np.argsort(-rank(sentences), kind="stable").tolist():
            if len(sentences[position].split()) <= left:
                chosen.append(position)
                left -= len(sentences[position].split())
        kept.append("\n".join(sentences[position] for position in sorted(chosen)))
    recall = rouge_scores(kept, [example.all_references for example in examples]).recall
    return {"words": budget, "ranking": name, **{measure: float(recall[measure].mean()) for measure in MEASURES}}


if __name__ == "__main__":
    main()
