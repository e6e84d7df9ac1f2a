"""The trials of a sweep: every combination of the given values, or a seeded random draw of them.

`learning-rate=1e-4,5e-4` lists values, `target-modules=all-linear|q_proj,v_proj` lists values that hold commas,
`learning-rate=1e-4..5e-4` is a range, drawn evenly on a logarithmic scale. Knows nothing of how trials are run.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common import config
from common.config import SettingInfo
from common.errors import ConfigError
from common.nearest import did_you_mean

# What trials must share, so that they are measured on the same dev documents and can be told apart from where they lie.
FIXED_DATA = ("data.limit_train", "data.duplicates", "data.leaks", "data.concise_share", "data.concise_words")
MOST_TRIALS = 500
DRAWS_PER_TRIAL = 200  # attempts at a combination not drawn yet


@dataclass(frozen=True)
class Varied:
    """One setting that trials differ in: listed `values`, or the bounds of a range (then `values` is empty)."""

    setting: SettingInfo
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @property
    def is_range(self) -> bool:
        return not self.values


@dataclass(frozen=True)
class Trial:
    """One combination. `name` is also its directory; `flags` are setting values by field name."""

    name: str
    flags: dict[str, Any]

    def label(self) -> str:
        """The settings as a person reads them."""
        return ", ".join(f"{name}={shown(value)}" for name, value in self.flags.items())


def shown(value: Any) -> str:
    """A value with at most four digits that matter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parse_varied(text: str) -> Varied:
    """One `SETTING=VALUES`. Raises ConfigError naming what is wrong with it."""
    name, equals, given = text.partition("=")
    setting = _find_setting(name.strip())
    if not equals or not given.strip():
        raise ConfigError(f"--vary {text}: give values as {name.strip()}=A,B,C or a range as {name.strip()}=LOW..HIGH")
    bounds = re.fullmatch(r"\s*([^,|\s]+)\.\.([^,|\s]+)\s*", given)
    if bounds:
        return _range(setting, text, *bounds.groups())
    parts = tuple(part.strip() for part in given.split("|" if "|" in given else ","))
    if "" in parts or len(set(parts)) < len(parts):
        raise ConfigError(f"--vary {text}: a value is empty or named twice")
    return Varied(setting, parts)


def _find_setting(name: str) -> SettingInfo:
    wanted = name.removeprefix("--").replace("-", "_")
    for info in config.all_settings():
        if wanted in (info.name, info.path):
            if info.group in ("output", "align") or (info.group == "data" and info.path not in FIXED_DATA):
                raise ConfigError(
                    f"--vary {name}: trials of one sweep share {info.path}, else their dev losses do not compare"
                )
            return info
    names = [info.name.replace("_", "-") for info in config.all_settings()]
    raise ConfigError(f"--vary {name}: is not a setting{did_you_mean(name, names)}; docs/settings.md lists them")


def _range(setting: SettingInfo, text: str, low: str, high: str) -> Varied:
    kind = _number_type(setting)
    try:
        bounds = float(low), float(high)
    except ValueError:
        raise ConfigError(f"--vary {text}: a range needs two numbers") from None
    if kind is None or not 0 < bounds[0] < bounds[1] < math.inf:
        raise ConfigError(f"--vary {text}: a range is for a setting that is a number, from above 0 upwards")
    return Varied(setting, (), *bounds)


def _number_type(setting: SettingInfo) -> type | None:
    annotation = setting.annotation
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation if annotation in (int, float) else None


def grid_trials(varied: Sequence[Varied], base: Mapping[str, Any]) -> list[Trial]:
    """Every combination of the listed values, the first setting changing slowest.

    `base` holds the settings that all trials share, nested, for checking each trial as a whole.
    """
    _refuse_twice(varied)
    for item in varied:
        if item.is_range:
            raise ConfigError(f"{item.setting.name} is a range, which has no grid; add --random N to draw N trials")
    combinations = [dict(zip([v.setting.name for v in varied], c, strict=True)) for c in _product(varied)]
    return _named(combinations, base)


def random_trials(varied: Sequence[Varied], count: int, seed: int, base: Mapping[str, Any]) -> list[Trial]:
    """`count` different combinations (all of them where there are fewer), the same ones for the same seed."""
    _refuse_twice(varied)
    generator = random.Random(seed)
    if not any(item.is_range for item in varied):
        everything = [dict(zip([v.setting.name for v in varied], c, strict=True)) for c in _product(varied)]
        return _named(generator.sample(everything, min(count, len(everything))), base)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _ in range(count * DRAWS_PER_TRIAL):
        drawn = {item.setting.name: _draw(item, generator) for item in varied}
        found.setdefault(tuple(drawn.values()), drawn)
        if len(found) == count:
            break
    return _named(list(found.values()), base)


def _product(varied: Sequence[Varied]) -> list[tuple[str, ...]]:
    size = math.prod(len(item.values) for item in varied)
    if size > MOST_TRIALS:
        raise ConfigError(f"the grid has {size:,} combinations, more than {MOST_TRIALS}; list fewer values")
    return list(itertools.product(*(item.values for item in varied)))


def _draw(item: Varied, generator: random.Random) -> Any:
    if not item.is_range:
        return generator.choice(item.values)
    value = math.exp(generator.uniform(math.log(item.low), math.log(item.high)))
    return round(value) if _number_type(item.setting) is int else float(f"{value:.4g}")


def _refuse_twice(varied: Sequence[Varied]) -> None:
    names = [item.setting.name for item in varied]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--vary {name} is given twice; list all its values in one")


def _named(combinations: Sequence[Mapping[str, Any]], base: Mapping[str, Any]) -> list[Trial]:
    """Trials with their values as the settings take them. Raises ConfigError for a value that is not allowed."""
    trials = []
    for number, flags in enumerate(combinations, 1):
        resolved = config.to_dict(config.resolve(config.merge(base, config.from_flags(flags)), "--vary"))
        groups = {info.name: info.group for info in config.all_settings()}
        typed = {name: resolved[groups[name]][name] for name in flags}
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(f"{name}-{shown(value)}" for name, value in typed.items()))
        trials.append(Trial(f"{number:02d}-{slug}"[:80].rstrip("-."), typed))
    if not trials:
        raise ConfigError("the sweep has no trial; give --vary SETTING=A,B,C")
    return trials
