"""Who may ask what: host and origin checks, the token, and limits on bodies, before any route is reached."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.serve.answers import error_answer
from common.serve.limits import Limits

DISCARDED_BODIES = 64  # what is read of a body that is refused, in bodies of the largest size that is not
QUIET_SECONDS = 0.5  # without a byte, after which nothing more is waited for
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_OPEN_PATHS = ("/", "/health", "/page.js", "/page.css")  # hold no secrets, and the page must load to ask for the token


class Guard:
    """ASGI middleware. `token` empty asks for none; `hosts` are the names the server may be called by, empty for any.

    The checks of Host and Origin keep other web pages from using a server on this machine through the browser.
    """

    def __init__(self, app: ASGIApp, limits: Limits, token: str = "", hosts: tuple[str, ...] = ()) -> None:
        self._app = app
        self._limits = limits
        self._token = token.encode()
        self._hosts = hosts
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        pieces: list[bytes] = []
        try:
            await self._read_body(scope, receive, pieces)
            await self._app(scope, _replayed(b"".join(pieces), receive), _timed(send, self._limits.send_seconds))
        except _RefusedError as refused:
            if refused.answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                await self._discard_body(receive)
            await refused.answer(scope, receive, send)
        except _NotTakenError:
            return  # in the middle of an answer: uvicorn closes the connection
        finally:
            self._held_bytes -= sum(map(len, pieces))

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts and _host_name(host) not in self._hosts:
            return error_answer(403, f"this server is not called {host!r}", "forbidden")
        origin = headers.get("origin")
        if origin and urlsplit(origin).netloc != host:
            return error_answer(403, f"requests from pages of {origin!r} are not answered", "forbidden")
        if self._token and scope["path"] not in _OPEN_PATHS and not self._knows_token(headers):
            answer = error_answer(401, "a token is needed: Authorization: Bearer TOKEN", "authentication_error")
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        return None

    def _knows_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)

    async def _read_body(self, scope: Scope, receive: Receive, pieces: list[bytes]) -> None:
        """Fill `pieces` with the body. Raises _RefusedError when it is too large, too slow, or stops coming."""
        length = Headers(scope=scope).get("content-length", "0")
        self._check_size(int(length[:20]) if length.isdecimal() else 0)
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _RefusedError(error_answer(400, "the client went away", "invalid_request_error"))
                    pieces.append(message.get("body", b""))
                    self._held_bytes += len(pieces[-1])
                    size += len(pieces[-1])
                    self._check_size(size)
                    more = message.get("more_body", False)
        except TimeoutError:
            seconds = self._limits.body_seconds
            answer = error_answer(408, f"the body did not arrive within {seconds:g} seconds", "timeout")
            raise _RefusedError(answer) from None

    async def _discard_body(self, receive: Receive) -> None:
        """Read on while more comes, within limits, and keep none of it.

        A connection that is closed while data lies unread is reset, and the client may never see why it was refused.
        """
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.body_seconds):
                while size < DISCARDED_BODIES * self._limits.body_bytes:
                    async with asyncio.timeout(QUIET_SECONDS):
                        message = await receive()
                    size += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return

    def _check_size(self, size: int) -> None:
        largest = self._limits.body_bytes
        if size > largest:
            message = f"the body is larger than {largest:,} bytes"
            raise _RefusedError(error_answer(413, message, "invalid_request_error"))
        if self._held_bytes > self._limits.held_bytes:
            message = "busy: too many large requests at once"
            raise _RefusedError(error_answer(503, message, "server_busy", retry_seconds=5))


class _RefusedError(Exception):
    def __init__(self, answer: JSONResponse) -> None:
        super().__init__()
        self.answer = answer
        self.answer.headers["Connection"] = "close"  # what is left of the body is not read


class _NotTakenError(Exception):
    """The client reads nothing."""


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, and then what the connection says."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _timed(send: Send, seconds: float) -> Send:
    """A `send` that ends the request where the client does not take what was sent to it for so long."""

    async def timed(message: Message) -> None:
        try:
            async with asyncio.timeout(seconds):
                await send(message)
        except TimeoutError:
            raise _NotTakenError from None

    return timed


def _host_name(host: str) -> str:
    """The name in a Host header, without its port and brackets, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
