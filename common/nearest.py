"""The one spelling hint of all messages. Knows nothing of what is being named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known name most like `name`, any case; empty where none is like it. `cutoff` is difflib's."""
    by_lower = {item.lower(): item for item in reversed(list(known))}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[near[0]] if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?`, or nothing where no known name is like it: to be put after a message's first part."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""
