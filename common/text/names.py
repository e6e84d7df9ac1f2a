"""What systems and measures are called wherever a person reads of them; in JSON they keep their keys."""

from __future__ import annotations

SYSTEM_LABELS = {
    "tuned": "fine-tuned",
    "base": "untuned",
    "lead1": "Lead-1",
    "lead3": "Lead-3",
    "random": "random sentence",
    "oracle": "extractive oracle (ceiling)",
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
ENGINE_LABELS = {"cuda": "torch", "mlx": "MLX"}
# The words that a report uses and not every reader knows.
WORDS = {
    "untuned": "the same model before fine-tuning, under the prompt that suits it best",
    "Lead-1, Lead-3": "the first sentence, or the first three, of the document: free, and hard to beat on news",
    "extractive oracle": "the sentences of the document that score best, chosen with the reference at hand: a ceiling "
    "for copying, no rival",
    "ROUGE": "words shared with the reference, from 0 to 100: single words (1), pairs (2), the longest common sequence "
    "(L), the same sentence by sentence (Lsum)",
    "95 % interval": "where the mean would likely lie on another sample of such documents",
    "detectable": "the smallest true difference that these documents would show in four cases of five",
    "perplexity": "how many tokens the model wavers between, on average, as it reads the references; lower is better",
    "nats": "the unit of the loss: one nat more makes each token 2.7 times less likely",
}
QUALITY_METRICS = tuple(METRIC_LABELS)
ROUGE_METRICS = QUALITY_METRICS[:3]


def system_label(name: str) -> str:
    """How a system is called in sentences and tables; names of earlier runs stay as they are."""
    return SYSTEM_LABELS.get(name, name)


def metric_label(name: str) -> str:
    return METRIC_LABELS.get(name) or OTHER_LABELS.get(name) or name.replace("_", " ")
