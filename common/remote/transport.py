"""JSON over HTTP with a deadline: one request, one answer, no proxy, no redirect, nothing kept open."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from common.remote.address import ServerAddress

MOST_ANSWER_BYTES = 64 * 2**20
_CHUNK = 2**16


class ConnectionFailedError(Exception):
    """No whole answer came. `refused` where nothing listens."""

    def __init__(self, reason: str, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


class TooSlowError(ConnectionFailedError):
    """The answer was not there in time."""


class OpenCalls:
    """The sockets of requests on their way, so that all can be given up at once."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    @contextmanager
    def hold(self, sock: socket.socket) -> Iterator[None]:
        """Count a socket as open, and close it at the end."""
        with self._lock:
            self._sockets.add(sock)
        try:
            if self.stopping.is_set():
                raise ConnectionFailedError("given up")
            yield
        finally:
            with self._lock:
                self._sockets.discard(sock)
            sock.close()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Inside, requests on their way end at once and none begins."""
        self.stopping.set()
        with self._lock:
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        try:
            yield
        finally:
            self.stopping.clear()


@dataclass(frozen=True)
class HttpAnswer:
    """Status, headers by lower-case name, and the body as JSON (None where it is none)."""

    status: int
    headers: Mapping[str, str]
    body: Any
    text: str


def exchange(
    address: ServerAddress,
    connect_to: Sequence[str],
    path: str,
    body: Mapping[str, Any] | None,
    headers: Mapping[str, str],
    timeout_seconds: float,
    calls: OpenCalls,
) -> HttpAnswer:
    """POST `body`, or GET where it is None, under `address`. The whole exchange has `timeout_seconds`.

    Raises ConnectionFailedError, TooSlowError. Environment variables that name proxies are not heeded.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        sock = _connect(connect_to, address, timeout_seconds)
        with calls.hold(sock):
            connection = http.client.HTTPConnection(address.host, address.port)
            connection.sock = sock
            data = None if body is None else json.dumps(body).encode()
            sent = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close", **headers}
            connection.request("GET" if data is None else "POST", address.path + path, data, sent)
            sock.settimeout(_left(deadline))
            response = connection.getresponse()
            text = _read(response, sock, deadline)
    except TimeoutError:
        raise TooSlowError(f"no whole answer within {timeout_seconds:g} seconds") from None
    except ConnectionRefusedError:
        raise ConnectionFailedError("nothing listens there", refused=True) from None
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionFailedError(f"the connection was lost ({error or type(error).__name__})") from None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    return HttpAnswer(response.status, {name.lower(): value for name, value in response.getheaders()}, parsed, text)


def _read(response: http.client.HTTPResponse, sock: socket.socket, deadline: float) -> str:
    """The whole body."""
    promised = response.length
    pieces: list[bytes] = []
    while piece := response.read1(_CHUNK):
        pieces.append(piece)
        sock.settimeout(_left(deadline))
        if len(pieces) * _CHUNK > MOST_ANSWER_BYTES and sum(map(len, pieces)) > MOST_ANSWER_BYTES:
            raise ConnectionFailedError(f"the answer is longer than {MOST_ANSWER_BYTES // 2**20} MB")
    body = b"".join(pieces)
    if promised is not None and len(body) < promised:
        raise ConnectionFailedError(f"the answer ended after {len(body)} of {promised} bytes")
    return body.decode("utf-8", "replace")


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _connect(connect_to: Sequence[str], address: ServerAddress, timeout_seconds: float) -> socket.socket:
    """A socket to the first of the IP addresses that accepts one."""
    for place, ip in enumerate(connect_to):
        try:
            sock = socket.create_connection((ip, address.port), timeout_seconds)
            break
        except OSError:
            if place == len(connect_to) - 1:
                raise
    if address.scheme == "https":
        return ssl.create_default_context().wrap_socket(sock, server_hostname=address.host)
    return sock
