"""`sumkit recipes`: what each recipe reproduces, its published figures, and what differs."""

from __future__ import annotations

import json
import textwrap

import click


@click.command("recipes")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(name: str | None, as_json: bool) -> None:
    """List the recipes, or show one with its settings; `sumkit train --recipe NAME` runs it.

    \b
    Examples:
      sumkit recipes
      sumkit recipes phi2-xsum-t4
      sumkit train --recipe phi2-xsum-t4 --limit-train 200
    """
    from dataclasses import asdict

    from common.recipes.catalogue import all_recipes, recipe_settings

    if name:
        recipe_settings(name)
    chosen = [recipe for recipe in all_recipes().values() if name in (None, recipe.name)]
    if as_json:
        click.echo(json.dumps([asdict(recipe) for recipe in chosen]))
        return
    for recipe in chosen:
        click.echo(click.style(recipe.name, bold=True))
        engine = f"{recipe.engine} there; this machine's unless --engine says otherwise"
        lines = (
            ("", recipe.reproduces), ("engine: ", engine), ("reported: ", recipe.reported), ("here: ", recipe.differs),
        )  # fmt: skip
        for label, text in lines:
            click.echo(textwrap.fill(label + text, 100, initial_indent="  ", subsequent_indent="    "))
        if name:
            for group, values in recipe.settings.items():
                for key, value in values.items():
                    click.echo(f"  {group}.{key}: {value}")
