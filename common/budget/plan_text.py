"""A plan as text for a person. Knows how to show, not how to compute."""

from __future__ import annotations

from common.budget.planner import Plan
from common.text.amounts import bytes_text, duration, short
from common.text.table import paragraph, text_table

PARTS = {
    "base_weights": "base weights, with the scales of quantization",
    "adapters": "adapter weights",
    "optimizer": "optimizer moments",
    "gradients": "adapter gradients",
    "activations": "activations",
    "head": "output head on target rows",
    "generation": "generation: key/value cache and prompts",
    "overhead": "framework overhead",
}


def plan_text(plan: Plan, checkpointing: bool) -> str:
    """The whole answer: verdict first, then memory, limits, changes, disk and time."""
    memory, device = plan.memory, plan.device
    verdict = f"fits, {bytes_text(plan.margin_bytes)} to spare" if plan.fits else "does not fit"
    lines = [
        f"{plan.model.name} on {device.title}: {verdict}",
        f"Needs {bytes_text(memory.total_bytes)} of the {bytes_text(device.usable_bytes)} that training may use "
        f"(the device has {bytes_text(device.memory_bytes)}).",
        f"Model: {short(plan.model.shape.parameters)} parameters, {plan.trainable_parameters:,} trained "
        f"({plan.model.source}).",
        f"Data: {plan.workload.describe()}.",
        "",
        text_table(["at its peak", "memory"], _memory_rows(plan, checkpointing)),
        "",
        *_limits(plan),
    ]
    if plan.changes:
        lines += ["", "What would make it fit, cheapest first, each on top of those before:", "", _changes(plan)]
        if not plan.changes[-1].fits:
            lines += ["", paragraph("Nothing here makes it fit: use a device with more memory or a smaller model.")]
    elif not plan.fits:
        lines += ["", paragraph("Nothing is left to change: use a device with more memory or a smaller model.")]
    return "\n".join([*lines, "", *_disk_and_time(plan)])


def _memory_rows(plan: Plan, checkpointing: bool) -> list[list[str]]:
    sizes = plan.memory.as_dict()
    rows = []
    for name, label in PARTS.items():
        batch = plan.largest_batch
        if name == "activations":
            how = "with" if checkpointing else "without"
            label += f" of {batch.rows} x {batch.tokens} tokens, {how} gradient checkpointing"
        if name == "generation" and plan.shape.generation:
            label += f", {plan.shape.generation.rows} x {plan.shape.generation.tokens} tokens"
        if sizes[name]:
            rows.append([label, bytes_text(sizes[name])])
        elif name == "head":
            rows.append([label, "less than the above frees"])
    generation = plan.memory.generation_bytes > plan.memory.training_bytes
    rows.append(["in all (training and generation take turns)", bytes_text(plan.memory.total_bytes)])
    rows.append(["what decides", "generation" if generation else "training"])
    return rows


def _limits(plan: Plan) -> list[str]:
    if not plan.largest_micro_batch_tokens:
        return ["Not even one example of this length fits."] + (
            [f"The longest example that fits has {plan.longest_example_tokens:,} tokens."]
            if plan.longest_example_tokens
            else []
        )
    return [
        f"Largest micro-batch that fits: {plan.largest_micro_batch_tokens:,} tokens, in rows of the longest example "
        f"({plan.workload.longest:,}).",
        f"Longest example that fits: {plan.longest_example_tokens:,} tokens"
        + (", the model's context." if plan.longest_example_tokens == plan.model.shape.context_tokens else "."),
    ]


def _changes(plan: Plan) -> str:
    rows = [
        [change.flags, change.cost, bytes_text(change.total_bytes), "fits" if change.fits else "not yet"]
        for change in plan.changes
    ]
    return text_table(["change", "costs", "then needs", ""], rows, left=2)


def _disk_and_time(plan: Plan) -> list[str]:
    download = plan.disk["download"]
    fetch = f", and {bytes_text(download)} to download once" if download else ""
    lines = [f"Disk: {bytes_text(plan.disk['run'])} for the run at most{fetch}."]
    time = plan.time
    if time is None:
        return [*lines, "Time: unknown for this device; --measure runs real steps here for under a minute."]
    basis = f"({time.basis})"
    speed = f"{time.tokens_per_second:,.0f} tokens per second"
    if plan.workload.basis == "assumed":
        return [*lines, f"Time: {speed} {basis}; give --data for the time of a run."]
    said = (
        f"Time: {duration(time.seconds_per_epoch)} an epoch, {duration(time.seconds)} in all for "
        f"{plan.shape.total_steps:,} steps with {plan.shape.evaluations} dev evaluations, at {speed} {basis}. "
        "The final evaluation comes on top."
    )
    return [*lines, paragraph(said)]
