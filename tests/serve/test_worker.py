"""The queue before the model: batches of the same kind, bounds, and requests that nobody waits for any more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.errors import ModelError
from common.serve.limits import Limits
from common.serve.worker import BusyError, Finished, TooSlowError, Worker
from common.summarize.summary import SummaryOptions
from tests.serve.echo import Echo
from tests.waiting import wait_until

PLAIN = SummaryOptions()


class Client:
    """Collects what is reported to one request."""

    def __init__(self, worker: Worker, text: str, model: str = "a", options: SummaryOptions = PLAIN) -> None:
        self.reports: list[str | Finished | Exception] = []
        self.ticket = worker.submit(model, text, options, self.reports.append)

    def outcome(self) -> Finished | Exception:
        wait_until(lambda: bool(self.reports) and not isinstance(self.reports[-1], str))
        last = self.reports[-1]
        assert not isinstance(last, str)
        return last


@pytest.fixture
def echo() -> Echo:
    return Echo("a")


@pytest.fixture
def worker(echo: Echo) -> Iterator[Worker]:
    made = Worker(lambda: {"a": echo, "b": Echo("b")}, Limits(waiting=4, together=3, request_seconds=20))
    made.start()
    yield made
    made.stop()


def test_pieces_come_before_the_summary_they_make_up(worker: Worker) -> None:
    client = Client(worker, "the ferry stays")
    finished = client.outcome()
    assert isinstance(finished, Finished)
    assert client.reports[:-1] == ["the", " ferry", " stays"]
    assert finished.summary.text == "the ferry stays"
    assert 0 <= finished.waited_seconds <= finished.first_seconds <= finished.seconds


def hold(worker: Worker, echo: Echo) -> Client:
    """A request that keeps the model busy until it is cancelled."""
    echo.pause = 0.02
    blocker = Client(worker, "word " * 5000)
    wait_until(lambda: len(blocker.reports) > 0)
    return blocker


def test_waiting_requests_alike_go_together_and_others_keep_their_turn(worker: Worker, echo: Echo) -> None:
    blocker = hold(worker, echo)
    short = SummaryOptions(max_new_tokens=1)
    clients = [
        Client(worker, "one"),
        Client(worker, "two", options=short),
        Client(worker, "three"),
        Client(worker, "four"),
    ]
    echo.pause = 0.0
    blocker.ticket.cancel()
    assert all(isinstance(client.outcome(), Finished) for client in clients)
    assert echo.batches[1:] == [["one", "three", "four"], ["two"]]


def test_a_full_queue_says_when_to_try_again_and_takes_requests_again_later(worker: Worker, echo: Echo) -> None:
    blocker = hold(worker, echo)
    clients = [Client(worker, "one") for _ in range(4)]
    with pytest.raises(BusyError, match="4 requests are waiting") as busy:
        Client(worker, "five")
    assert 1 <= busy.value.retry_seconds <= 60
    echo.pause = 0.0
    blocker.ticket.cancel()
    assert all(isinstance(client.outcome(), Finished) for client in clients)
    assert isinstance(Client(worker, "five").outcome(), Finished)


def test_a_cancelled_request_hears_nothing_more_and_frees_the_model(worker: Worker, echo: Echo) -> None:
    blocker = hold(worker, echo)
    blocker.ticket.cancel()
    heard = len(blocker.reports)
    assert isinstance(Client(worker, "next").outcome(), Finished)
    assert len(blocker.reports) <= heard + 1
    assert echo.written < 5000


def test_a_failing_model_tells_its_requests_and_goes_on(worker: Worker) -> None:
    outcome = Client(worker, "please fail").outcome()
    assert isinstance(outcome, ValueError)
    assert isinstance(Client(worker, "next").outcome(), Finished)


def test_a_request_beyond_its_time_is_ended_whether_it_waits_or_runs() -> None:
    worker = Worker(lambda: {"a": Echo("a", pause=0.05)}, Limits(request_seconds=0.3, together=1))
    worker.start()
    running, waiting = Client(worker, "word " * 100), Client(worker, "word")
    assert isinstance(running.outcome(), TooSlowError)
    assert "not finished within 0.3 seconds" in str(running.outcome())
    assert "waited too long" in str(waiting.outcome())
    worker.stop()


def test_stopping_gives_up_everything_and_takes_nothing_more(worker: Worker, echo: Echo) -> None:
    hold(worker, echo)
    Client(worker, "waiting")
    worker.stop()
    assert not worker._thread.is_alive()
    with pytest.raises(BusyError, match="stopping"):
        Client(worker, "late")


def test_what_loading_raises_reaches_whoever_starts_the_worker() -> None:
    def load() -> dict[str, Echo]:
        raise ModelError("no such model")

    with pytest.raises(ModelError, match="no such model"):
        Worker(load, Limits()).start()
