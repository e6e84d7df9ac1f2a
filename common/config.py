"""From defaults, a YAML file and flags to one validated `RunConfig`, and back to YAML.

Collects every problem of a file before stopping; an unknown key is an error that names its dotted path and the
nearest known one. Knows nothing of what the settings mean.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.files import write_text
from common.nearest import did_you_mean, nearest
from common.settings import RunConfig

COMMAND_LINE = "command line"  # the source of settings that were given as flags


@dataclass(frozen=True)
class SettingInfo:
    """One setting as the command line and the docs see it. `path` is dotted: `lora.rank`; `zero` is the word for 0."""

    group: str
    name: str
    annotation: Any
    default: Any
    help: str
    zero: str

    @property
    def path(self) -> str:
        return f"{self.group}.{self.name}"

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def shown(self, value: Any) -> str:
        """A value as people read it: a word for 0 where there is one, on and off for flags."""
        if isinstance(value, bool):
            return "on" if value else "off"
        return self.zero if self.zero and value == 0 else str(value)


@cache
def all_settings() -> tuple[SettingInfo, ...]:
    """Every setting of `RunConfig`, in the order of the groups."""
    found = []
    groups = typing.get_type_hints(RunConfig)
    for group, cls in groups.items():
        hints = typing.get_type_hints(cls, include_extras=True)
        for item in dataclasses.fields(cls):
            help_text, zero = item.metadata["help"], item.metadata["zero"]
            found.append(SettingInfo(group, item.name, hints[item.name], item.default, help_text, zero))
    return tuple(found)


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file. Raises ConfigError with file and line when it is not one."""
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).split("\n")[0]
        raise ConfigError(f"{path}{line}: is not valid YAML ({problem})") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: must hold a mapping of setting groups, not {type(loaded).__name__}")
    return loaded


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, group by group. A group that is not a mapping is kept for validation to name."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for group, values in layer.items():
            if isinstance(values, Mapping) and isinstance(merged.get(group), dict):
                merged[group] = {**merged[group], **values}
            else:
                merged[group] = dict(values) if isinstance(values, Mapping) else values
    return merged


def from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Nest the flat flag values that were given (see `given_flags`) into groups. ConfigError for an unknown name."""
    by_name = {info.name: info.group for info in all_settings()}
    unknown = [f"{name} is not a setting{did_you_mean(name, by_name)}" for name in flags if name not in by_name]
    if unknown:
        raise ConfigError("\n".join(unknown))
    nested: dict[str, Any] = {}
    for name, value in given_flags(flags).items():
        nested.setdefault(by_name[name], {})[name] = value
    return nested


def given_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags by field name without those that are None. `--epochs` alone also takes back the number of steps that a
    recipe, a file or the run itself may have, which would win over it."""
    given = {name: value for name, value in flags.items() if value is not None}
    return {"steps": 0, **given} if "epochs" in given else given


def resolve(values: Mapping[str, Any], source: str = "settings") -> RunConfig:
    """Validate nested values against `RunConfig`. Raises ConfigError listing every problem, one a line.

    `source` is the file they are from, or COMMAND_LINE: problems are then named by flag.
    """
    from pydantic import TypeAdapter, ValidationError

    problems = _unknown_keys(values)
    known = {info.path for info in all_settings()}
    usable = {
        group: {name: value for name, value in fields.items() if f"{group}.{name}" in known}
        for group, fields in values.items()
        if isinstance(fields, Mapping) and any(path.startswith(f"{group}.") for path in known)
    }
    try:
        config = TypeAdapter(RunConfig).validate_python(usable)
        problems += _infinite(config, source)
        if not problems:
            return config
    except ValidationError as error:
        problems += [_describe(detail, source) for detail in error.errors()]
    raise ConfigError("\n".join(f"{source}: {problem}" for problem in problems))


def _unknown_keys(values: Mapping[str, Any]) -> list[str]:
    groups: dict[str, set[str]] = {}
    for info in all_settings():
        groups.setdefault(info.group, set()).add(info.name)
    every_path = [info.path for info in all_settings()]
    problems = []
    for group, fields in values.items():
        if group not in groups:
            same_name = [path for path in every_path if path.split(".")[1] == str(group)]
            near = same_name[0] if same_name else nearest(str(group), groups)
            problems.append(f"{group} is not a setting" + _hint(near))
            continue
        if not isinstance(fields, Mapping):
            problems.append(f"{group} must be a mapping of settings, not {fields!r}")
            continue
        for name in fields:
            if name not in groups[group]:
                elsewhere = [path for path in every_path if path.split(".")[1] == str(name)]
                near = elsewhere[0] if elsewhere else nearest(f"{group}.{name}", every_path, cutoff=0.5)
                problems.append(f"{group}.{name} is not a setting" + _hint(near))
    return problems


def _hint(near: str) -> str:
    return f"; did you mean {near}?" if near else f"; groups are {', '.join(typing.get_type_hints(RunConfig))}"


def _describe(detail: Any, source: str) -> str:
    said = f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
    return f"{_assigned('.'.join(str(part) for part in detail['loc']), detail['input'], source)}: {said}"


def _assigned(path: str, value: Any, source: str) -> str:
    """A value as it was given: under its flag on the command line, under its key in a file."""
    flag = next((info.flag for info in all_settings() if info.path == path), "")
    return f"{flag} {value}" if source == COMMAND_LINE and flag else f"{path} = {value!r}"


def _infinite(config: RunConfig, source: str) -> list[str]:
    return [
        f"{_assigned(f'{group}.{name}', value, source)}: must be a finite number"
        for group, values in to_dict(config).items()
        for name, value in values.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Nested plain values, ready for YAML or JSON."""
    return dataclasses.asdict(config)


def write_yaml(config: RunConfig, path: Path) -> None:
    """Write every resolved setting, atomically, as YAML that `load_yaml` and `resolve` read back to an equal config."""
    import yaml

    write_text(path, yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True))


def read_config(path: Path) -> RunConfig:
    """The config that `write_yaml` wrote, or any settings file laid over the defaults."""
    return resolve(load_yaml(path), str(path))
