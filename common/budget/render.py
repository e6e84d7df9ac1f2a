"""The budget command's answers as tables for a person. Knows how to show, not how to compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.budget.chinchilla import (
    DESCRIPTIONS,
    FITTED_FLOPS,
    Comparison,
    Estimate,
    GivenModel,
    outside_fitted_range,
    spread,
)
from common.text.amounts import scientific, short
from common.text.table import paragraph, text_table

if TYPE_CHECKING:
    from common.budget.finetune import FinetuneCost

CONVENTION = "C = 6 N D: six FLOPs for each of N parameters and D tokens"
SOURCES = (
    "1, 2 and 3: Hoffmann et al. 2022 (arXiv 2203.15556); 3-replication: Besiroglu et al. 2024 (arXiv 2404.10102)."
)
MEANING = (
    "These optima are for pre-training from scratch and say little about fine-tuning, where the best use of data "
    "and parameters depends on the task and on the model's own pre-training (Zhang et al. 2024, arXiv 2402.17193)."
)


def amount(value: float, unit: str) -> str:
    """`1.2e9 params (1.2 B)`; without the second form where there is no name for it."""
    first, second = scientific(value), short(value)
    return f"{first} {unit}" if second == first or unit == "FLOPs" else f"{first} {unit} ({second})"


def optimum_text(rows: Sequence[Estimate], flops: float | None, params: float | None, tokens: float | None) -> str:
    """Every approach's optimum, and how far they are apart."""
    asked, unit = next(
        (value, unit) for value, unit in ((flops, "FLOPs"), (params, "params"), (tokens, "tokens")) if value is not None
    )
    with_flops = flops is None
    header = ["approach", *(["flops"] if with_flops else []), "params", "tokens", "tokens/param", "loss"]
    cells = [
        [
            f"{row.approach}  {DESCRIPTIONS[row.approach]}",
            *([f"{scientific(row.flops)} FLOPs"] if with_flops else []),
            amount(row.params, "params"),
            amount(row.tokens, "tokens"),
            f"{row.tokens_per_param:.1f}",
            f"{row.loss:.3f}" if row.loss is not None else "-",
        ]
        for row in rows
    ]
    apart = []
    for name, values in (("params", [row.params for row in rows]), ("tokens", [row.tokens for row in rows])):
        found = spread(values)
        if found["ratio"] > 1.001:
            apart.append(f"{name} {short(found['low'])} to {short(found['high'])} ({found['ratio']:.2f} times)")
    notes = f"Spread between approaches: {', '.join(apart)}. Loss in nats per token; 1 and 2 predict none. {SOURCES}"
    if any(outside_fitted_range(row.flops) for row in rows):
        low, high = (scientific(bound) for bound in FITTED_FLOPS)
        notes += f" Extrapolated: the runs behind these fits used {low} to {high} FLOPs."
    title = f"Compute-optimal pre-training for {amount(asked, unit)}, by {CONVENTION}"
    return "\n".join([title, "", text_table(header, cells), "", paragraph(notes)])


def comparison_text(model: GivenModel, rows: Sequence[Comparison]) -> str:
    """How far the user's model is from each approach's optimum at its own FLOPs."""
    cells = []
    for row in rows:
        factor = row.params_ratio
        size = f"{factor:.2f} times too large" if factor >= 1 else f"{1 / factor:.2f} times too small"
        if abs(factor - 1) < 0.05:
            size = "about optimal"
        if row.loss is None or row.optimal_loss is None or row.flops_for_same_loss is None:
            cells.append([row.approach, size, "-", "-", "-"])
            continue
        saved = row.flops_for_same_loss / model.flops
        needed = f"{scientific(row.flops_for_same_loss)} FLOPs ({saved:.0%})"
        cells.append([row.approach, size, f"{row.loss:.3f}", f"+{row.loss - row.optimal_loss:.3f}", needed])
    header = ["approach", "your model is", "its loss", "above optimum", "optimal model needs for the same loss"]
    return "\n".join(
        [
            f"Your model: {amount(model.params, 'params')}, {amount(model.tokens, 'tokens')}, "
            f"{model.tokens_per_param:.1f} tokens per parameter, {scientific(model.flops)} FLOPs",
            "",
            text_table(header, cells),
        ]
    )


PART_NAMES = {
    "linear_forward": "linear layers, forward",
    "attention_forward": "attention, forward",
    "head": "output head on target rows, both ways",
    "activation_gradients": "activation gradients of the frozen layers",
    "attention_gradients": "attention gradients",
    "adapter_forward": "adapters, forward",
    "adapter_gradients": "adapter gradients",
    "recomputation": "second forward (gradient checkpointing)",
    "total": "total",
}


def finetune_text(cost: FinetuneCost, model: str, source: str, workload: str) -> str:
    """What the fine-tuning run spends, by part."""
    per_token, epoch = cost.epoch.scaled(1 / cost.tokens).as_dict(), cost.epoch.as_dict()
    assumed = cost.examples == 1
    header = ["part", "per token", *(["per example"] if assumed else ["per epoch", "per run"]), "share"]
    cells = []
    for name, label in PART_NAMES.items():
        if epoch[name]:
            spent = [per_token[name], epoch[name]] + ([] if assumed else [epoch[name] * cost.epochs])
            shares = f"{epoch[name] / epoch['total']:.1%}"
            cells.append([label, *(f"{scientific(value)} FLOPs" for value in spent), shares])
    trained = f"{cost.trainable_parameters:,} trainable ({cost.trainable_parameters / cost.parameters:.2%})"
    epochs = "" if assumed else f"; {cost.epochs:g} epoch{'' if cost.epochs == 1 else 's'}"
    full = cost.full_epoch * (1 if assumed else cost.epochs)
    closing = (
        f"A full fine-tune (6 N D) would spend {scientific(full)} FLOPs: this is {cost.share_of_full:.0%} of it. "
        "Padding, norms, activation functions and the optimizer are not counted (a few per cent together); nor is it "
        "that sumkit's engines run most of the last layer on target rows only, and what a micro-batch's rows all begin "
        "with once."
    )
    return "\n".join(
        [
            f"Fine-tuning {model}: {amount(cost.parameters, 'params')}, {trained}; sizes from {source}",
            f"Data: {workload}{epochs}",
            "",
            text_table(header, cells),
            "",
            paragraph(closing),
        ]
    )
