"""`sumkit sweep`: the same run under several settings, and which of them is best, with how sure that is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import click

from common.cli.completion import COMPLETIONS
from common.cli.options import GroupedCommand, config_from, settings_options

GROUPS = ("data", "prompt", "model", "lora", "training", "evaluation", "generation")


@click.command("sweep", cls=GroupedCommand, short=True)
@click.option("--vary", multiple=True, metavar="SETTING=VALUES",
              help="Setting and its values: A,B,C; A|B where values hold commas; LOW..HIGH, a range to draw from "
              "(logarithmic). May be given several times.")  # fmt: skip
@click.option("--random", "draws", type=click.IntRange(min=1), metavar="N",
              help="Draw N combinations by the seed instead of trying all.")  # fmt: skip
@click.option("--halving", type=click.IntRange(min=0), default=3, show_default=True, metavar="N",
              help="Successive halving: the best 1/N of the trials train on (0: all to the end).")  # fmt: skip
@click.option("--rank-by", type=click.Choice(["dev_loss", "rouge1", "rouge2", "rougeL"]), default="dev_loss",
              show_default=True,
              help="What makes a trial better; ROUGE is that of --eval-rouge dev documents.")  # fmt: skip
@click.option("--range-test", is_flag=True,
              help="Find a learning rate instead: let it grow at each of --steps steps (60) until the loss runs away; "
              "--vary learning-rate=LOW..HIGH sets the range (1e-6..1e-1).")  # fmt: skip
@settings_options(groups=GROUPS, names=("run", "engine"))
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file with settings.")
@click.option("--recipe", metavar="NAME", shell_complete=COMPLETIONS["recipe"],
              help="Start from a published recipe (sumkit recipes lists them).")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue the sweep in --run; finished trials are not run again.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON document.")
def command(
    vary: tuple[str, ...],
    draws: int | None,
    halving: int,
    rank_by: Literal["dev_loss", "rouge1", "rouge2", "rougeL"],
    range_test: bool,
    config_file: Path | None,
    recipe: str | None,
    resume: bool,
    as_json: bool,
    **flags: Any,
) -> int | None:
    """Train under every combination of some settings (or a random draw) and name the best one.

    Every trial is an ordinary run below --run DIR, so the best one can be used at once. All are compared on the same
    dev documents: intervals are 95 % and paired, and the chosen setting comes with the share of resamples of the
    documents in which it is the best. Takes train's flags for what the trials share.

    \b
    Examples:
      sumkit sweep --data notes/ --vary learning-rate=1e-4,2e-4,5e-4
      sumkit sweep --data notes/ --vary learning-rate=1e-4..5e-3 --vary rank=16,32,64 --random 12
      sumkit sweep --data notes/ --vary 'target-modules=all-linear|q_proj,v_proj' --vary template=direct,article
      sumkit sweep --data notes/ --vary model=smollm2-135m,qwen2.5-0.5b --rank-by rougeL --eval-rouge 50
      sumkit sweep --run runs/sweep-notes --resume
      sumkit sweep --data notes/ --range-test
    """
    from common.errors import UsageError
    from common.order import with_run
    from common.sweep.plot import sweep_table
    from common.sweep.sweep import SweepStopped, run_sweep, stored_plan

    run = flags.pop("run")
    if resume and run and vary:
        raise UsageError("a sweep that is resumed has its own settings; leave out --vary")
    if range_test:
        _range_test(vary, run, config_from(flags, config_file, recipe), as_json)
        return None
    if resume and run and not vary:
        plan, path = stored_plan(Path(run)), Path(run)
    else:
        plan = _plan(vary, draws, halving if halving > 1 else 0, rank_by, config_from(flags, config_file, recipe))
        path = Path(run or with_run(plan.base, "sweep").output.run)
    try:
        results = run_sweep(plan, path, resume)
    except SweepStopped as stop:
        click.echo(f"saved. Continue with: sumkit sweep --run {path} --resume", err=True)
        return stop.status
    if as_json:
        click.echo(json.dumps(results))
    else:
        click.echo(sweep_table(results))
        click.echo(f"settings: {path / 'best.yaml'}; plot: {path / 'plots' / 'sweep.png'}")
        click.echo(f"score it: sumkit eval {results['best']['run']}")
    return None


def _plan(vary: tuple[str, ...], draws: int | None, halving: int, measure: Any, base: Any) -> Any:
    from common.config import to_dict
    from common.errors import DataError, UsageError
    from common.sweep.space import grid_trials, parse_varied, random_trials
    from common.sweep.sweep import SweepPlan

    if not vary:
        raise UsageError("nothing to sweep over: give --vary SETTING=A,B,C, or --run DIR --resume")
    if not base.data.data:
        raise DataError("no data: give --data a directory, a file or a data set name (`--data demo` is embedded)")
    varied = [parse_varied(text) for text in vary]
    nested = to_dict(base)
    trials = random_trials(varied, draws, base.training.seed, nested) if draws else grid_trials(varied, nested)
    keep_by = "dev_loss" if measure == "dev_loss" else base.evaluation.keep_best_by
    base = dataclasses.replace(base, evaluation=dataclasses.replace(base.evaluation, keep_best_by=keep_by))
    return SweepPlan(base, trials, halving, measure)


def _range_test(vary: tuple[str, ...], run: str | None, config: Any, as_json: bool) -> None:
    from common.errors import UsageError
    from common.order import with_run
    from common.sweep.range_test import HIGHEST, LOWEST, STEPS, describe, range_test, write_range_test
    from common.sweep.space import parse_varied

    low, high = LOWEST, HIGHEST
    if vary:
        varied = parse_varied(vary[0])
        if len(vary) > 1 or varied.setting.name != "learning_rate" or not varied.is_range:
            raise UsageError("--range-test varies the learning rate alone: --vary learning-rate=LOW..HIGH")
        low, high = varied.low, varied.high
    path = Path(run or with_run(config, "range-test").output.run)
    test = range_test(config, low, high, config.training.steps or STEPS)
    result = write_range_test(test, config, path)
    if as_json:
        click.echo(json.dumps(result))
    else:
        click.echo(f"{describe(test)}\nplot: {path / 'plots' / 'range_test.png'}")
