"""The plan of a run: does it fit, what would make it fit, how long does it take, how much disk does it need.

Puts together what the other files of this folder know one by one. `sumkit plan` shows a plan; `sumkit train` makes
the same one before it starts. Knows nothing of how a plan is shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from common.adapter import count_trainable
from common.architecture import ModelShape
from common.budget.devices import Device, find_device
from common.budget.flops import StepCounter
from common.budget.known_model import KnownModel, find_known_model
from common.budget.memory import MemoryEstimate, MemorySettings, MicroBatch, estimate_memory
from common.budget.run_shape import RunShape, find_run_shape
from common.budget.time import Rate, TimeEstimate, cached_rate, estimate_time, probe_key, store_rate, table_rate
from common.budget.workload import Workload, find_workload
from common.errors import UsageError
from common.presets import PRESETS, preset_shape
from common.settings import RunConfig
from common.training import lora_spec

TOKEN_GRAIN = 64
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
class Plan:
    """Everything `sumkit plan` says. `changes` is empty where the run fits; its last one says whether any helps."""

    device: Device
    model: KnownModel
    trainable_parameters: int
    workload: Workload
    shape: RunShape
    memory: MemoryEstimate
    largest_batch: MicroBatch
    largest_micro_batch_tokens: int
    longest_example_tokens: int
    changes: tuple[Change, ...]
    disk: dict[str, int]
    time: TimeEstimate | None

    @property
    def margin_bytes(self) -> int:
        return self.device.usable_bytes - self.memory.total_bytes

    @property
    def fits(self) -> bool:
        return self.margin_bytes >= 0

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "model": self.model.name,
            "parameters": self.model.shape.parameters,
            "trainable_parameters": self.trainable_parameters,
            "device": asdict(self.device),
            "fits": self.fits,
            "margin_bytes": self.margin_bytes,
            "memory_bytes": self.memory.as_dict(),
            "largest_micro_batch": asdict(self.largest_batch),
            "largest_micro_batch_tokens": self.largest_micro_batch_tokens,
            "longest_example_tokens": self.longest_example_tokens,
            "changes": [asdict(change) for change in self.changes],
            "disk_bytes": self.disk,
            "workload": {
                "basis": self.workload.basis,
                "examples": len(self.workload.lengths),
                "tokens": self.workload.tokens,
                "target_tokens": self.workload.target_tokens,
                "longest": self.workload.longest,
                "cut_examples": self.workload.cut_examples,
            },
            "steps": self.shape.total_steps,
            "time": asdict(self.time) if self.time else None,
        }


def make_plan(config: RunConfig, device_name: str = "auto", measure: bool = False) -> Plan:
    """Plan a run on a device. With `measure`, run a probe of real steps here first, if the run fits.

    Raises UsageError for an unknown device, an engine that the device does not have, or a probe of another device;
    ModelError, DataError or AdapterError for what the run itself could not use.
    """
    device = find_device(device_name, config.output.engine)
    if config.output.engine not in ("auto", device.engine):
        raise UsageError(f"--engine {config.output.engine} does not run on {device.title}; leave --engine out")
    if measure and device_name != "auto":
        raise UsageError(f"--measure runs steps on this machine; it cannot measure a {device.title}")
    model = find_known_model(config.model.model)
    workload = find_workload(config, model)
    shape = find_run_shape(config, workload)
    memory, largest = peak(config, device, model.shape, shape)
    fits = memory.total_bytes <= device.usable_bytes
    if measure and not fits:
        raise UsageError("--measure: the run would not fit here; see sumkit plan without it for what to change")
    return Plan(
        device=device,
        model=model,
        trainable_parameters=count_trainable(model.shape, lora_spec(config)),
        workload=workload,
        shape=shape,
        memory=memory,
        largest_batch=largest,
        largest_micro_batch_tokens=largest_micro_batch(config, device, model.shape, shape, workload),
        longest_example_tokens=longest_example(config, device, model.shape, shape),
        changes=() if fits else tuple(find_changes(config, device, model, workload)),
        disk=disk_bytes(config, model),
        time=_time(config, device, model, shape, measure),
    )


def memory_settings(config: RunConfig, device: Device, accumulation: bool = True) -> MemorySettings:
    """What of the settings and the device decides memory; `accumulation` where a step has several micro-batches."""
    sizes = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": device.compute_bytes}
    float16 = config.model.dtype == "float16" or (config.model.dtype == "auto" and device.name == "t4")
    return MemorySettings(
        engine=device.engine,
        kind=device.kind,
        quantize=config.model.quantize,
        compute_bytes=sizes[config.model.dtype],
        lora=lora_spec(config),
        gradient_checkpointing=config.model.gradient_checkpointing,
        optimizer=config.training.optimizer,
        float16=float16,
        accumulation=accumulation,
    )


def peak(config: RunConfig, device: Device, model: ModelShape, shape: RunShape) -> tuple[MemoryEstimate, MicroBatch]:
    """The largest estimate over the run's micro-batches, and the micro-batch that makes it."""
    settings = memory_settings(config, device, any(len(step) > 1 for step in shape.steps))
    estimates = ((estimate_memory(model, settings, batch, shape.generation), batch) for batch in shape.micro_batches)
    return max(estimates, key=lambda pair: (pair[0].training_bytes, pair[1].padded_tokens))


