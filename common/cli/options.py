"""Command-line options generated from the settings, so that flag, YAML key and docs cannot drift apart."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from common import config
from common.cli.completion import COMPLETIONS
from common.errors import ConfigError
from common.settings import RunConfig

Function = TypeVar("Function", bound=Callable[..., Any])

TITLES = {"": "Options", "lora": "LoRA"}  # of the groups in help; others are their own names


class GroupedCommand(click.Command):
    """A command whose help lists the settings under their groups' names, and its own options first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups = {info.name: info.group for info in config.all_settings()}
        rows: dict[str, list[tuple[str, str]]] = {"": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record:
                rows.setdefault(groups.get(parameter.name or "", ""), []).append(record)
        for group, records in rows.items():
            with formatter.section(TITLES.get(group, group.capitalize())):
                formatter.write_dl(records)


def settings_options(
    groups: Collection[str] = (),
    names: Collection[str] = (),
    without: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[Function], Function]:
    """Decorator adding a flag for each setting of `groups`, and each of `names`, except those in `without`.

    `defaults` holds the command's own, by name, to be shown in place of the settings'.
    """

    def decorate(function: Function) -> Function:
        for info in reversed(config.all_settings()):
            if (info.group in groups or info.name in names) and info.name not in without:
                own = (defaults or {}).get(info.name, info.default)
                function = _option(dataclasses.replace(info, default=own))(function)
        return function

    return decorate


def _option(info: config.SettingInfo) -> Callable[[Any], Any]:
    kind = _base_type(info.annotation)
    shown = f"{info.help} [default: {info.default}]" if info.default not in ("", None) else info.help
    if kind is bool:
        return click.option(f"{info.flag}/--no-{info.flag[2:]}", info.name, default=None, help=shown)
    if typing.get_origin(kind) is typing.Literal:
        choices = click.Choice([str(choice) for choice in typing.get_args(kind)])
        return click.option(info.flag, info.name, type=choices, default=None, help=shown)
    return click.option(
        info.flag, info.name, type=kind, default=None, help=shown, metavar=_metavar(info, kind),
        shell_complete=COMPLETIONS.get(info.name),
    )  # fmt: skip


def _metavar(info: config.SettingInfo, kind: Any) -> str:
    if info.name == "run":
        return "DIR"
    return {int: "N", float: "X"}.get(kind, "TEXT")


def _base_type(annotation: Any) -> Any:
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, types.UnionType):
        annotation = typing.get_args(annotation)[0]
    return annotation


def config_from(
    flags: dict[str, Any],
    config_file: str | Path | None = None,
    recipe: str | None = None,
    engine: str | None = None,
    origin: str = config.COMMAND_LINE,
) -> RunConfig:
    """The resolved settings: defaults < recipe or file < flags. Values come by field name, None for not given.

    `origin` is where the flags come from, as messages name it.
    """
    layers: list[dict[str, Any]] = []
    source = "settings"
    if config_file and recipe:
        raise ConfigError("--config and --recipe exclude each other; put the recipe's values into the file")
    if recipe:
        from common.recipes.catalogue import recipe_settings

        layers.append(recipe_settings(recipe))
        source = f"recipe {recipe}"
    if config_file:
        layers.append(config.load_yaml(Path(config_file)))
        source = str(config_file)
    for layer in layers:
        config.resolve(layer, source)
    given = config.from_flags(flags)
    if engine:
        given.setdefault("output", {})["engine"] = engine
    return config.resolve(config.merge(*layers, given), origin)
