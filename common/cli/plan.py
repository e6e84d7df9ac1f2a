"""`sumkit plan`: whether a run fits on a device, what would make it fit, and how long it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from common.cli.completion import COMPLETIONS
from common.cli.options import GroupedCommand, config_from, settings_options


@click.command("plan", cls=GroupedCommand, short=True)
@settings_options(
    groups=("data", "prompt", "model", "lora", "training", "evaluation", "generation", "output"), without=("run",)
)
@click.option("--device", default="auto", metavar="NAME", shell_complete=COMPLETIONS["device"],
              help="Device to plan for; auto is this machine. [default: auto]")  # fmt: skip
@click.option("--measure", is_flag=True, help="Run real steps here first, for under a minute, and remember the speed.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file with settings.")
@click.option("--recipe", metavar="NAME", shell_complete=COMPLETIONS["recipe"],
              help="Start from a published recipe (sumkit recipes lists them).")  # fmt: skip
@click.option("--run", hidden=True, expose_value=False, help="Taken so that a train command can be planned as it is.")
@click.option("--resume", is_flag=True, hidden=True, expose_value=False, help="As --run.")
@click.option("--auto", is_flag=True, hidden=True, expose_value=False, help="As --run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    device: str, measure: bool, config_file: Path | None, recipe: str | None, as_json: bool, **flags: Any
) -> None:
    """Tell before hours are spent: peak memory by component, what to change, disk and time.

    Takes train's own flags. Devices: t4, l4, a10, a100-40, a100-80, h100, h200, m1-8gb, m1-16gb, m2-24gb, m3-36gb,
    m4-64gb, m4-128gb, or auto for this machine.

    \b
    Examples:
      sumkit plan --model phi-2 --data notes/ --device t4
      sumkit plan --model mistral-7b --data notes/ --device m1-16gb --max-length 2048
      sumkit plan --model qwen2.5-0.5b --data notes/ --epochs 3 --measure
    """
    from common.budget.plan_text import plan_text
    from common.budget.planner import make_plan

    config = config_from(flags, config_file, recipe)
    plan = make_plan(config, device, measure)
    if as_json:
        click.echo(json.dumps(plan.as_dict()))
    else:
        click.echo(plan_text(plan, config.model.gradient_checkpointing))