def largest_micro_batch(
    config: RunConfig, device: Device, model: ModelShape, shape: RunShape, workload: Workload
) -> int:
    """Most tokens that could go through the model at once, in rows of the longest example; 0 where none fits."""
    settings = memory_settings(config, device)
    width, targets = workload.longest, max(targets for _, targets in workload.lengths)

    def fits(rows: int) -> bool:
        batch = MicroBatch(rows, width, rows * targets)
        return estimate_memory(model, settings, batch).total_bytes <= device.usable_bytes

    return width * _largest(fits, 1 << 16)


def longest_example(config: RunConfig, device: Device, model: ModelShape, shape: RunShape) -> int:
    """Longest single example, in tokens, that fits by itself; at most the model's context. 0 where none does."""
    settings = memory_settings(config, device)
    rows = max(batch.target_rows // batch.rows for batch in shape.micro_batches)

    def fits(grains: int) -> bool:
        batch = MicroBatch(1, grains * TOKEN_GRAIN, rows)
        return estimate_memory(model, settings, batch).total_bytes <= device.usable_bytes

    return min(model.context_tokens, TOKEN_GRAIN * _largest(fits, -(-model.context_tokens // TOKEN_GRAIN)))


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, 0 where not even 1 does; what is smaller than a fit fits too."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


@dataclass(frozen=True)
class _Remedy:
    """One kind of change: values from the mildest to the strongest, and which part of the memory it is for."""

    setting: str
    values: tuple[Any, ...]
    cost: str
    part: Literal["training", "generation"] = "training"


def find_changes(config: RunConfig, device: Device, model: KnownModel, workload: Workload) -> Iterator[Change]:
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

    for remedy in _remedies(config, model.shape, workload):
        now = _part(needs(applied, model.shape), remedy.part)
        if now <= device.usable_bytes:
            continue
        tried = [(value, needs(applied | {remedy.setting: value}, model.shape)) for value in remedy.values]
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
    smaller = [(name, shape) for name, shape in shapes.items() if shape and shape.parameters < model.shape.parameters]
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
        yield _Remedy("gradient_checkpointing", (True,), "the same result, steps take about a third longer")
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


def disk_bytes(config: RunConfig, model: KnownModel) -> dict[str, int]:
    """Bytes on disk: the model's files that are still to be fetched (16 bit), and the run directory at its largest."""
    trainable = count_trainable(model.shape, lora_spec(config))
    checkpoint = trainable * 4 * 4  # adapter, both moments, and the best adapter so far
    return {
        "download": 0 if model.directory else model.shape.parameters * 2,
        "run": (config.output.keep_checkpoints + 1) * checkpoint + trainable * 4 + 16 * 2**20,
    }


def _time(config: RunConfig, device: Device, model: KnownModel, shape: RunShape, measure: bool) -> TimeEstimate | None:
    counter = StepCounter(model.shape, lora_spec(config), config.model.gradient_checkpointing)
    rate, basis = _rate(config, device, model, measure)
    if rate is None:
        return None
    return estimate_time(rate, counter, StepCounter(model.shape, None), shape, basis)


def _rate(config: RunConfig, device: Device, model: KnownModel, measure: bool) -> tuple[Rate | None, str]:
    if device.name != "auto":
        return table_rate(device), "estimated from the device's data sheet, not measured"
    facts = {**asdict(memory_settings(config, device)), "compile": config.model.compile}
    key = probe_key(device=device.title, model=model.source, dtype=config.model.dtype, **facts)
    if measure:
        from common.budget.probe import probe

        store_rate(key, probe(config).rate)
    rate = cached_rate(key)
    if rate:
        return rate, f"measured here on {rate.measured} UTC over {rate.steps} steps"
    return table_rate(device), "estimated from the device's data sheet; --measure runs real steps"
