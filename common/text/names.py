"""What systems and measures are called wherever a person reads of them; in JSON they keep their keys."""

from __future__ import annotations

SYSTEM_LABELS = {
    "tuned": "fine-tuned",
    "base": "untuned",
    "lead1": "Lead-1",
    "lead3": "Lead-3",
    "random": "random sentence",
    "oracle": "extractive oracle",
}
METRIC_LABELS = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "bleu": "BLEU",
    "chrf": "chrF",
    "meteor": "METEOR",
    "bertscore": "BERTScore",
}
OTHER_LABELS = {
    "perplexity": "perplexity of the references",
    "length_ratio": "length ratio, summary to reference",
    "repeated_3grams": "repeated trigrams, %",
    "longest_repeat": "longest loop, times",
    "coverage": "coverage: copied words, %",
    "density": "density: words in a copied fragment",
    "compression": "compression, document to summary",
    "novel_1grams": "novel words, %",
    "novel_2grams": "novel bigrams, %",
    "novel_3grams": "novel trigrams, %",
    "novel_4grams": "novel 4-grams, %",
    "unsupported_claims": "unsupported claims in a summary",
    "with_unsupported": "summaries with unsupported claims, %",
}
QUALITY_METRICS = tuple(METRIC_LABELS)
ROUGE_METRICS = QUALITY_METRICS[:3]


def system_label(name: str) -> str:
    """How a system is called in sentences and tables; names of earlier runs stay as they are."""
    return SYSTEM_LABELS.get(name, name)


def metric_label(name: str) -> str:
    return METRIC_LABELS.get(name) or OTHER_LABELS.get(name) or name.replace("_", " ")
