"""What to change in a run that does not fit, in the order of what each change costs.

Knows nothing of how much memory a run takes; that is `common.budget.fit`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from common.budget.devices import Device
from common.budget.fit import peak
from common.budget.memory import MemoryEstimate
from common.budget.run_shape import find_run_shape
from common.budget.workload import Workload
from common.model.architecture import ModelShape
from common.model.presets import PRESETS, preset_shape
from common.settings import RunConfig

LEAST_MICRO_BATCH = 256
LEAST_LENGTH = 128


@dataclass(frozen=True)
class Change:
    """One change that saves memory, applied together with those before it. `settings` are flat field names."""

    flags: str
    cost: str
    settings: dict[str, Any]
    total_bytes: int
    fits: bool


@dataclass(frozen=True)
class _Remedy:
    """One kind of change: values from the mildest to the strongest, and which part of the memory it is for."""

    setting: str
    values: tuple[Any, ...]
    cost: str
    part: Literal["training", "generation"] = "training"


def find_changes(config: RunConfig, device: Device, model: ModelShape, workload: Workload) -> Iterator[Change]:
    """Changes in the order of what they cost, each on top of the ones before, up to the first that fits.

    Of each kind the mildest value that is enough is taken, else the strongest, and none where it saves nothing.
    """
    applied: dict[str, Any] = {}

    def needs(settings: dict[str, Any], shape: ModelShape) -> MemoryEstimate:
        changed = with_settings(config, settings)
        longest = changed.prompt.max_length
        lengths = tuple((min(tokens, longest), min(targets, longest // 2)) for tokens, targets in workload.lengths)
        run = find_run_shape(changed, dataclasses.replace(workload, lengths=lengths))
        return peak(changed, device, shape, run)[0]

    for remedy in _remedies(config, model, workload):
        now = _part(needs(applied, model), remedy.part)
        if now <= device.usable_bytes:
            continue
        tried = [(value, needs(applied | {remedy.setting: value}, model)) for value in remedy.values]
        enough = [pair for pair in tried if _part(pair[1], remedy.part) <= device.usable_bytes]
        better = [pair for pair in tried if _part(pair[1], remedy.part) < now]
        if not better:
            continue
        value, memory = enough[0] if enough else better[-1]
        applied[remedy.setting] = value
        fits = memory.total_bytes <= device.usable_bytes
        yield Change(_flag(remedy.setting, value), remedy.cost, {remedy.setting: value}, memory.total_bytes, fits)
        if fits:
            return
    shapes = {name: preset_shape(name) for name in PRESETS}
    smaller = [(name, shape) for name, shape in shapes.items() if shape and shape.parameters < model.parameters]
    for name, shape in sorted(smaller, key=lambda pair: -pair[1].parameters):
        total = needs(applied, shape).total_bytes
        if total <= device.usable_bytes:
            yield Change(f"--model {name}", "a smaller model, weaker summaries", {"model": name}, total, True)
            return


def _part(memory: MemoryEstimate, part: str) -> int:
    return (memory.generation_bytes if part == "generation" else memory.training_bytes) + memory.overhead


def _remedies(config: RunConfig, model: ModelShape, workload: Workload) -> Iterator[_Remedy]:
    yield _Remedy(
        "micro_batch_tokens",
        tuple(_halvings(config.training.micro_batch_tokens, max(LEAST_MICRO_BATCH, workload.longest // 2))),
        "the same result, somewhat slower",
    )
    yield _Remedy(
        "generation_batch_tokens",
        tuple(_halvings(config.generation.generation_batch_tokens, LEAST_MICRO_BATCH)),
        "the same summaries, evaluation somewhat slower",
        "generation",
    )
    if not config.model.gradient_checkpointing:
        yield _Remedy("gradient_checkpointing", (True,), "the same result, steps take about half as long again")
    coarser = {"none": ("8bit", "4bit"), "8bit": ("4bit",), "4bit": ()}[config.model.quantize]
    if coarser:
        yield _Remedy("quantize", coarser, "a coarser base model, slightly weaker summaries")
    layers = config.lora.adapter_layers or model.layers
    if layers > 1:
        yield _Remedy("adapter_layers", tuple(_halvings(layers, layers // 4)), "adapters on the last layers only")
    lengths = sorted(tokens for tokens, _ in workload.lengths)
    median = max(LEAST_LENGTH, lengths[len(lengths) // 2])
    longest = min(config.prompt.max_length, lengths[-1])
    shorter = tuple(length for length in (longest * 3 // 4, longest // 2) if length >= median)
    if shorter:
        share = sum(tokens > shorter[-1] for tokens in lengths) / len(lengths)
        yield _Remedy("max_length", shorter, f"documents of up to {share:.0%} of the examples lose text")


def _halvings(start: int, least: int) -> Iterator[int]:
    """`start` halved again and again, down to `least` and not below 1."""
    value = start // 2
    while value >= max(1, least):
        yield value
        value //= 2


def with_settings(config: RunConfig, settings: dict[str, Any]) -> RunConfig:
    """The config with flat settings replaced in whatever group they belong to."""
    groups = {}
    for item in dataclasses.fields(config):
        group = getattr(config, item.name)
        mine = {name: settings[name] for name in settings if name in {one.name for one in dataclasses.fields(group)}}
        groups[item.name] = dataclasses.replace(group, **mine) if mine else group
    return dataclasses.replace(config, **groups)


def _flag(name: str, value: Any) -> str:
    flag = "--" + name.replace("_", "-")
    return flag if value is True else f"{flag} {value}"
