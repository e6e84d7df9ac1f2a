"""What is said of a system's summaries beside ROUGE: likeness, copying, form, and claims without support.

Every measure is a mean over the evaluated examples; how each is defined stands in `common.metrics`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from common.metrics.abstractiveness import abstractiveness
from common.metrics.faithfulness import faithfulness
from common.metrics.text_quality import text_quality
from common.types import Example


def describe_summaries(texts: Sequence[str], examples: Sequence[Example]) -> dict[str, Any]:
    """Mean measures of one system's summaries, by name; BLEU and chrF only where sacrebleu is installed.

    `with_unsupported` is the percentage of summaries with at least one number, date, name or quotation that the
    document does not hold; `empty` is a count.
    """
    documents = [example.document for example in examples]
    references = [example.all_references for example in examples]
    form = text_quality(texts, [example.summary for example in examples])
    claims = faithfulness(documents, texts)["unsupported"]
    measures: dict[str, Any] = {
        name: _mean(values) for name, values in {**form, **abstractiveness(documents, texts)}.items() if name != "empty"
    }
    measures["unsupported_claims"] = _mean(claims)
    measures["with_unsupported"] = 100 * float(np.mean(claims > 0))
    measures["empty"] = int(form["empty"].sum())
    if importlib.util.find_spec("sacrebleu") is not None:
        from common.metrics.external import bleu, chrf

        measures["bleu"] = bleu(texts, references).interval.mean
        measures["chrf"] = chrf(texts, references).interval.mean
    return measures


def _mean(values: np.ndarray) -> float | None:
    """Mean over the examples that have the measure; None where none has it."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
