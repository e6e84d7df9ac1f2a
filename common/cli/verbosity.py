"""`--quiet` and `--verbose`, which every command takes, before its name or after it.

They are environment variables to the rest of the program (`common.progress` reads them), so that the supervised
child of a training run hears them too.
"""

from __future__ import annotations

import os
from typing import Any

import click

FLAGS = (
    ("--quiet", "-q", "SUMKIT_QUIET", "No notes and no progress on stderr; results and errors only."),
    ("--verbose", "-v", "SUMKIT_VERBOSE", "More notes: files, templates, lengths, every step."),
)


def add_verbosity(command: click.Command) -> click.Command:
    """Give a command both flags, once."""
    present = {option for parameter in command.params for option in parameter.opts}
    for flag, short, variable, text in FLAGS:
        if flag not in present:
            option = click.Option([flag, short], is_flag=True, expose_value=False, help=text, callback=_into(variable))
            command.params.append(option)
    return command


def _into(variable: str) -> Any:
    def callback(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            before = os.environ.get(variable)
            context.call_on_close(lambda: _put(variable, before))
            _put(variable, "1")

    return callback


def _put(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value
