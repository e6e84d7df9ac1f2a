"""The server as a process: its socket, its token, its signals, and its end."""

from __future__ import annotations

import ipaddress
import os
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import EngineError
from common.serve.limits import Limits
from common.serve.worker import Served, Worker

if TYPE_CHECKING:
    import uvicorn


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int
    token: str = ""

    @property
    def url(self) -> str:
        """What to open in a browser; the token, if any, is in the part that browsers do not send."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/" + (f"#token={self.token}" if self.token else "")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def needed_token(host: str, given: str) -> str:
    """The token as given; a fresh one where the address needs one and none is given; else empty."""
    return given or ("" if is_loopback(host) else secrets.token_urlsafe(24))


def listen(host: str, port: int) -> socket.socket:
    """A bound socket (port 0: any free one). Raises EngineError naming the address and the remedy."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        raise EngineError(f"cannot listen on {host} port {port} ({reason}); choose another --port or --host") from None


def make_server(worker: Worker, address: Address, ratings: Path, limits: Limits) -> uvicorn.Server:
    """A server over a started worker, to be run with its listening socket."""
    import uvicorn

    from common.serve.app import build_app
    from common.serve.guard import LOOPBACK_NAMES

    hosts = (*LOOPBACK_NAMES, address.host.lower()) if is_loopback(address.host) else ()
    config = uvicorn.Config(
        build_app(worker, limits, ratings, address.token, hosts),
        http="h11",
        limit_concurrency=limits.connections,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=round(limits.stop_seconds),
    )
    return uvicorn.Server(config)


def serve(
    load: Callable[[], dict[str, Served]],
    listener: socket.socket,
    address: Address,
    ratings: Path,
    on_ready: Callable[[Worker], None],
    limits: Limits,
) -> None:
    """Load the models, answer requests until SIGINT or SIGTERM, let running ones end, and return.

    Raises what `load` raised. A second SIGINT ends at once.
    """
    worker = Worker(load, limits)
    worker.start()
    server = make_server(worker, address, ratings, limits)
    # uvicorn ends gracefully on these and then raises them again, for whoever handled them before: nobody need.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        on_ready(worker)
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        worker.stop()
