"""What a command asks for, from the command line to the process that does it: an order.

It crosses to the supervised child as JSON (`python -m common.cli.worker ORDER`).
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common import config as configuration
from common.settings import RunConfig

Work = Literal["train", "curve", "score", "align", "trial"]
Prints = Literal["text", "json", "nothing"]


@dataclass(frozen=True)
class Order:
    """One piece of work on one run directory.

    settings  of the run; `output.run` names its directory (`with_run`)
    work      train and score; train on nested subsets; score what is there; align and score; one trial of a sweep
    resume    go on with the run that is there
    prints    what goes to standard output at the end
    adapt     take the plan's settings where the run would not fit
    samples   how many scored documents are printed too
    share     of a trial's steps, after which it pauses
    rouge     how many dev documents a trial summarizes and scores (0: all); None: losses only
    """

    settings: RunConfig
    work: Work = "train"
    resume: bool = False
    prints: Prints = "text"
    adapt: bool = False
    samples: int = 0
    share: float = 1.0
    rouge: int | None = None

    @property
    def path(self) -> Path:
        """The run directory."""
        return Path(self.settings.output.run)

    @property
    def command(self) -> str:
        """What a person types to go on with the run; empty for a trial, which its sweep goes on with."""
        return "" if self.work == "trial" else resume_command(self.path, self.settings.align.start)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """What `to_json` wrote. Raises ConfigError for settings that are not valid."""
        values: dict[str, Any] = json.loads(text)
        settings = configuration.resolve(values.pop("settings"), configuration.COMMAND_LINE)
        return cls(settings, **values)


def resume_command(run: Path, start: str = "") -> str:
    """The command that goes on with a run, aligned from `start` if that is given."""
    work = f"align {shlex.quote(start)}" if start else "train"
    return f"sumkit {work} --run {shlex.quote(str(run))} --resume"


def with_run(config: RunConfig, kind: str = "") -> RunConfig:
    """The settings with a run directory: `runs/<model>-<data>-<time>`, begun with the kind, unless one is given.

    The demo's is `runs/demo`.
    """
    if config.output.run:
        return config
    if config.data.data == "demo" and not kind:
        return _in(config, "runs/demo")
    data = Path(config.data.data).stem or "data"
    parts = [*filter(None, [kind]), Path(config.model.model).name, data, time.strftime("%Y%m%d-%H%M%S")]
    return _in(config, f"runs/{re.sub(r'[^a-z0-9.-]+', '-', '-'.join(parts).lower())}")


def _in(config: RunConfig, run: str) -> RunConfig:
    return dataclasses.replace(config, output=dataclasses.replace(config.output, run=run))
