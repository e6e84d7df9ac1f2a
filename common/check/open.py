"""From a checker's name to a checker."""

from __future__ import annotations

from common.check.built_in import BuiltIn
from common.check.rules import Rules
from common.check.support import Checker
from common.errors import UsageError
from common.nearest import did_you_mean

NAMES = ("rules", "built-in")


def open_checker(name: str) -> Checker:
    """`rules` or `built-in`. Raises UsageError for a name that is neither."""
    if name == "rules":
        return Rules()
    if name == "built-in":
        return BuiltIn()
    raise UsageError(f"--checker {name}: there is no such checker{did_you_mean(name, NAMES)}; give {', '.join(NAMES)}")
