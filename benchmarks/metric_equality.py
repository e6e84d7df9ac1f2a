"""Our scores against the packages that define them, on 1,000 real pairs: rouge-score, sacrebleu, bert-score.

Run: python -m benchmarks.metric_equality --data FOLDER [--encoder MODEL]   (a folder with dialogsum/train.jsonl)

Needs sacrebleu and bert-score. Without --encoder, BERTScore runs on a small BERT with random weights: equality of
the two computations does not depend on what the encoder has learnt.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import headline, write_result
from benchmarks.scoring import TABLES, load_pairs, score_with_peer
from common.metrics.bertscore import bert_scores
from common.metrics.external import bleu, chrf
from common.metrics.rouge import MEASURES, rouge_scores
from common.metrics.sentences import split_sentences
from tests.metrics.tiny_encoder import build_tiny_encoder

PAIRS = 1_000


def main() -> None:
    """Compare each score with its package and write the largest differences, in points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with dialogsum/train.jsonl")
    parser.add_argument("--encoder", default="", help="folder or Hub id of an encoder for BERTScore")
    arguments = parser.parse_args()
    predictions, references = (side[:PAIRS] for side in load_pairs(arguments.data / "dialogsum" / "train.jsonl"))
    rows: list[dict[str, Any]] = [rouge_row(predictions, references), *sacrebleu_rows(predictions, references)]
    with tempfile.TemporaryDirectory() as folder:
        encoder = arguments.encoder or build_tiny_encoder(Path(folder), [*predictions, *references])
        rows.append(bertscore_row(predictions, references, encoder, arguments.encoder or "random weights"))
    for row in rows:
        print(f"{row['score']}: largest difference {row['largest_difference_points']:.1e} points")
    write_result(
        "metric_equality",
        "python -m benchmarks.metric_equality --data FOLDER",
        rows,
        headline("mean ROUGE-1 F1 of the pairs", rows[0]["ours"], rows[0]["peer"], "rouge-score"),
        packages=("rouge-score", "sacrebleu", "bert-score", "torch", "transformers", "numpy"),
        notes=[f"{PAIRS} pairs of DialogSum train, first three turns against the summary; a ratio of 1 is agreement"],
    )


def rouge_row(predictions: list[str], references: list[str]) -> dict[str, Any]:
    """All four measures, precision, recall and F1 of each pair."""
    lines = [["\n".join(split_sentences(text)) for text in side] for side in (predictions, references)]
    scores = rouge_scores(lines[0], lines[1], sentences="newline")
    ours = np.stack([[getattr(scores, name)[measure] for name in TABLES] for measure in MEASURES]).transpose(2, 0, 1)
    peer = score_with_peer(lines[0], lines[1])
    return _row("ROUGE-1/2/L/Lsum", ours, peer, ours[:, 0, 2].mean(), peer[:, 0, 2].mean())


def sacrebleu_rows(predictions: list[str], references: list[str]) -> list[dict[str, Any]]:
    """Corpus scores, and the sentence scores of each pair."""
    import sacrebleu

    rows = []
    for name, score, corpus, sentence in (
        ("BLEU", bleu(predictions, references), sacrebleu.corpus_bleu, sacrebleu.sentence_bleu),
        ("chrF2", chrf(predictions, references), sacrebleu.corpus_chrf, sacrebleu.sentence_chrf),
    ):
        peer = [corpus(predictions, [references]).score]
        peer += [sentence(text, [reference]).score for text, reference in zip(predictions, references, strict=True)]
        ours = np.array([score.interval.mean, *score.per_example])
        rows.append(_row(name, ours, np.array(peer), ours[0], peer[0]))
    return rows


def bertscore_row(predictions: list[str], references: list[str], encoder: str, described: str) -> dict[str, Any]:
    """Precision, recall and F1 of each pair."""
    import bert_score
    from transformers import AutoConfig

    layer = AutoConfig.from_pretrained(encoder).num_hidden_layers
    scores = bert_scores(predictions, references, encoder)
    theirs = bert_score.score(predictions, references, model_type=encoder, num_layers=layer, device="cpu", nthreads=0)
    ours = np.stack([scores.precision, scores.recall, scores.fmeasure])
    peer = 100 * np.stack([values.double().numpy() for values in theirs])
    row = _row("BERTScore", ours, peer, ours[2].mean(), peer[2].mean())
    return {**row, "encoder": described, "layer": layer}


def _row(name: str, ours: np.ndarray, peer: np.ndarray, our_mean: float, peer_mean: float) -> dict[str, Any]:
    return {
        "score": name,
        "values": int(ours.size),
        "largest_difference_points": float(np.abs(ours - peer).max()),
        "ours": float(our_mean),
        "peer": float(peer_mean),
    }


if __name__ == "__main__":
    main()
