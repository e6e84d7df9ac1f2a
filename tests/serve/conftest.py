"""Servers in this process, on a free port, over models that a test chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.serve.limits import Limits
from common.serve.run import Address, listen, make_server
from common.serve.worker import Served, Worker
from tests.waiting import wait_until


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    url: str
    port: int
    worker: Worker
    ratings: Path


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """start(load, limits=…, token=…): a running server; all of a test's servers are stopped when it ends."""
    stops: list[Callable[[], None]] = []

    def begin(load: Callable[[], dict[str, Served]], limits: Limits | None = None, token: str = "") -> Running:
        limits = limits or Limits()
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        worker = Worker(load, limits)
        worker.start()
        ratings = tmp_path / "ratings.jsonl"
        server = make_server(worker, Address("127.0.0.1", port, token), ratings, limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def stop() -> None:
            server.config.timeout_graceful_shutdown = 2
            server.should_exit = True
            thread.join()

        stops.append(stop)
        wait_until(lambda: server.started)
        return Running(f"http://127.0.0.1:{port}", port, worker, ratings)

    yield begin
    for stop in stops:
        stop()
