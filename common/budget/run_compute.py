"""What a finished run computed, and what the same compute would buy in pre-training: the Chinchilla view of it.

Fine-tuning is no pre-training: the figures place a run's cost, they do not say how long to fine-tune. Knows nothing
of how the run went.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from common.budget.chinchilla import estimates
from common.budget.flops import StepCounter
from common.engine import LoraSpec
from common.model.architecture import ModelShape
from common.progress import verbose
from common.text.amounts import scientific, short
from common.types import IGNORED_LABEL, EncodedExample


def epoch_flops(
    shape: ModelShape, lora: LoraSpec, gradient_checkpointing: bool, examples: Iterable[EncodedExample]
) -> float:
    """FLOPs of one pass over the encoded examples, counted matrix by matrix, padding not counted."""
    lengths = ((len(item), int((item.labels != IGNORED_LABEL).sum())) for item in examples)
    return StepCounter(shape, lora, gradient_checkpointing).examples(lengths).total


def run_compute(flops_per_epoch: float, epochs: float, parameters: int, tokens: int) -> dict[str, Any]:
    """The run's FLOPs beside the compute-optimal models for as many (Hoffmann et al. 2022, all approaches).

    tokens_per_parameter   tokens trained on over all parameters of the base model
    """
    flops = flops_per_epoch * epochs
    return {
        "flops": flops,
        "tokens": tokens,
        "parameters": parameters,
        "tokens_per_parameter": tokens / parameters,
        "optimal": [asdict(row) | {"tokens_per_param": row.tokens_per_param} for row in estimates(flops=flops)],
    }


def run_compute_text(compute: dict[str, Any]) -> str:
    """One line for a terminal, and with `--verbose` what the compute would buy in pre-training."""
    optimal = compute["optimal"]
    sizes, tokens = [row["params"] for row in optimal], [row["tokens"] for row in optimal]
    ratio = compute["tokens_per_parameter"]
    line = (
        f"compute: {scientific(compute['flops'])} FLOPs on {short(compute['tokens'])} tokens "
        f"({ratio:.2g} for each of {short(compute['parameters'])} parameters)"
    )
    if not verbose():
        return line
    return (
        f"{line}\nChinchilla: as much compute would pre-train {short(min(sizes))} to {short(max(sizes))} parameters on "
        f"{short(min(tokens))} to {short(max(tokens))} tokens at best; it says nothing of fine-tuning's own optimum"
    )
