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

# Sections of help in the order in which a person decides, with the groups of settings they show.
SECTIONS = {
    "What to learn from": ("data", "prompt"),
    "Preferences": ("align",),
    "Which model": ("model", "lora"),
    "How much": ("training",),
    "Evaluation": ("evaluation", "generation"),
    "Where to": ("output",),
    "Options": (),
}
# Settings outside the section of their group, and commands' own options, by parameter name; others are "Options".
ELSEWHERE = {
    "engine": "Which model",
    **dict.fromkeys(("test_limit", "final_eval", "base_template", "eval_only", "sample_count"), "Evaluation"),
    **dict.fromkeys(("resume", "plots", "as_json", "quiet", "verbose"), "Where to"),
}
# What `--help` shows of the settings; `--help-all` shows all.
FIRST = frozenset(
    ("data", "document_column", "summary_column", "limit_train", "max_length", "model", "quantize", "rank", "engine",
     "epochs", "learning_rate", "test_limit", "run")
)  # fmt: skip
LATER = frozenset(("curve", "eval_only", "sample_count"))  # train's own that `--help` leaves out


def section_of(name: str) -> str:
    """The section of help that shows a parameter."""
    group = next((info.group for info in config.all_settings() if info.name == name), None)
    return ELSEWHERE.get(name) or next((title for title, groups in SECTIONS.items() if group in groups), "Options")


class GroupedCommand(click.Command):
    """A command whose help lists options in sections. `short` commands list only the most used, and all of them with
    `--help-all`."""

    def __init__(self, *args: Any, short: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.short = short
        if short:
            self.params.append(
                click.Option(["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all,
                             help="Show all options and exit.")
            )  # fmt: skip

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        settings = {info.name for info in config.all_settings()}
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        left_out = 0
        for parameter in self.get_params(ctx):
            record, name = parameter.get_help_record(ctx), parameter.name or ""
            if record and self.short and not ctx.meta.get(ALL) and (name in settings - FIRST or name in LATER):
                left_out += 1
            elif record:
                rows[section_of(name)].append(record)
        for title, records in rows.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        if left_out:
            formatter.write_paragraph()
            formatter.write_text(f"{left_out} more options: {ctx.command_path} --help-all")


ALL = "sumkit.help_all"  # in a context's `meta`: whether help shows every option


def _show_all(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


class NumberOrWord(click.ParamType):
    """A number, or a word that stands for 0."""

    def __init__(self, kind: type, word: str) -> None:
        self.kind, self.word, self.name = kind, word, f"number or {word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == self.word:
            return self.kind(0)
        try:
            return self.kind(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor {self.word}", param, ctx)


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
    shown = f"{info.help} [default: {info.shown(info.default)}]" if info.default not in ("", None) else info.help
    if kind is bool:
        return click.option(f"{info.flag}/--no-{info.flag[2:]}", info.name, default=None, help=shown)
    if typing.get_origin(kind) is typing.Literal:
        choices = click.Choice([str(choice) for choice in typing.get_args(kind)])
        return click.option(info.flag, info.name, type=choices, default=None, help=shown)
    metavar = "DIR" if info.name == "run" else {int: "N", float: "X"}.get(kind, "TEXT")
    return click.option(
        info.flag, info.name, type=NumberOrWord(kind, info.zero) if info.zero else kind, default=None, help=shown,
        metavar=f"{metavar}|{info.zero}" if info.zero else metavar, shell_complete=COMPLETIONS.get(info.name),
    )  # fmt: skip


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
