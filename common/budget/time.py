"""How long a run takes: from a probe of real steps on this machine, or from a table of devices.

A step's time is modelled as FLOPs / rate, plus a fixed time for every micro-batch. Knows nothing of how probes are
made (`common.budget.probe`) or shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from common.budget.activations import MicroBatch
from common.budget.devices import Device
from common.budget.flops import StepCounter
from common.budget.run_shape import RunShape
from common.files import sha256_text, write_json
from common.model.models import cache_directory

CACHE_FILE = "probes.json"
FLOAT32_EFFICIENCY = 0.5  # share of a GPU's float32 peak that LoRA training reaches (an estimate)


@dataclass(frozen=True)
class Rate:
    """What a probe found: `flops_per_second` and the fixed `seconds_per_batch` of every micro-batch.

    measured  date of the probe, empty for a rate from the table
    """

    flops_per_second: float
    seconds_per_batch: float
    measured: str = ""
    steps: int = 0


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds of training and its dev evaluations. The final evaluation, which generates, is not in it."""

    seconds_per_epoch: float
    seconds: float
    tokens_per_second: float
    basis: str


def batch_flops(counter: StepCounter, batch: MicroBatch) -> float:
    """FLOPs of one training micro-batch, padding included, a common beginning counted once."""
    one = counter.example(batch.tokens, 0)
    head = counter.example(0, batch.target_rows)
    beginning = counter.example(batch.shared_tokens, 0)
    return one.total * batch.rows - beginning.total * (batch.rows - 1) + head.total


def work(counter: StepCounter, batches: Iterable[MicroBatch]) -> tuple[float, int]:
    """FLOPs and number of the micro-batches."""
    known: dict[MicroBatch, float] = {}
    total, count = 0.0, 0
    for batch in batches:
        if batch not in known:
            known[batch] = batch_flops(counter, batch)
        total += known[batch]
        count += 1
    return total, count


def fit_rate(samples: Sequence[tuple[float, int, float]]) -> tuple[float, float]:
    """(FLOPs per second, seconds per micro-batch) from measured steps given as (FLOPs, micro-batches, seconds).

    Least squares with neither constant below 0, scaled so that the steps' total time is met.
    """
    flops, counts, seconds = (np.array(column, np.float64) for column in zip(*samples, strict=True))
    per_flop, per_batch = _nonnegative(flops, counts, seconds)
    scale = seconds.sum() / (per_flop * flops.sum() + per_batch * counts.sum())
    return 1.0 / max(per_flop * scale, 1e-30), per_batch * scale


def _nonnegative(flops: np.ndarray, counts: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    columns = np.stack([flops / flops.mean(), counts / counts.mean()], axis=1)
    found, *_ = np.linalg.lstsq(columns, seconds, rcond=None)
    if (found < 0).any() or np.linalg.matrix_rank(columns) < 2:
        return float(seconds.sum() / flops.sum()), 0.0
    return float(found[0] / flops.mean()), float(found[1] / counts.mean())


def table_rate(device: Device, float32: bool = False) -> Rate | None:
    """The rate that the device table gives; None where it knows no speed for the device.

    `float32` is for products of that type where they have units of their own, which a larger share can be had of.
    """
    if not device.flops_per_second or not device.efficiency:
        return None
    rate = device.flops_per_second * device.efficiency
    if float32 and device.float32_flops_per_second:
        rate = min(rate, device.float32_flops_per_second * FLOAT32_EFFICIENCY)
    return Rate(rate, 0.002)


def estimate_time(
    rate: Rate, counter: StepCounter, evaluator: StepCounter, shape: RunShape, basis: str
) -> TimeEstimate:
    """Time of the whole run. `evaluator` counts forward passes only."""
    flops, count = work(counter, (batch for step in shape.steps for batch in step))
    epoch = flops / rate.flops_per_second + count * rate.seconds_per_batch
    dev_flops, dev_count = work(evaluator, shape.dev_batches)
    dev = dev_flops / rate.flops_per_second + dev_count * rate.seconds_per_batch / 3  # forward of three passes
    tokens = sum(batch.padded_tokens for step in shape.steps for batch in step)
    return TimeEstimate(epoch, epoch * shape.epochs + dev * shape.evaluations, tokens / epoch, basis)


def probe_key(**facts: object) -> str:
    """Name of a probe in the cache: changes with anything that changes the speed."""
    return sha256_text(json.dumps(facts, sort_keys=True, default=str))[:16]


def cached_rate(key: str) -> Rate | None:
    """A rate measured on this machine before; None where there is none or the cache is damaged."""
    try:
        stored = json.loads((cache_directory() / CACHE_FILE).read_text(encoding="utf-8"))
        return Rate(**stored[key])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store_rate(key: str, rate: Rate) -> None:
    """Remember a rate for later plans on this machine."""
    path = cache_directory() / CACHE_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**stored, key: asdict(rate)})
