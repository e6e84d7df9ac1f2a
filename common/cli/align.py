"""`sumkit align`: a run made more concise and faithful by preference, into a run of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from common.cli.options import GroupedCommand, settings_options

DEFAULTS: dict[str, Any] = {
    "learning_rate": 5e-5,
    "epochs": 1.0,
    "steps": 0,
    "batch_size": 8,
    "warmup_fraction": 0.1,
    "keep_best_by": "dev_loss",
    "dropout": 0.0,
    "eval_every": 0,
    "save_every": 0,
    "boundary_loss_weight": 0.0,
    "batch_target_tokens": 0,
    "eval_rouge": 0,
    "preview_every": 0,
    "patience": 0,
    "optimizer": "adamw",
}
"""What differs from the settings of the run that is aligned, unless given as flags."""
OFFERED = (
    "data", "on_bad_row", "learning_rate", "epochs", "steps", "batch_size", "schedule", "warmup_fraction",
    "warmup_steps", "max_grad_norm", "micro_batch_tokens", "seed", "max_new_tokens", "generation_batch_tokens",
    "gradient_checkpointing", "eval_every", "eval_rouge", "keep_best_by", "patience", "save_every",
    "keep_checkpoints", "log_every", "test_limit", "final_eval", "base_template", "engine", "run",
)  # fmt: skip


@click.command("align", cls=GroupedCommand)
@click.argument("start", metavar="RUN", type=click.Path(path_type=Path))
@settings_options(groups=("align",), names=OFFERED, without=("start",), defaults=DEFAULTS)
@click.option("--resume", is_flag=True, help="Continue the run in --run from its newest checkpoint.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON document.")
def command(start: Path, resume: bool, as_json: bool, **flags: Any) -> int:
    """Make a run's summaries more concise and faithful, by preference.

    Samples several summaries of training documents from RUN, ranks them (ROUGE against the reference, less a penalty
    for length beyond a target and for numbers and names that the document does not hold), and trains the adapter
    further on pairs of the best and the worst (DPO); or on people's own choices with --ratings. With --method grpo
    every step samples anew and learns from all samples' scores. Settings are RUN's unless given. The result is a run
    of its own, scored beside RUN.

    \b
    Examples:
      sumkit align runs/notes
      sumkit align runs/notes --target-words 20 --length-weight 1 --run runs/notes-short
      sumkit align runs/notes --ratings ratings.jsonl --beta 0.2
      sumkit align runs/notes --method grpo --samples 8
      sumkit align runs/notes --run runs/notes-short --resume
    """
    from common.cli.worker import launch
    from common.order import Order

    settings = aligned_settings(start, resume, flags)
    return launch(Order(settings, "align", resume, prints="json" if as_json else "text"))


def aligned_settings(start: Path, resume: bool, flags: dict[str, Any]) -> Any:
    """The settings of the aligned run: RUN's (or, resumed, its own), then this command's defaults, then flags."""
    from common import config
    from common.run.directory import RunDirectory, open_run

    target = Path(flags.get("run") or start.with_name(f"{start.resolve().name}-aligned"))
    given = config.from_flags({**flags, "run": str(target), "start": str(start)})
    if resume and RunDirectory(target).config.is_file():
        stored = config.to_dict(config.read_config(RunDirectory(target).config))
        if Path(stored["align"]["start"]).resolve() == start.resolve():
            given["align"]["start"] = stored["align"]["start"]  # the same run, however its path is written
        return config.resolve(config.merge(stored, given), config.COMMAND_LINE)
    _, settings, _ = open_run(start)
    ours = config.from_flags(DEFAULTS)
    fresh = {"align": dataclasses.asdict(type(settings.align)())}
    return config.resolve(config.merge(config.to_dict(settings), fresh, ours, given), config.COMMAND_LINE)
