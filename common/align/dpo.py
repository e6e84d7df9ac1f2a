"""Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290) as weights on negative log-likelihoods.

For a pair with the summaries y_w (chosen) and y_l (rejected), sums of log-probabilities over their tokens, and
h = beta * ((log p(y_w) - log p_ref(y_w)) - (log p(y_l) - log p_ref(y_l))), the loss is -log sigmoid(h), and its
gradient is that of c * nll(y_w) - c * nll(y_l) with c = beta * sigmoid(-h). So a step is one pass for h, without a
gradient, and one ordinary training step with the weights c; neither holds (B, T, V) logits. Exact with dropout 0.
The reference's log-probabilities are numbers, computed before training. Knows nothing of where pairs come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.batching import evaluation_batches, sequence_rows
from common.engine import Engine
from common.errors import NonFiniteError
from common.types import Batch, EncodedExample, FloatArray

SUMS = ("preference_loss_sum", "preferred", "margin_sum", "pairs")


@dataclass(frozen=True)
class EncodedPair(EncodedExample):
    """Two sequences with one prompt. As an example (`tokens`, `labels`) it is both, one after the other."""

    chosen: EncodedExample = dataclasses.field(kw_only=True)
    rejected: EncodedExample = dataclasses.field(kw_only=True)


def encoded_pair(pair_id: str, chosen: EncodedExample, rejected: EncodedExample) -> EncodedPair:
    """A pair of sequences under one id; theirs become `ID (chosen)` and `ID (rejected)`."""
    chosen = dataclasses.replace(chosen, id=f"{pair_id} (chosen)")
    rejected = dataclasses.replace(rejected, id=f"{pair_id} (rejected)")
    tokens, labels = (
        np.concatenate([getattr(part, name) for part in (chosen, rejected)]) for name in ("tokens", "labels")
    )
    return EncodedPair(pair_id, tokens, labels, chosen=chosen, rejected=rejected)


def sequences_of(items: Sequence[EncodedExample]) -> list[EncodedExample]:
    """Both sequences of each pair, in order."""
    pairs = [item for item in items if isinstance(item, EncodedPair)]
    return [part for pair in pairs for part in (pair.chosen, pair.rejected)]


def dev_batches(pairs: Sequence[EncodedPair], batch_tokens: int, pad_id: int) -> list[Batch]:
    """The micro-batches in which dev pairs go through the model, at each evaluation the same."""
    return evaluation_batches(sequences_of(pairs), batch_tokens, pad_id)


def log_probabilities(engine: Engine, batches: Sequence[Batch]) -> dict[str, float]:
    """Sum of log-probabilities (nats) over the target tokens of each sequence, by its id."""
    found: dict[str, float] = {}
    for batch, losses in zip(batches, engine.token_losses(batches), strict=True):
        sums = np.bincount(sequence_rows(batch), np.where(batch.weights != 0, losses, 0.0), len(batch.ids))
        found.update(zip(batch.ids, (-sums).tolist(), strict=True))
    return found


def pair_margins(
    logp: Mapping[str, float], reference: Mapping[str, float], pairs: Sequence[str]
) -> NDArray[np.float64]:
    """How much more the policy prefers the chosen summary than the reference does, nats, shape (pairs,)."""

    def gain(name: str) -> float:
        return logp[name] - reference[name]

    return np.array([gain(f"{pair} (chosen)") - gain(f"{pair} (rejected)") for pair in pairs])


@dataclass(frozen=True)
class Preference:
    """The DPO objective, a mean over a step's pairs, plus `sft_weight` times the mean nll of a chosen token.

    (The second term keeps the chosen summaries likely: Pang et al. 2024, arXiv 2404.19733.) `reference` holds the
    reference's sums of log-probabilities by sequence id.
    """

    reference: Mapping[str, float]
    dev_set: Sequence[EncodedPair]
    beta: float
    sft_weight: float
    batch_tokens: int
    pad_id: int

    def sequences(self, items: Sequence[EncodedExample]) -> Sequence[EncodedExample]:
        return sequences_of(items)

    def weigh(self, engine: Engine, batches: list[Batch], step: int) -> tuple[list[Batch], dict[str, float]]:
        logp = log_probabilities(engine, batches)
        pairs = sorted({name.rsplit(" (", 1)[0] for name in logp})
        margins = pair_margins(logp, self.reference, pairs)
        scaled = self.beta * margins
        loss = float(np.logaddexp(0.0, -scaled).sum())
        if not np.isfinite(loss):
            raise NonFiniteError(f"the preference loss is {loss}")
        pull = self.beta * np.exp(-np.logaddexp(0.0, scaled)) / len(pairs)
        weight = {f"{pair} (chosen)": float(value) for pair, value in zip(pairs, pull, strict=True)}
        weight |= {f"{pair} (rejected)": -float(value) for pair, value in zip(pairs, pull, strict=True)}
        tokens = sum(batch.target_tokens for batch in _chosen_only(batches)) if self.sft_weight else 1
        likelihood = self.sft_weight / max(1, tokens)
        sums = dict(zip(SUMS, (loss, float((margins > 0).sum()), float(scaled.sum()), len(pairs)), strict=True))
        return [_weighted(batch, weight, likelihood) for batch in batches], sums

    def evaluate(self, engine: Engine) -> dict[str, float]:
        if not self.dev_set:
            return {}
        logp = log_probabilities(engine, dev_batches(self.dev_set, self.batch_tokens, self.pad_id))
        margins = pair_margins(logp, self.reference, [pair.id for pair in self.dev_set])
        loss = float(np.logaddexp(0.0, -self.beta * margins).mean())
        return {"dev_loss": loss, "dev_preferred": float((margins > 0).mean())}

    def row(self, sums: Mapping[str, float]) -> dict[str, Any]:
        pairs = max(1.0, sums["pairs"])
        return {
            "loss": sums["preference_loss_sum"] / pairs,
            "preferred": sums["preferred"] / pairs,
            "margin": sums["margin_sum"] / pairs,
            "pairs": int(sums["pairs"]),
        }


def _chosen_only(batches: Sequence[Batch]) -> list[Batch]:
    return [dataclasses.replace(batch, weights=batch.weights * _is_chosen(batch)) for batch in batches]


def _is_chosen(batch: Batch) -> FloatArray:
    chosen = np.array([name.endswith(" (chosen)") for name in batch.ids], np.float32)
    return chosen[sequence_rows(batch)]


def _weighted(batch: Batch, weight: Mapping[str, float], likelihood: float) -> Batch:
    by_sequence = np.array([weight[name] for name in batch.ids])
    weights = by_sequence[sequence_rows(batch)] + likelihood * _is_chosen(batch)
    return dataclasses.replace(batch, weights=np.where(batch.weights != 0, weights, 0.0).astype(np.float32))


def reference_log_probabilities(engine: Engine, batches: Sequence[Batch], untuned: bool) -> dict[str, float]:
    """`log_probabilities` of every sequence under the engine's adapter as it is, or with it off if `untuned`.

    The sum for a sequence depends, by rounding, on what else is in its micro-batch: in 16 bit by hundredths of a nat.
    So the micro-batches have to be those that the policy will go through.
    """
    engine.enable_adapter(not untuned)
    try:
        return log_probabilities(engine, batches)
    finally:
        engine.enable_adapter(True)
