"""What is said of a system's summaries beside ROUGE: likeness, copying, form, and claims without support.

How each measure is defined stands in `common.metrics`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from common.metrics.abstractiveness import abstractiveness
from common.metrics.faithfulness import faithfulness
from common.metrics.text_quality import text_quality
from common.types import Example

if TYPE_CHECKING:
    from common.metrics.external import ExternalScore


def example_measures(texts: Sequence[str], examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """Form, copying and unsupported claims of one system's summaries, arrays of shape (examples,), NaN for none."""
    documents = [example.document for example in examples]
    form = text_quality(texts, [example.summary for example in examples])
    claims = faithfulness(documents, texts)["unsupported"]
    return {**form, **abstractiveness(documents, texts), "unsupported_claims": claims}


def mean_measures(measures: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Means of what `example_measures` returns, by name.

    `with_unsupported` is the percentage of summaries with at least one number, date, name or quotation that the
    document does not hold; `empty` is a count.
    """
    means: dict[str, Any] = {name: _mean(values) for name, values in measures.items() if name != "empty"}
    means["with_unsupported"] = 100 * float(np.mean(measures["unsupported_claims"] > 0))
    means["empty"] = int(measures["empty"].sum())
    return means


def external_scores(texts: Sequence[str], examples: Sequence[Example]) -> dict[str, ExternalScore]:
    """METEOR, and BLEU and chrF where sacrebleu is installed, of one system's summaries against all references."""
    from common.metrics.external import bleu, chrf, meteor

    references = [example.all_references for example in examples]
    scores = {}
    if importlib.util.find_spec("sacrebleu") is not None:
        scores = {"bleu": bleu(texts, references), "chrf": chrf(texts, references)}
    return {**scores, "meteor": meteor(texts, references)}


def bertscore_values(
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    model: str,
    multi_reference: Literal["best", "mean"] = "best",
) -> tuple[np.ndarray, str]:
    """BERTScore F of each text in percent, the best or the mean over its references, shape (texts,); and a signature.

    Raises ModelError, EngineError as `common.metrics.bertscore`.
    """
    from common.metrics.bertscore import bert_scores

    owner = np.repeat(np.arange(len(texts)), [len(group) for group in references])
    flat = [reference for group in references for reference in group]
    scores = bert_scores([texts[index] for index in owner.tolist()], flat, model)
    values = np.full(len(texts), -np.inf) if multi_reference == "best" else np.zeros(len(texts))
    if multi_reference == "best":
        np.maximum.at(values, owner, scores.fmeasure)
    else:
        np.add.at(values, owner, scores.fmeasure / np.bincount(owner)[owner])
    return values, scores.signature


def _mean(values: np.ndarray) -> float | None:
    """Mean over the examples that have the measure; None where none has it."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
