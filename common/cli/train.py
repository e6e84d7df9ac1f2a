"""`sumkit train`: settings from file, recipe and flags; then the training journey."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from common.budget.curve_file import SETTINGS_FILE
from common.cli.completion import COMPLETIONS
from common.cli.options import GroupedCommand, config_from, settings_options
from common.config import given_flags, load_yaml
from common.errors import UsageError
from common.order import Order, Prints, Work, with_run
from common.settings import RunConfig

HELP = """Fine-tune a model into a summarizer of your documents.

Settings: defaults, then --config or --recipe, then flags. Writes a run directory with the adapter, metrics,
predictions, scores and a report.

\b
Examples:
  {prog} --data notes/ --model qwen2.5-0.5b
  {prog} --data notes.csv --epochs 3 --learning-rate 5e-4 --run runs/notes
  {prog} --data notes/ --run runs/notes --resume
  {prog} --recipe phi2-xsum-t4
  {prog} --data notes/ --learning-curve --run runs/curve
"""


def command_for(engine: str | None) -> click.Command:
    """The train command, on a fixed engine or on any."""
    program = {"mlx": "python -m mlx_sum.train", "cuda": "python -m cuda_sum.train"}.get(engine or "", "sumkit train")

    @click.command(
        "train", cls=GroupedCommand, short=True, help=HELP.format(prog=program),
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    @settings_options(
        groups=("data", "prompt", "model", "lora", "training", "evaluation", "generation", "output"),
    )
    @click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file with settings.")
    @click.option("--recipe", metavar="NAME", shell_complete=COMPLETIONS["recipe"],
              help="Start from a published recipe (sumkit recipes lists them).")  # fmt: skip
    @click.option("--auto", "adapt", is_flag=True,
                  help="Where the run would not fit, train with what sumkit plan would change.")  # fmt: skip
    @click.option("--learning-curve", "curve", is_flag=True,
                  help="Train on growing subsets, and project what more examples would bring.")  # fmt: skip
    @click.option("--resume", is_flag=True, help="Continue the run in --run from its newest checkpoint.")
    @click.option("--eval-only", is_flag=True, help="Do not train: score the run in --run and write its report.")
    @click.option("--generate-samples", "sample_count", type=click.IntRange(min=0), default=0, metavar="N",
                  help="Also print N scored documents with reference and summary.")  # fmt: skip
    @click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON document.")
    def train(
        config_file: Path | None,
        recipe: str | None,
        adapt: bool,
        curve: bool,
        resume: bool,
        eval_only: bool,
        sample_count: int,
        as_json: bool,
        **flags: Any,
    ) -> int:
        from common.cli.worker import launch

        work: Work = "score" if eval_only else "train"
        prints: Prints = "json" if as_json else "text"
        wanted = Order(RunConfig(), work, resume, prints, adapt, sample_count)
        return launch(order_from(wanted, flags, config_file, recipe, engine, curve))

    return train


command = command_for(None)


def order_from(
    wanted: Order,
    flags: dict[str, Any],
    config_file: Path | None = None,
    recipe: str | None = None,
    engine: str | None = None,
    curve: bool = False,
) -> Order:
    """The order with its settings and run directory: from file or recipe, flags, and the run that it goes on with.

    `curve` asks for a learning curve; a run that is one goes on as one. Raises UsageError for what excludes itself.
    """
    if engine and flags.get("engine") not in (None, "auto", engine):
        other = flags["engine"]
        raise UsageError(f"this is the {engine} engine; for the other: python -m {other}_sum.train")
    resume, eval_only = wanted.resume, wanted.work == "score"
    named = bool(flags.get("data") or config_file or recipe)
    if resume and not flags.get("run") and not config_file:  # a settings file may name the run
        raise UsageError("--resume continues a run: name it as --run DIR")
    if resume and not named and not Path(flags["run"]).is_dir():
        raise UsageError(f"--resume: there is no run directory {flags['run']}; look at what is in runs/")
    if eval_only and not flags.get("run"):
        raise UsageError("--eval-only scores a run that is there: give it as --run DIR")
    if (resume or eval_only) and flags.get("run") and not config_file and not recipe:
        path = Path(flags["run"])
        curve = curve or (path / SETTINGS_FILE).is_file()
        flags = {**_stored_flags(path), **given_flags(flags)}
    if curve and (eval_only or wanted.samples):
        raise UsageError("--learning-curve scores by dev loss alone; leave out --eval-only and --generate-samples")
    settings = with_run(config_from(flags, config_file, recipe, engine))
    return dataclasses.replace(wanted, settings=settings, work="curve" if curve else wanted.work)


def _stored_flags(run: Path) -> dict[str, Any]:
    """The settings of an existing run as flags, so that `--run DIR --resume` alone continues it."""
    file = next((run / name for name in ("config.yaml", SETTINGS_FILE) if (run / name).is_file()), None)
    if file is None:
        return {}
    stored = load_yaml(file)
    return {name: value for fields in stored.values() for name, value in fields.items()}
