"""How the batches of a run use a device's memory: the peak, and the largest batch and longest example that fit.

Knows nothing of what to change when they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from common.budget.activations import MemorySettings, MicroBatch
from common.budget.devices import Device
from common.budget.memory import MemoryEstimate, estimate_memory
from common.budget.run_shape import RunShape
from common.budget.workload import Workload
from common.model.architecture import ModelShape
from common.run.preparation import planned_lora
from common.settings import RunConfig

TOKEN_GRAIN = 64
MOST_ROWS = 1 << 16


def memory_settings(config: RunConfig, device: Device, model: ModelShape, accumulation: bool = True) -> MemorySettings:
    """What of the settings and the device decides memory; `accumulation` where a step has several micro-batches."""
    sizes = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": device.compute_bytes}
    float16 = config.model.dtype == "float16" or (config.model.dtype == "auto" and device.float16)
    return MemorySettings(
        engine=device.engine,
        kind=device.kind,
        quantize=config.model.quantize,
        compute_bytes=sizes[config.model.dtype],
        lora=planned_lora(config, model),
        gradient_checkpointing=config.model.gradient_checkpointing,
        optimizer=config.training.optimizer,
        float16=float16,
        accumulation=accumulation,
    )


def peak(config: RunConfig, device: Device, model: ModelShape, shape: RunShape) -> tuple[MemoryEstimate, MicroBatch]:
    """The largest estimate over the run's micro-batches, and the micro-batch that makes it."""
    settings = memory_settings(config, device, model, any(len(step) > 1 for step in shape.steps))
    estimates = (
        (estimate_memory(model, settings, batch, shape.generation), batch)
        for batch in heaviest_batches(shape.micro_batches)
    )
    return max(estimates, key=lambda pair: (pair[0].training_bytes, pair[1].run_tokens))


def heaviest_batches(batches: Iterable[MicroBatch]) -> list[MicroBatch]:
    """Those that no other one has both more tokens and more target rows than; memory grows with both."""
    heaviest: list[MicroBatch] = []
    for batch in sorted(batches, key=lambda batch: (-batch.run_tokens, -batch.target_rows)):
        if not heaviest or batch.target_rows > heaviest[-1].target_rows:
            heaviest.append(batch)
    return heaviest


def largest_micro_batch(
    config: RunConfig, device: Device, model: ModelShape, shape: RunShape, workload: Workload
) -> int:
    """Most tokens that could go through the model at once, in rows of the longest example; 0 where none fits."""
    settings = memory_settings(config, device, model)
    width, targets = workload.longest, max(targets for _, targets in workload.lengths)

    def fits(rows: int) -> bool:
        batch = MicroBatch(rows, width, rows * targets)
        return estimate_memory(model, settings, batch).total_bytes <= device.usable_bytes

    return width * _largest(fits, MOST_ROWS)


def longest_example(config: RunConfig, device: Device, model: ModelShape, shape: RunShape) -> int:
    """Longest single example, in tokens, that fits by itself; at most the model's context. 0 where none does."""
    settings = memory_settings(config, device, model)
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
