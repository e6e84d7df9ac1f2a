"""Training on nested subsets of growing size, to ask whether more examples would help.

Each size is a run of its own below the given directory, with the same settings but for the number of examples; the
subsets are nested, because the seed ranks the examples once. Knows nothing of how the curve is projected.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from common.budget.curve_file import RUN_FILE, SETTINGS_FILE
from common.budget.learning_curve import MINIMUM_SIZES
from common.config import write_yaml
from common.data.sources import load_splits
from common.errors import DataError
from common.progress import note
from common.settings import RunConfig
from common.train.training import train_run

POINTS = 6
LEAST_EXAMPLES = 16


def subset_sizes(examples: int, points: int = POINTS) -> list[int]:
    """`examples`, its half, its quarter and so on, smallest first; none below LEAST_EXAMPLES.

    Raises DataError where that leaves fewer sizes than a projection needs.
    """
    sizes = [examples >> halvings for halvings in range(points) if examples >> halvings >= LEAST_EXAMPLES]
    if len(sizes) < MINIMUM_SIZES:
        least = LEAST_EXAMPLES << (MINIMUM_SIZES - 1)
        raise DataError(f"a learning curve needs at least {least} training examples, there are {examples}")
    return sizes[::-1]


def train_learning_curve(
    config: RunConfig, path: Path, resume: bool = False, adapt: bool = False
) -> list[tuple[int, float]]:
    """Train on each subset below `path`; returns (examples, best dev loss) and writes them to learning_curve.csv.

    With `resume`, finished sizes are not trained again; `adapt` is as for `train_run`. Raises DataError where there
    are too few examples, or none in dev, and what training itself raises.
    """
    splits = load_splits(config.data, config.training.seed)
    if not splits.dev:
        raise DataError(f"{config.data.data}: a learning curve needs dev examples to measure the loss on")
    available = min(len(splits.train), config.data.limit_train or len(splits.train))
    sizes = subset_sizes(available)
    points: list[tuple[int, float]] = []
    path.mkdir(parents=True, exist_ok=True)
    write_yaml(config, path / SETTINGS_FILE)
    for number, size in enumerate(sizes, 1):
        note(f"learning curve: {size} examples ({number} of {len(sizes)})")
        finished = train_run(_with_examples(config, size), path / f"n-{size}", resume, config.output.engine, adapt)
        if finished.state.best_value is None:
            raise DataError(f"{path / f'n-{size}'}: the run has no dev loss; train with --keep-best-by dev_loss")
        points.append((size, finished.state.best_value))
        _write(path / RUN_FILE, points)
    return points


def _with_examples(config: RunConfig, size: int) -> RunConfig:
    """The same run on `size` examples, scored by dev loss only."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, limit_train=size),
        evaluation=dataclasses.replace(config.evaluation, keep_best_by="dev_loss"),
        output=dataclasses.replace(config.output, final_eval=False),
    )


def _write(path: Path, points: list[tuple[int, float]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["examples", "dev_loss"])
        writer.writerows(points)
