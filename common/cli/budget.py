"""`sumkit budget`: what compute buys in pre-training, what a fine-tune costs, and whether more examples would help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from common.errors import UsageError


@click.command("budget")
@click.option("--flops", metavar="C", help="Compute budget in FLOPs, such as 1e18.")
@click.option("--params", metavar="N", help="Model size in parameters, such as 0.5e9 or 0.5B.")
@click.option("--tokens", metavar="D", help="Training tokens, such as 1e9 or 20B.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw loss against model size here.")
@click.option("--model", metavar="NAME", help="Count what fine-tuning this model costs (preset, Hub id, directory).")
@click.option("--data", metavar="PATH", help="Data of that fine-tune, as for sumkit train.")
@click.option("--epochs", type=float, help="Passes over that data. [default: 1]")
@click.option("--max-length", type=int, metavar="N", help="Longest prompt plus summary in tokens. [default: 1024]")
@click.option("--rank", type=int, metavar="N", help="Rank of the adapter. [default: 16]")
@click.option("--target-modules", help="Adapted layers, such as q_proj,v_proj. [default: all-linear]")
@click.option("--gradient-checkpointing", is_flag=True, default=None, help="Count the second forward it makes.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file with a run's settings.")
@click.option("--curve", type=click.Path(path_type=Path), help="CSV of losses at growing sizes, or a run directory.")
@click.option("--at", multiple=True, metavar="N", help="Also project the curve to this many examples (repeatable).")
@click.option("--up-to", metavar="N", help="Fit the curve on sizes up to N only, to see what it foretells.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    flops: str | None, params: str | None, tokens: str | None, plot: Path | None, curve: Path | None,
    at: tuple[str, ...], up_to: str | None, as_json: bool, config_file: Path | None, **settings: Any,
) -> None:  # fmt: skip
    """What a compute budget buys, what a fine-tune really costs, and whether more data would help.

    \b
    Examples:
      sumkit budget --flops 1e18                     compute-optimal size and tokens, by every approach
      sumkit budget --params 0.5B --tokens 10B       how far this model is from optimal
      sumkit budget --flops 1e21 --plot budget.png
      sumkit budget --model qwen2.5-0.5b --data notes/ --epochs 3
      sumkit budget --curve losses.csv --at 10000    would more examples help?
    """
    from common.budget.units import parse_amount

    amounts = {
        name: parse_amount(text, f"--{name}") if text is not None else None
        for name, text in (("flops", flops), ("params", params), ("tokens", tokens))
    }
    answers: list[dict[str, Any]] = []
    texts: list[str] = []
    if any(value is not None for value in amounts.values()):
        _add(answers, texts, _pretraining(**amounts, plot=plot))
    elif plot:
        raise UsageError("--plot needs a budget: give --flops, or --params with --tokens")
    if settings["model"] is not None:
        _add(answers, texts, _finetuning(settings, config_file))
    elif config_file or any(value is not None for value in settings.values()):
        raise UsageError("--data and the settings of a run need --model, such as --model qwen2.5-0.5b")
    if curve:
        limit = parse_amount(up_to, "--up-to") if up_to is not None else None
        _add(answers, texts, _curve(curve, [parse_amount(text, "--at") for text in at], limit))
    elif at or up_to is not None:
        raise UsageError("--at and --up-to need --curve FILE")
    if not answers:
        raise UsageError("nothing asked: give --flops, --params, --tokens, --model or --curve (--help has examples)")
    if as_json:
        import json

        merged: dict[str, Any] = {}
        for answer in answers:
            merged.update(answer)
        click.echo(json.dumps(merged))
    else:
        click.echo("\n\n".join(texts))


def _add(answers: list[dict[str, Any]], texts: list[str], part: tuple[dict[str, Any], str]) -> None:
    answers.append(part[0])
    texts.append(part[1])


def _pretraining(
    *, flops: float | None, params: float | None, tokens: float | None, plot: Path | None
) -> tuple[dict[str, Any], str]:
    from dataclasses import asdict

    from common.budget import chinchilla, render

    model = chinchilla.given_model(flops, params, tokens)
    if model:
        flops, params, tokens = model.flops, None, None
    rows = chinchilla.estimates(flops, params, tokens)
    text = render.optimum_text(rows, flops, params, tokens)
    answer: dict[str, Any] = {
        "flops": flops,
        "convention": render.CONVENTION,
        "estimates": [asdict(row) | {"tokens_per_param": row.tokens_per_param} for row in rows],
        "spread": {
            "params": chinchilla.spread([row.params for row in rows]),
            "tokens": chinchilla.spread([row.tokens for row in rows]),
        },
        "note": render.MEANING,
    }
    if model:
        comparisons = chinchilla.compare(model)
        text += "\n\n" + render.comparison_text(model, comparisons)
        answer["model"] = asdict(model) | {"flops": model.flops, "tokens_per_param": model.tokens_per_param}
        answer["model"]["comparisons"] = [asdict(row) for row in comparisons]
    if plot:
        if flops is None:
            raise UsageError("--plot needs a budget: give --flops, or --params with --tokens")
        from common.budget.plots import plot_budget

        plot_budget(flops, model, plot)
        click.echo(f"plot: {plot}", err=True)
    return answer, text + "\n\n" + render.paragraph(render.MEANING)


def _finetuning(settings: dict[str, Any], config_file: Path | None) -> tuple[dict[str, Any], str]:
    from common.budget.finetune import finetune_cost
    from common.budget.known_model import find_known_model
    from common.budget.render import finetune_text
    from common.budget.workload import find_workload
    from common.cli.options import config_from
    from common.run.preparation import planned_lora

    config = config_from(settings, config_file)
    model = find_known_model(config.model.model)
    workload = find_workload(config, model)
    cost = finetune_cost(
        model.shape,
        planned_lora(config, model.shape),
        workload,
        config.training.epochs,
        config.model.gradient_checkpointing,
    )
    answer = {"finetune": {"model": model.name, "lengths": workload.basis} | cost.as_dict()}
    return answer, finetune_text(cost, model.name, model.source, workload.describe())


def _curve(path: Path, at: list[float], up_to: float | None) -> tuple[dict[str, Any], str]:
    from common.budget.curve_file import read_curves
    from common.budget.curve_report import curve_answers, curve_text

    answers = curve_answers(read_curves(path), at, up_to)
    return {"curves": answers}, curve_text(answers)
