"""Progress on stderr: a bar on a terminal, plain lines in a log, nothing when quiet, more when verbose."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

from common.safe_text import visible
from common.text.amounts import duration

LINE_EVERY_SECONDS = 15.0
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"  # tqdm's, with our time that is left


def note(message: str) -> None:
    """One line on stderr, unless quiet; never mixed into a bar. Control characters (of texts it quotes) are shown."""
    if quiet():
        return
    message = visible(message)
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(message, file=sys.stderr)
    else:
        print(message, file=sys.stderr, flush=True)


def detail(message: str) -> None:
    """A line for those who asked for more."""
    if verbose():
        note(message)


def quiet() -> bool:
    """Whether `--quiet` (SUMKIT_QUIET) asks for no notes and no progress."""
    return os.environ.get("SUMKIT_QUIET", "") not in ("", "0")


def verbose() -> bool:
    """Whether `--verbose` (SUMKIT_VERBOSE) asks for more; `--quiet` wins."""
    return not quiet() and os.environ.get("SUMKIT_VERBOSE", "") not in ("", "0")


def settle_libraries() -> None:
    """Have the libraries' bars go the way of ours (none in a log, none when quiet), and keep their notes to their own
    callers about coming versions to themselves unless verbose. To be called before they are imported.
    """
    if not verbose():
        warnings.simplefilter("ignore", FutureWarning)
    if quiet() or not sys.stderr.isatty():
        for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(name, "1")


class Progress:
    """Counts `total` units of work under a label; use as a context manager.

    `at_once` units are worked on together: those on their way count as half done in the time that is left. `clock`
    gives seconds.
    """

    def __init__(
        self, total: int, label: str, start: int = 0, at_once: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total = total
        self._at_once = at_once
        self.label = label
        self.done = start
        self._start = start
        self._clock = clock
        self._began = self._said = clock()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not quiet() and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self.total, desc=self.label, initial=self.done, file=sys.stderr, leave=False, bar_format=BAR
            )
        return self

    def advance(self, count: int = 1, **values: float) -> None:
        """Report `count` more units, with figures to show beside them."""
        self.done += count
        now = self._clock()
        if self._bar is not None:
            self._bar.set_postfix_str(self._rest(now, values).removeprefix(", "), refresh=False)
            self._bar.update(count)
            return
        pause = 0.0 if verbose() else LINE_EVERY_SECONDS
        if quiet() or (now - self._said < pause and self.done < self.total):
            return
        self._said = now
        print(f"{self.label}: {self.done}/{self.total}{self._rest(now, values)}", file=sys.stderr, flush=True)

    def _rest(self, now: float, values: dict[str, float]) -> str:
        shown = "".join(f", {name} {value:.4g}" for name, value in values.items())
        open_units = self.total - self.done
        halves = min(self._at_once, open_units) / 2 if self._at_once > 1 else 0.0
        finished = self.done - self._start + halves
        left = (now - self._began) / finished * (open_units - halves) if finished else 0.0
        return f"{shown}, {duration(round(left))} left" if left >= 1 else shown

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
