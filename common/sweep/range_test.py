"""Learning-rate range test (Smith 2015): the rate grows at every step until the loss runs away.

The training loss of each step, smoothed, over the logarithm of the rate: it falls fastest where learning is quick and
still stable, and turns up where steps are too long. What is learnt on the way is thrown away. Knows nothing of
checkpoints: a test is minutes at most.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.batching import BoundaryLoss, build_step
from common.data.step_plan import StepPlan
from common.engine import choose_engine, load_engine
from common.errors import DataError, NonFiniteError
from common.files import write_json
from common.progress import Progress, note
from common.report.plot_style import BASE, INK, TUNED, Plot, new_figure, style
from common.run.directory import environment_facts
from common.run.preparation import engine_spec, lora_spec, prepare
from common.settings import RunConfig

LOWEST, HIGHEST = 1e-6, 1e-1
STEPS = 60
LEAST_STEPS = 10
SMOOTHING = 0.85  # weight of the past in the running mean of the loss
RUNAWAY = 1.5  # the test ends where the smoothed loss is this many times its lowest value


@dataclass(frozen=True)
class RangeTest:
    """Rates tried and the loss (nats per target token) before each step, raw and smoothed, all of shape (steps,).

    suggested   where the smoothed loss falls fastest
    lowest      where it is lowest: from about here on steps are too long
    ended       why the test ended: `runaway`, `nonfinite`, or `highest` when the last rate was reached
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggested: float
    lowest: float
    ended: str


def range_test(config: RunConfig, low: float = LOWEST, high: float = HIGHEST, steps: int = STEPS) -> RangeTest:
    """Train `steps` steps from the run's own start with rates from `low` to `high`, evenly on a logarithmic scale.

    Raises DataError for too few steps, and what loading data, model and engine raise.
    """
    if steps < LEAST_STEPS:
        raise DataError(f"--steps {steps}: a range test needs at least {LEAST_STEPS} steps; {STEPS} are usual")
    name, why = choose_engine(config.output.engine)
    prepared = prepare(config)
    training = dataclasses.replace(config.training, steps=steps)
    plan = StepPlan(prepared.train_set, dataclasses.replace(config, training=training))
    engine = load_engine(name, engine_spec(config, prepared.model, lora_spec(config, prepared.tokenizer)))
    note(f"engine {name} ({why}): {engine.device.name}; rates from {low:g} to {high:g} in {steps} steps")
    boundary = BoundaryLoss(training.boundary_loss_weight, training.boundary_position_weight, training.boundary_window)
    every = np.geomspace(low, high, steps).tolist()
    losses: list[float] = []
    ended = "highest"
    with Progress(steps, "range test") as progress:
        for step, rate in enumerate(every):
            batches = build_step(
                plan.examples(step), training.micro_batch_tokens, prepared.tokenizer.pad_id, boundary,
                engine.rank, engine.world_size,
            )  # fmt: skip
            try:
                losses.append(engine.step(batches, rate).loss)
            except NonFiniteError:
                ended = "nonfinite"
                break
            progress.advance(1, loss=losses[-1], lr=rate)
            smooth = smoothed(losses)
            if step >= LEAST_STEPS and smooth[-1] > RUNAWAY * min(smooth):
                ended = "runaway"
                break
    suggested, lowest = suggest(every[: len(losses)], losses)
    return RangeTest(every[: len(losses)], losses, smoothed(losses), suggested, lowest, ended)


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential running mean, corrected for its start as Adam's moments are."""
    mean, out = 0.0, []
    for count, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        out.append(mean / (1 - SMOOTHING**count))
    return out


def suggest(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, float]:
    """(rate of the steepest fall, rate of the lowest smoothed loss).

    The steepest fall is looked for before the lowest point only. Raises DataError where the loss never fell.
    """
    curve = np.array(smoothed(losses))
    lowest = int(np.argmin(curve)) if len(curve) else 0
    if lowest < 2:
        raise DataError(
            "the loss did not fall at any learning rate of the test; start lower "
            f"(--vary learning-rate=LOW..HIGH, now from {rates[0] if rates else 0:g}) or look at the data"
        )
    slopes = np.gradient(curve[: lowest + 1], np.log(np.array(rates[: lowest + 1])))
    return float(rates[int(np.argmin(slopes))]), float(rates[lowest])


def describe(test: RangeTest) -> str:
    """The outcome in a sentence or two."""
    ends = {
        "runaway": f"the loss ran away at {test.rates[-1]:.2g}",
        "nonfinite": f"the loss was no longer finite after {test.rates[-1]:.2g}",
        "highest": f"the loss had not run away at {test.rates[-1]:.2g}",
    }
    return (
        f"suggested learning rate: {test.suggested:.2g} (steepest fall of the loss); "
        f"lowest loss at {test.lowest:.2g}, {ends[test.ended]}"
    )


def write_range_test(test: RangeTest, config: RunConfig, path: Path) -> dict[str, Any]:
    """Write range_test.json and plots/range_test.png into `path`; returns what was written."""
    from common.report.drawing import save_png

    result = {
        "data": config.data.data,
        "model": config.model.model,
        **dataclasses.asdict(test),
        "sentence": describe(test),
        "environment": environment_facts(),
    }
    write_json(path / "range_test.json", result)
    (path / "plots").mkdir(parents=True, exist_ok=True)
    with style():
        save_png(range_plot(test), path / "plots" / "range_test.png")
    return result


def range_plot(test: RangeTest) -> Plot:
    """Loss over rate, with the suggestion and the lowest point marked."""
    figure, (panel,) = new_figure(1, 3.4)
    panel.plot(test.rates, test.losses, color=TUNED, linewidth=0.8, alpha=0.4)
    panel.plot(test.rates, test.smoothed, color=TUNED, linewidth=2, label="training loss, smoothed")
    panel.axvline(test.suggested, color=INK, linewidth=1.4, label=f"suggested {test.suggested:.2g}")
    panel.axvline(test.lowest, color=BASE, linewidth=1.4, linestyle="--", label=f"lowest {test.lowest:.2g}")
    panel.set_xscale("log")
    finite = [value for value in test.smoothed if math.isfinite(value)]
    room = 0.15 * (max(finite) - min(finite)) + 1e-6
    panel.set_ylim(min(finite) - room, max(finite) + 3 * room)
    panel.set_xlabel("learning rate")
    panel.set_title("loss, nats per target token")
    panel.legend(loc="upper left")
    return Plot("range_test", "Learning-rate range test", describe(test), figure)
