"""The plan of a run: does it fit, what would make it fit, how long does it take, how much disk does it need.

Puts together what the other files of this folder know one by one. `sumkit plan` shows a plan; `sumkit train` makes
the same one before it starts. Knows nothing of how a plan is shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from common.budget.activations import MicroBatch
from common.budget.changes import Change, find_changes, with_settings
from common.budget.devices import Device, find_device
from common.budget.fit import largest_micro_batch, longest_example, memory_settings, peak
from common.budget.flops import StepCounter
from common.budget.known_model import KnownModel, find_known_model
from common.budget.memory import MemoryEstimate
from common.budget.run_shape import RunShape, find_run_shape
from common.budget.time import Rate, TimeEstimate, cached_rate, estimate_time, probe_key, store_rate, table_rate
from common.budget.workload import Workload, counted_workload, find_workload
from common.engine import refuse_lacking
from common.errors import UsageError
from common.model.adapter import count_trainable
from common.run.preparation import Prepared, lora_spec, planned_lora
from common.settings import RunConfig
from common.text.amounts import bytes_text

# Settings that --auto leaves alone: they decide which model is trained, and on which text.
NOT_ADAPTED = {"max_length", "model"}


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
    refuse_lacking(device.engine, config.training.optimizer, config.generation.beams)
    if measure and device_name != "auto":
        raise UsageError(f"--measure runs steps on this machine; it cannot measure another: {device.title}")
    model = find_known_model(config.model.model)
    return plan_for(config, device, model, find_workload(config, model), measure)


def plan_for(config: RunConfig, device: Device, model: KnownModel, workload: Workload, measure: bool = False) -> Plan:
    """The plan of a run whose model and examples are known already."""
    shape = find_run_shape(config, workload)
    memory, largest = peak(config, device, model.shape, shape)
    fits = memory.total_bytes <= device.usable_bytes
    if measure and not fits:
        raise UsageError("--measure: the run would not fit here; see sumkit plan without it for what to change")
    return Plan(
        device=device,
        model=model,
        trainable_parameters=count_trainable(model.shape, planned_lora(config, model.shape)),
        workload=workload,
        shape=shape,
        memory=memory,
        largest_batch=largest,
        largest_micro_batch_tokens=largest_micro_batch(config, device, model.shape, shape, workload),
        longest_example_tokens=longest_example(config, device, model.shape, shape),
        changes=() if fits else tuple(find_changes(config, device, model.shape, workload)),
        disk=disk_bytes(config, model),
        time=_time(config, device, model, shape, measure),
    )


def disk_bytes(config: RunConfig, model: KnownModel) -> dict[str, int]:
    """Bytes on disk: the model's files that are still to be fetched (16 bit), and the run directory at its largest."""
    trainable = count_trainable(model.shape, planned_lora(config, model.shape))
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
    float32 = config.model.dtype == "float32"
    if device.name != "auto":
        return table_rate(device, float32), "estimated from the device's data sheet, not measured"
    facts = {**asdict(memory_settings(config, device, model.shape)), "compile": config.model.compile}
    key = probe_key(device=device.title, model=model.source, dtype=config.model.dtype, **facts)
    if measure:
        from common.budget.probe import probe

        store_rate(key, probe(config).rate)
    rate = cached_rate(key)
    if rate:
        return rate, f"measured here on {rate.measured} UTC over {rate.steps} steps"
    return table_rate(device, float32), "estimated from the device's data sheet; --measure runs real steps"


def check_before_training(
    config: RunConfig, prepared: Prepared, engine: str, adapt: bool
) -> tuple[RunConfig, list[str]]:
    """The settings to train with, and what to tell: nothing where the run fits.

    With `adapt`, the changes that make the run fit are applied, unless they take another model or cut documents.
    """
    model = KnownModel(prepared.model.name, prepared.model.shape, prepared.model.directory, prepared.model.source)
    device = find_device("auto", engine)
    plan = plan_for(config, device, model, counted_workload(prepared))
    if plan.fits:
        return config, []
    said = [
        f"this run needs about {bytes_text(plan.memory.total_bytes)}, and {device.title} lets it use "
        f"{bytes_text(device.usable_bytes)}: it may run out of memory"
    ]
    applied = [change for change in plan.changes if not change.settings.keys() & NOT_ADAPTED]
    advice = " ".join(change.flags for change in plan.changes)
    if not plan.changes or not plan.changes[-1].fits:
        return config, [*said, "nothing that sumkit plan knows makes it fit; use a smaller model or another device"]
    if not adapt or len(applied) < len(plan.changes):
        how = "" if len(applied) < len(plan.changes) else ", or --auto to do so"
        return config, [*said, f"what would fit: {advice} (sumkit plan explains it{how})"]
    changed = with_settings(config, {name: value for change in applied for name, value in change.settings.items()})
    return changed, [*said, f"--auto: training with {advice}"]
