"""The recipes: public write-ups of summarizer fine-tunes as settings, with what each reported and what differs here.

A recipe is a YAML file beside this module with `about` (what it reproduces, its published figures, what differs)
and `settings` (groups as in any settings file). Knows nothing of how settings are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Any

from common.config import load_yaml
from common.errors import ConfigError
from common.nearest import did_you_mean


@dataclass(frozen=True)
class Recipe:
    """One write-up. `reported` holds its published figures, `differs` what was wrong there or is done otherwise.

    `engine` is the one nearest to what it ran on; a run takes the engine of its machine unless --engine says otherwise.
    """

    name: str
    engine: str
    reproduces: str
    reported: str
    differs: str
    settings: dict[str, Any]


@cache
def all_recipes() -> dict[str, Recipe]:
    """Every recipe by name."""
    found = {}
    for entry in sorted(files(__package__).iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".yaml"):
            with as_file(entry) as path:
                content = load_yaml(path)
            name = entry.name.removesuffix(".yaml")
            found[name] = Recipe(name, settings=content["settings"], **content["about"])
    return found


def recipe_settings(name: str) -> dict[str, Any]:
    """The settings of a recipe by group. Raises ConfigError naming the recipes there are."""
    recipes = all_recipes()
    if name not in recipes:
        raise ConfigError(f"recipe {name!r} is unknown{did_you_mean(name, recipes)}\nrecipes: {', '.join(recipes)}")
    return recipes[name].settings
