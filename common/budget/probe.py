"""Real training steps on this machine, for under a minute: how fast they are, and how much memory they take.

The micro-batches come from the run's own plan, spread over all its lengths; one that would not end in time is left
out, so that a slow machine is measured on short ones. Weights change during the probe and are thrown away with the
engine. Knows nothing of caches or of how results are shown.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from common.budget.activations import MicroBatch
from common.budget.flops import StepCounter
from common.budget.run_shape import joins_rows
from common.budget.time import Rate, fit_rate, work
from common.data.batching import build_step
from common.data.step_plan import StepPlan
from common.engine import Engine, choose_engine, load_engine
from common.generation.shared import join_rows
from common.run.preparation import Prepared, engine_spec, lora_spec, prepare
from common.settings import RunConfig
from common.types import Batch

PROBE_SECONDS = 45.0
MOST_STEPS = 60
WARM_UP_SHARE = 0.2  # a first step that took less of the time is not counted: it compiles and allocates
TINY_LEARNING_RATE = 1e-8


@dataclass(frozen=True)
class ProbeResult:
    """Speed, and the allocator's peak over the probed steps."""

    rate: Rate
    peak_bytes: int


def probe(
    config: RunConfig, seconds: float = PROBE_SECONDS, clock: Callable[[], float] = time.perf_counter
) -> ProbeResult:
    """Build the engine and run steps of this run for about `seconds` of `clock`, loading not counted.

    Raises what training itself would raise: DataError, ModelError, AdapterError or EngineError.
    """
    prepared = prepare(config)
    name, _ = choose_engine(config.output.engine)
    lora = lora_spec(config, prepared.tokenizer)
    engine = load_engine(name, engine_spec(config, prepared.model, lora))
    engine.reset_peak_memory()
    counter = StepCounter(prepared.model.shape, lora, config.model.gradient_checkpointing)
    samples = timed_steps(engine, counter, sampled_batches(prepared, config), seconds, clock, joins_rows(config))
    peak = engine.peak_memory_bytes()
    del engine
    gc.collect()
    flops_per_second, seconds_per_batch = fit_rate(samples)
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return ProbeResult(Rate(flops_per_second, seconds_per_batch, date, len(samples)), peak)


def timed_steps(
    engine: Engine,
    counter: StepCounter,
    batches: Sequence[Batch],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    joins: bool = True,
) -> list[tuple[float, int, float]]:
    """(FLOPs, micro-batches, seconds) of single-micro-batch steps; the first of `batches` is the least work.

    A batch is left out where, at the speed seen so far, it would end after `seconds`. At least one is timed.
    """
    samples: list[tuple[float, int, float]] = []
    left, fastest = seconds, 0.0
    for number, batch in enumerate([batches[0], *batches]):
        flops, _ = work(counter, [sizes(batch, joins)])
        if number > 1 and flops > fastest * left:
            continue
        start = clock()
        engine.step([batch], TINY_LEARNING_RATE)
        took = clock() - start
        left -= took
        fastest = max(fastest, flops / took)
        if number or took > WARM_UP_SHARE * seconds:
            samples.append((flops, 1, took))
        if left <= 0:
            break
    return samples


def sampled_batches(prepared: Prepared, config: RunConfig) -> list[Batch]:
    """Micro-batches of the first epoch, the longest among the first, after one of the shortest example alone."""
    plan = StepPlan(prepared.train_set, config)
    budget, pad_id = config.training.micro_batch_tokens, prepared.tokenizer.pad_id
    shortest = min(prepared.train_set, key=len)
    steps = sorted(plan.epoch_plan(0), key=lambda step: -sum(len(prepared.train_set[i]) for i in step))
    chosen = build_step([shortest], budget, pad_id)
    for position in spread(len(steps), MOST_STEPS):
        chosen += build_step([prepared.train_set[i] for i in steps[position]], budget, pad_id)
    return chosen


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the positions 0 to count - 1, in an order whose every beginning covers the whole range."""
    order = sorted(range(count), key=lambda position: van_der_corput(position))
    return order[:most]


def van_der_corput(number: int) -> float:
    """The number's binary digits mirrored at the point: 1 -> 0.5, 2 -> 0.25, 3 -> 0.75 (van der Corput 1935)."""
    value, weight = 0.0, 0.5
    while number:
        value += weight * (number & 1)
        number >>= 1
        weight /= 2
    return value


def sizes(batch: Batch, joins: bool = True) -> MicroBatch:
    """What a batch costs depends on; `joins` where a common beginning of its rows runs once."""
    rows, tokens = batch.tokens.shape
    joined = join_rows(batch) if joins else None
    return MicroBatch(int(rows), int(tokens), len(batch.rows), joined.beginning.tokens if joined else 0)
