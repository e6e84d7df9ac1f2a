"""SIGINT and SIGTERM: the first asks politely, a second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from common.progress import note

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal arrived where there is no step to finish. `number` decides the exit status."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class _Handlers:
    """Installs itself for both signals inside a `with` block of the main thread."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Any:
        if threading.current_thread() is threading.main_thread():
            for number in NUMBERS:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            os._exit(128 + number)
        self.received = number
        self.first(number)

    def first(self, number: int) -> None:
        raise NotImplementedError


class SignalCatcher(_Handlers):
    """Remembers the first signal, so that the step can finish and be saved."""

    def first(self, number: int) -> None:
        note("finishing this step, then saving; press Ctrl-C again to leave at once")


class InterruptOnSignal(_Handlers):
    """Raises Interrupted at the first signal: for everything outside the steps, where there is nothing to save."""

    def first(self, number: int) -> None:
        raise Interrupted(number)
