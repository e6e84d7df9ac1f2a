"""What a shell offers after TAB for settings that have names of their own: models, data sets, recipes, templates.

click writes the scripts (see docs/use.md) and completes commands, flags and choices; this adds only the names.
Imports nothing heavy: a shell waits for the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem


def names_and_files(names: Callable[[], Iterable[str]]) -> Any:
    """A click `shell_complete` function that offers the names that fit, and files and directories too."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        offered = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return [*offered, CompletionItem(incomplete, type="file")]

    return complete


def _models() -> Iterable[str]:
    from common.model.presets import PRESETS

    return PRESETS


def _data() -> Iterable[str]:
    from common.data.named import NAMES

    return NAMES


def _templates() -> Iterable[str]:
    from common.data.prompts import BUILT_IN

    return ("auto", *BUILT_IN)


def _devices() -> Iterable[str]:
    from common.budget.devices import DEVICES

    return ("auto", *DEVICES)


def recipes() -> list[str]:
    """Names of the recipes, from their files' names alone."""
    from importlib.resources import files

    found = (entry.name for entry in files("common.recipes").iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


COMPLETIONS: dict[str, Any] = {
    "model": names_and_files(_models),
    "data": names_and_files(_data),
    "template": names_and_files(_templates),
    "base_template": names_and_files(_templates),
    "device": names_and_files(_devices),
    "recipe": names_and_files(recipes),
}
