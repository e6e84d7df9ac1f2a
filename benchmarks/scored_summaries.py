"""What benchmarks of summaries share: the documents, and one row of scores for each system."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from common.metrics.bootstrap import bootstrap_interval, paired_difference
from common.metrics.faithfulness import faithfulness
from common.metrics.rouge import rouge_scores
from common.summarize.summary import Summary
from common.types import Example

MEASURES = ("rouge1", "rouge2", "rougeL")
Scores = dict[str, np.ndarray]


def read_examples(path: Path, limit: int = 0) -> list[Example]:
    """The first `limit` rows (0: all) of a JSONL file with document and summary (or references)."""
    examples = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            references = tuple(row.get("references") or [row["summary"]])
            examples.append(Example(str(row["id"]), row["document"], references[0], references))
            if len(examples) == limit:
                break
    return examples


def score(examples: Sequence[Example], summaries: Sequence[Summary]) -> Scores:
    """ROUGE in percent for each example, best reference; failed summaries score 0."""
    references = [example.all_references for example in examples]
    return rouge_scores([summary.text for summary in summaries], references).fmeasure


def row_of(
    name: str, examples: Sequence[Example], summaries: Sequence[Summary], seconds: float, against: Scores | None = None
) -> dict[str, Any]:
    """Scores with 95 % intervals, unsupported claims, tokens and time; paired differences where `against` is given."""
    scores = score(examples, summaries)
    claims = faithfulness([example.document for example in examples], [summary.text for summary in summaries])
    row: dict[str, Any] = {
        "system": name,
        "examples": len(examples),
        **{measure: asdict(bootstrap_interval(scores[measure])) for measure in MEASURES},
        "unsupported_claims": float(claims["unsupported"].mean()),
        "words": float(np.mean([len(summary.text.split()) for summary in summaries])),
        "unread_tokens": float(np.mean([summary.unread_tokens for summary in summaries])),
        "read_tokens": float(np.mean([summary.prompt_tokens for summary in summaries])),
        "written_tokens": float(np.mean([summary.tokens for summary in summaries])),
        "failed": sum(summary.stop_reason == "error" for summary in summaries),
        "seconds_each": seconds / len(examples),
    }
    if against is not None:
        row["difference"] = {
            measure: asdict(paired_difference(scores[measure], against[measure])) for measure in MEASURES
        }
    return row


def line_of(row: dict[str, Any]) -> str:
    """A row as one line of text."""
    scores = "  ".join(
        f"{measure} {row[measure]['mean']:.2f} [{row[measure]['low']:.2f}, {row[measure]['high']:.2f}]"
        for measure in MEASURES
    )
    return f"{row['system']:<24} {scores}  {row['seconds_each']:.2f} s each"
