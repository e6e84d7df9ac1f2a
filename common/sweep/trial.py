"""One trial of a sweep: an ordinary run, trained up to a share of its steps, and its loss on every dev document.

The losses (and ROUGE, where the sweep ranks by it) lie in the run's dev_scores.json, written last: a trial that was
interrupted has none for that share and is continued. Knows nothing of other trials.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.engine import Engine
from common.evaluation.reference_perplexity import example_losses
from common.files import write_json
from common.order import Order
from common.run.preparation import Prepared, generation_spec
from common.settings import RunConfig
from common.train.loop import RunStopped, TrainingLoop
from common.train.training import train_run

SCORES = "dev_scores.json"
ROUGE = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class TrialScores:
    """A trial's dev scores after `steps` of `total_steps`, by document id.

    losses   id -> (summed negative log-likelihood in nats, target tokens)
    rouge    id -> {"rouge1": percent, …}; empty where the sweep ranks by loss
    """

    share: float
    steps: int
    total_steps: int
    finished: bool
    seconds: float
    losses: dict[str, tuple[float, int]]
    rouge: dict[str, dict[str, float]]


Launch = Callable[[Order], int]  # carries out the order of a trial and returns its exit status


def run_trial(order: Order) -> int:
    """Train up to the share that is ordered in this process and write the dev scores; returns the exit status."""
    config, share = order.settings, order.share

    def score(engine: Engine, prepared: Prepared, loop: TrainingLoop) -> None:
        losses = example_losses(engine, prepared.dev_set, prepared.tokenizer.pad_id, "dev documents")
        write_json(
            order.path / SCORES,
            {
                "share": share if loop.paused else 1.0,
                "steps": loop.state.step,
                "total_steps": loop.plan.total_steps,
                "finished": not loop.paused,
                "seconds": round(loop.state.seconds, 2),
                "losses": {
                    example.id: [float(loss), int(tokens)]
                    for example, (loss, tokens) in zip(prepared.dev_set, losses, strict=True)
                },
                "rouge": {} if order.rouge is None else _rouge(engine, prepared, config, order.rouge),
            },
        )

    try:
        train_run(config, order.path, True, config.output.engine, share=share, at_end=score)
    except RunStopped as stop:
        return 128 + stop.signal_number
    return 0


def _rouge(engine: Engine, prepared: Prepared, config: RunConfig, count: int) -> dict[str, dict[str, float]]:
    from common.evaluation.evaluate import generate_predictions, score_predictions

    documents = list(prepared.dev_examples)[: count or None]
    spec = generation_spec(config, prepared.prompt_format.eos_ids)
    predictions = generate_predictions(engine, prepared.prompt_format, documents, spec, "dev summaries")
    system, _ = score_predictions("tuned", predictions, documents)
    return {
        example.id: {name: float(system.scores[name][place]) for name in ROUGE}
        for place, example in enumerate(documents)
    }


def read_scores(run: Path, share: float) -> TrialScores | None:
    """The trial's dev scores if it was trained up to `share` (or ended early); None where it has to go on."""
    try:
        stored: dict[str, Any] = json.loads((run / SCORES).read_text(encoding="utf-8"))
        losses = {name: (float(loss), int(tokens)) for name, (loss, tokens) in stored.pop("losses").items()}
        scores = TrialScores(**stored, losses=losses)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return scores if scores.finished or scores.share >= share - 1e-9 else None
