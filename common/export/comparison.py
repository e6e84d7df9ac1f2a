"""How close an export is to the run it came from: logits over known summaries, greedy summaries, and a judgement.

Knows numbers and texts only, nothing of models or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.export.answers import Answers, Sample
from common.metrics.rouge import rouge_scores

# Largest error of logits that rounding explains, by the coarsest type that either side stores or computes in.
# Measured on tiny models of six kinds and on SmolLM2-135M: 1e-5, 0.004 and 0.02; a missing bias or a wrong rotary
# setting costs more than 0.1.
TOLERANCE = {"float32": 0.002, "float16": 0.02, "bfloat16": 0.08}
LEAST_KEPT = 0.5  # an export that keeps less of the adapter's effect than this has lost it


@dataclass(frozen=True)
class LogitComparison:
    """Logits of an export against the run's, over `rows` positions that predict summaries.

    error       root mean square difference as a share of the run's logits' own spread (each row centred)
    effect      the same measure of what the adapter changes in the run itself
    kept        share of that change which the export shows: projection of its difference from the untuned base on
                the adapter's; 1 where the export answers as the run, 0 where the adapter is lost
    same_choice share of rows with the same most likely token
    divergence  mean Kullback-Leibler divergence from the run's distribution, nats
    """

    rows: int
    error: float
    effect: float
    kept: float
    same_choice: float
    divergence: float


@dataclass(frozen=True)
class SummaryComparison:
    """Greedy summaries of an export against the run's own on the same documents.

    identical  how many are equal, letter by letter
    agreement  mean ROUGE-L F of the export's summary with the run's as reference, percent
    run        ROUGE-1, -2 and -L of the run's summaries against the human ones, percent; empty without references
    export     the same of the export's
    ended      how many the run, and the export, ended by themselves instead of at the length limit
    """

    documents: int
    identical: int
    agreement: float
    run: dict[str, float]
    export: dict[str, float]
    ended: tuple[int, int]


def compare_logits(
    run: Sequence[np.ndarray], untuned: Sequence[np.ndarray], export: Sequence[np.ndarray]
) -> LogitComparison:
    """Compare lists of arrays (rows, V) of the run, of its base without the adapter, and of the export."""
    ours, base, theirs = (_centred(np.concatenate(list(arrays))) for arrays in (run, untuned, export))
    spread = float(np.sqrt(np.mean(np.square(ours)))) or 1.0
    change, shown = (ours - base).ravel(), (theirs - base).ravel()
    size = float(change @ change)
    log_ours, log_theirs = _log_softmax(ours), _log_softmax(theirs)
    return LogitComparison(
        rows=len(ours),
        error=float(np.sqrt(np.mean(np.square(theirs - ours)))) / spread,
        effect=float(np.sqrt(size / change.size)) / spread,
        kept=float(change @ shown) / size if size else 1.0,
        same_choice=float(np.mean(ours.argmax(axis=1) == theirs.argmax(axis=1))),
        divergence=float(np.mean(np.sum(np.exp(log_ours) * (log_ours - log_theirs), axis=1))),
    )


def _centred(logits: np.ndarray) -> np.ndarray:
    values = logits.astype(np.float64)
    centred: np.ndarray = values - values.mean(axis=1, keepdims=True)
    return centred


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def compare_summaries(run: Answers, export: Answers, sample: Sample) -> SummaryComparison:
    """Compare the greedy summaries of the run and of its export, with each other and with the human ones."""
    ours, theirs = ([summary.text for summary in answers.summaries] for answers in (run, export))
    with_reference = [index for index, example in enumerate(sample.examples) if example.summary.strip()]
    return SummaryComparison(
        documents=len(ours),
        identical=sum(a == b for a, b in zip(ours, theirs, strict=True)),
        agreement=_agreement(ours, theirs),
        run=_against_references(ours, sample, with_reference),
        export=_against_references(theirs, sample, with_reference),
        ended=(
            sum(summary.stop_reason == "eos" for summary in run.summaries),
            sum(summary.stop_reason == "eos" for summary in export.summaries),
        ),
    )


def _agreement(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """Mean ROUGE-L F; equal texts count as 100 also where they hold no word."""
    scores = rouge_scores(theirs, ours).fmeasure["rougeL"]
    equal = np.array([a == b for a, b in zip(ours, theirs, strict=True)])
    return float(np.mean(np.where(equal, 100.0, scores)))


def _against_references(texts: Sequence[str], sample: Sample, indices: Sequence[int]) -> dict[str, float]:
    if not indices:
        return {}
    references = [sample.examples[index].all_references for index in indices]
    scores = rouge_scores([texts[index] for index in indices], references).fmeasure
    return {measure: float(np.mean(scores[measure])) for measure in ("rouge1", "rouge2", "rougeL")}


def find_problems(logits: LogitComparison, summaries: SummaryComparison, tolerance: float | None) -> list[str]:
    """Why an export must not be used, in plain sentences; empty when it may be.

    tolerance  largest error for formats that only round; None for those that quantize, which are measured instead
    """
    problems = []
    if not np.isfinite(logits.error):
        problems.append("its logits are not finite numbers")
    if tolerance is not None and logits.error > tolerance:
        problems.append(
            f"its logits differ from the run's by {logits.error:.2%}, more than rounding can ({tolerance:.2%})"
        )
    if logits.effect and logits.kept < LEAST_KEPT:
        problems.append(f"only {logits.kept:.0%} of what the adapter changes is left")
    if summaries.ended[1] < summaries.ended[0] / 2:
        problems.append(
            f"only {summaries.ended[1]} of its {summaries.documents} summaries end by themselves, "
            f"{summaries.ended[0]} of the run's do"
        )
    return problems
