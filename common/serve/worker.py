"""The one thread that owns the models: loads them, takes waiting requests in batches, reports as text appears.

All model work happens on this thread (MLX ties arrays to the thread that made them). Knows nothing of HTTP: a
request is text and options, its reports go to a function.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from common.serve.limits import Limits
from common.summarize.summary import Summary, SummaryOptions
from common.summarize.summary_job import OnDone, OnText

logger = logging.getLogger(__name__)


class Served(Protocol):
    """A model as the server sees it: a `Summarizer`, or an ensemble."""

    name: str

    def summarize_all(
        self,
        texts: Sequence[str],
        options: SummaryOptions,
        on_text: OnText | None = None,
        on_done: OnDone | None = None,
        keep_going: Callable[[], None] | None = None,
    ) -> list[Summary]: ...


class BusyError(Exception):
    """No more requests are taken now. `retry_seconds` is when to try again."""

    def __init__(self, message: str, retry_seconds: int) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class TooSlowError(Exception):
    """A request was not finished within its time."""


class _NobodyWaitsError(Exception):
    """Every request of a batch was given up."""


@dataclass(frozen=True)
class Finished:
    """A summary with the seconds its request waited and the seconds until its first and last text."""

    summary: Summary
    waited_seconds: float
    first_seconds: float
    seconds: float


Report = Callable[[str | Finished | Exception], None]  # pieces of text, then one of the others


@dataclass(eq=False)
class Ticket:
    """A request in the queue or at work. `cancel` may be called from any thread."""

    model: str
    text: str
    options: SummaryOptions
    report: Report
    deadline: float
    arrived: float = field(default_factory=time.monotonic)
    started: float = 0.0
    first: float = 0.0
    ended: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """The client is gone; nothing more is reported."""
        self.cancelled.set()

    def given_up(self) -> bool:
        return self.ended or self.cancelled.is_set() or time.monotonic() > self.deadline


class Worker:
    """Start it with `start`, hand it requests with `submit`, end it with `stop`."""

    def __init__(self, load: Callable[[], dict[str, Served]], limits: Limits) -> None:
        self._load = load
        self._limits = limits
        self._waiting: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._current: list[Ticket] = []
        self._seconds_each = 2.0  # moving mean of the time one request takes of the model
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)
        self.models: tuple[str, ...] = ()

    def start(self) -> None:
        """Load the models and wait for them. Raises what loading raised."""
        self._thread.start()
        while not self._ready.wait(0.2):  # in slices, so that Ctrl-C is heard
            pass
        if self._failure is not None:
            raise self._failure

    def submit(self, model: str, text: str, options: SummaryOptions, report: Report) -> Ticket:
        """Queue a request; `report` is called on the model thread. Raises BusyError when the queue is full."""
        ticket = Ticket(model, text, options, report, time.monotonic() + self._limits.request_seconds)
        with self._changed:
            if self._stopping:
                raise BusyError("the server is stopping", 10)
            if len(self._waiting) >= self._limits.waiting:
                raise BusyError(f"{len(self._waiting)} requests are waiting already", self._retry_seconds())
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket

    def queue_length(self) -> int:
        """Requests that wait for the model now."""
        with self._changed:
            return len(self._waiting)

    def stop(self) -> None:
        """Give up what waits and what is at work, and end the thread."""
        with self._changed:
            self._stopping = True
            left = [*self._waiting, *self._current]
            self._waiting.clear()
            self._changed.notify()
        for ticket in left:
            ticket.cancel()
        self._thread.join(timeout=self._limits.stop_seconds)

    def _retry_seconds(self) -> int:
        return max(1, min(60, round(len(self._waiting) * self._seconds_each)))

    def _run(self) -> None:
        try:
            models = self._load()
            self.models = tuple(models)
        except BaseException as failure:
            self._failure = failure
            return
        finally:
            self._ready.set()
        while batch := self._next_batch():
            self._summarize(models[batch[0].model], batch)

    def _next_batch(self) -> list[Ticket]:
        """The oldest waiting request and those that can go with it; empty when the worker is stopped."""
        with self._changed:
            self._current = []
            while not self._waiting and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return []
            first = self._waiting[0]
            alike = [t for t in self._waiting if t.model == first.model and t.options == first.options]
            self._current = alike[: self._limits.together]
            taken = set(map(id, self._current))
            self._waiting = deque(t for t in self._waiting if id(t) not in taken)
            return self._current

    def _summarize(self, model: Served, batch: list[Ticket]) -> None:
        began = time.monotonic()
        for ticket in batch:
            ticket.started = began
            if began > ticket.deadline:
                _end(ticket, TooSlowError("the request waited too long for the model"))
        batch = [ticket for ticket in batch if not ticket.given_up()]
        if not batch:
            return

        def keep_going() -> None:
            if all(ticket.given_up() for ticket in batch):
                raise _NobodyWaitsError

        def on_text(index: int, piece: str) -> None:
            ticket = batch[index]
            ticket.first = ticket.first or time.monotonic()
            if not ticket.given_up():
                ticket.report(piece)

        def on_done(index: int, summary: Summary) -> None:
            ticket, now = batch[index], time.monotonic()
            waited, first = ticket.started - ticket.arrived, (ticket.first or now) - ticket.arrived
            if now <= ticket.deadline:
                _end(ticket, Finished(summary, waited, first, now - ticket.arrived))

        try:
            model.summarize_all([ticket.text for ticket in batch], batch[0].options, on_text, on_done, keep_going)
        except _NobodyWaitsError:
            pass
        except Exception as failure:  # whatever it is, the requests hear of it and the server goes on
            logger.exception("a batch of %d requests failed", len(batch))
            for ticket in batch:
                _end(ticket, failure)
        for ticket in batch:
            _end(ticket, TooSlowError(f"the summary was not finished within {self._limits.request_seconds:g} seconds"))
        self._seconds_each += 0.3 * ((time.monotonic() - began) / len(batch) - self._seconds_each)


def _end(ticket: Ticket, outcome: Finished | Exception) -> None:
    """Report the outcome of a request once, unless its client is gone."""
    if not ticket.ended:
        ticket.ended = True
        if not ticket.cancelled.is_set():
            ticket.report(outcome)
