"""Scores that other packages define: BLEU and chrF by sacrebleu, METEOR by nltk.

The packages are imported when asked for. Each result names how it was computed, because figures of these scores are
comparable under equal settings only. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError, EngineError
from common.metrics.bootstrap import Interval, bootstrap_interval, paired_difference, resampled_means
from common.metrics.tokens import words

RESAMPLES = 1000
LEAST_RESAMPLED = 20  # documents; of fewer, resamples of a corpus score are too alike for a test
NO_WORDNET = (
    "WordNet was not found: METEOR without its synonym stage, by exact words and stems only. "
    "To have it, put nltk's wordnet corpus under corpora/wordnet in a folder that the variable NLTK_DATA names."
)


@dataclass(frozen=True)
class ExternalScore:
    """A score in percent with its 95 % interval.

    per_example   (examples,); for BLEU and chrF the score of the sentence alone, whose mean is not `interval.mean`
    resampled     (resamples,) corpus scores of the bootstrap, drawn alike for every system; empty for METEOR
    signature     settings and version, to be quoted with the figure
    note          what a reader must know, empty where there is nothing
    """

    interval: Interval
    per_example: NDArray[np.float64]
    resampled: NDArray[np.float64]
    signature: str
    note: str = ""


def external_difference(ours: ExternalScore, theirs: ExternalScore) -> dict[str, float | None]:
    """Mean, bounds, p value (and detectable difference, where per example) of ours minus theirs on the same examples.

    Corpus scores have no mean over examples, so theirs is the paired bootstrap of Koehn 2004: both systems are scored
    on the same resamples, and the p value is twice the smaller share of them on either side of zero. It is None below
    LEAST_RESAMPLED documents: resampling two of them finds p = 0.002 where the paired test finds 0.5.
    """
    if not len(ours.resampled):
        return paired_difference(ours.per_example, theirs.per_example).as_dict()
    mean = ours.interval.mean - theirs.interval.mean
    differences = ours.resampled - theirs.resampled
    examples = len(ours.per_example)
    low, high = np.quantile(differences, [0.025, 0.975])
    tail = (min(int((differences <= 0).sum()), int((differences >= 0).sum())) + 1) / (len(differences) + 1)
    return {
        "mean": mean,
        "low": min(mean, float(low)),
        "high": max(mean, float(high)),
        "p_value": min(1.0, 2 * tail) if examples >= LEAST_RESAMPLED else None,
        "detectable": None,
        "examples": examples,
    }


def bleu(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> ExternalScore:
    """Corpus BLEU (Papineni et al. 2002, sacrebleu's 13a tokenizer). Raises DataError, EngineError."""
    _need_sacrebleu()
    from sacrebleu.metrics import BLEU

    return _sacrebleu_score("BLEU", BLEU(), BLEU(effective_order=True), predictions, references)


def chrf(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> ExternalScore:
    """Corpus chrF2 (Popović 2015), for any script. Raises DataError, EngineError."""
    _need_sacrebleu()
    from sacrebleu.metrics import CHRF

    return _sacrebleu_score("chrF2", CHRF(), CHRF(), predictions, references)


def meteor(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> ExternalScore:
    """METEOR (Banerjee and Lavie 2005) as nltk computes it, best over the references, on lower-cased words.

    Synonyms come from WordNet where nltk finds it on this machine; where there is none the score is made without
    them and says so in `note`. Raises DataError.
    """
    from nltk.translate.meteor_score import meteor_score

    groups = _groups(predictions, references)
    wordnet = _find_wordnet()
    scores = np.array(
        [
            100 * meteor_score([words(text) for text in group], words(prediction), wordnet=wordnet or _NoSynonyms())
            for prediction, group in zip(predictions, groups, strict=True)
        ]
    )
    signature = f"meteor|nltk|alpha:0.9|beta:3|gamma:0.5|synonyms:{'wordnet' if wordnet else 'none'}"
    return ExternalScore(bootstrap_interval(scores), scores, np.empty(0), signature, "" if wordnet else NO_WORDNET)


class _NoSynonyms:
    """Stands where nltk expects WordNet, and knows no word."""

    def synsets(self, word: str) -> list[Any]:
        return []


def _find_wordnet() -> Any:
    """nltk's reader of WordNet, or None where it is not on this machine."""
    from nltk.corpus import wordnet

    try:
        wordnet.synsets("dog")
    except LookupError:
        return None
    return wordnet


def _sacrebleu_score(
    name: str,
    corpus_metric: Any,
    sentence_metric: Any,
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
) -> ExternalScore:
    """A sacrebleu metric over the corpus with a percentile interval, and over each example alone."""
    groups = _groups(predictions, references)
    most = max(len(group) for group in groups)
    streams = [[group[place] if place < len(group) else None for group in groups] for place in range(most)]
    hypotheses = list(predictions)
    score = corpus_metric.corpus_score(hypotheses, streams).score
    # sacrebleu's own resampling raises where a resample scores 0, so its statistics are resampled here.
    statistics = np.array(corpus_metric._extract_corpus_statistics(hypotheses, streams), dtype=float)
    sums = resampled_means(statistics, RESAMPLES, seed=0) * len(groups)
    resampled = np.array(
        [corpus_metric._compute_score_from_stats(np.rint(row).astype(int).tolist()).score for row in sums]
    )
    low, high = np.quantile(resampled, [0.025, 0.975])
    per_example = np.array(
        [sentence_metric.sentence_score(text, group).score for text, group in zip(hypotheses, groups, strict=True)]
    )
    signature = f"{name}|{corpus_metric.get_signature().format()}"
    interval = Interval(score, min(score, float(low)), max(score, float(high)))
    return ExternalScore(interval, per_example, resampled, signature)


def _groups(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> list[list[str]]:
    groups = [[given] if isinstance(given, str) else list(given) for given in references]
    if len(predictions) != len(groups):
        raise DataError(f"{len(predictions)} predictions for {len(groups)} references: they must be paired one to one")
    if not groups or not all(groups):
        raise DataError("every example needs at least one reference, and there must be at least one example")
    return groups


def _need_sacrebleu() -> None:
    import importlib.util

    if importlib.util.find_spec("sacrebleu") is None:
        raise EngineError("BLEU and chrF need sacrebleu. Install it with: pip install 'sumkit[metrics]'")
