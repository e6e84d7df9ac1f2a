"""BERTScore (Zhang et al. 2020): similarity of summaries by the contextual embeddings of their tokens.

Greedy matching by cosine, no idf weights, no baseline rescaling: what the bert-score package computes by default,
with any encoder that transformers loads. Works on the CPU; knows nothing of which encoder suits which language.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError, ModelError
from common.model.encoders import encoder_config, load_encoder, need_torch
from common.progress import Progress

if TYPE_CHECKING:
    import torch

PURPOSE = "BERTScore"
_BYTE_LEVEL = frozenset({"roberta", "gpt2", "longformer", "bart", "xlm-roberta-xl"})


@dataclass(frozen=True)
class BertScores:
    """Per-example percentages, arrays of shape (examples,), with the model and layer that they depend on."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    fmeasure: NDArray[np.float64]
    signature: str


def bert_scores(
    predictions: Sequence[str], references: Sequence[str], model: str, *, layer: int | None = None, batch_size: int = 32
) -> BertScores:
    """Score each prediction against its reference with the encoder at `model` (a folder or a Hub id).

    `layer` counts transformer layers from 1, and None takes the last; published figures use the layer that the
    bert-score package lists for the model (17 of roberta-large). An empty text scores 0. Raises DataError for
    unpaired lists, ModelError for a model that cannot be loaded, EngineError without torch and transformers.
    """
    if len(predictions) != len(references):
        raise DataError(f"{len(predictions)} predictions for {len(references)} references: pair them one to one")
    need_torch(PURPOSE)
    tokenizer, encoder, depth = _load(model, layer)
    texts = sorted({text.strip() for text in (*predictions, *references)} - {""}, key=len, reverse=True)
    embedded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    with Progress(len(texts), "BERTScore") as progress:
        for start in range(0, len(texts), batch_size):
            chunk = texts[start : start + batch_size]
            embedded.update(zip(chunk, _embed(tokenizer, encoder, depth, chunk), strict=True))
            progress.advance(len(chunk))
    rows = []
    for prediction, reference in zip(predictions, references, strict=True):
        ours, theirs = embedded.get(prediction.strip()), embedded.get(reference.strip())
        rows.append(_match(ours, theirs) if ours is not None and theirs is not None else (0.0, 0.0, 0.0))
    name = Path(model).name if Path(model).is_dir() else model
    table = 100 * np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    return BertScores(table[:, 0], table[:, 1], table[:, 2], f"bertscore|{name}|layer:{depth}|idf:no|rescaled:no")


def check_encoder(model: str) -> None:
    """Raise EngineError or ModelError where `bert_scores` would, without loading weights."""
    encoder_config(model, PURPOSE, "--bertscore")


def _load(model: str, layer: int | None) -> tuple[Any, Any, int]:
    config = encoder_config(model, PURPOSE)
    spaced = {"add_prefix_space": True} if config.model_type in _BYTE_LEVEL else {}
    tokenizer, encoder = load_encoder(model, "AutoModel", PURPOSE, **spaced)
    layers = int(config.num_hidden_layers)
    if layer is not None and not 1 <= layer <= layers:
        raise ModelError(f"layer {layer} asked of {model}, which has layers 1 to {layers}")
    return tokenizer, encoder, layer or layers


def _embed(tokenizer: Any, encoder: Any, depth: int, texts: list[str]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Unit vectors (tokens, width) and weights (tokens,) of each text; special tokens match but do not count."""
    import torch

    longest = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
    with torch.inference_mode():
        output = encoder(
            input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], output_hidden_states=True
        )
    vectors = torch.nn.functional.normalize(output.hidden_states[depth].float(), dim=-1)
    special = torch.tensor([i for i in (tokenizer.cls_token_id, tokenizer.sep_token_id) if i is not None])
    for ids, mask, rows in zip(encoded["input_ids"], encoded["attention_mask"].bool(), vectors, strict=True):
        yield rows[mask], (~torch.isin(ids[mask], special)).float()


def _match(
    ours: tuple[torch.Tensor, torch.Tensor], theirs: tuple[torch.Tensor, torch.Tensor]
) -> tuple[float, float, float]:
    """Precision, recall and F1: each token takes its most similar partner on the other side."""
    similarity = ours[0] @ theirs[0].T
    precision = float((similarity.max(dim=1).values * ours[1]).sum() / ours[1].sum().clamp(min=1))
    recall = float((similarity.max(dim=0).values * theirs[1]).sum() / theirs[1].sum().clamp(min=1))
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0
