"""HTTP connections that end when their client does not go on: a header that never comes, an answer never read."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from common.serve.limits import Limits


def connection_class(limits: Limits) -> type[H11Protocol]:
    """uvicorn's HTTP protocol with the time limits that it does not have itself."""
    header_seconds = limits.body_seconds / 3

    class TimedConnection(H11Protocol):
        """Closed when a request's header is incomplete, or what was sent is not taken, for too long."""

        header_timer: asyncio.TimerHandle | None = None
        send_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            self._watch_header()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_header()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_header_timer()
            self._stop_send_timer()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            if self.send_timer is None:
                self.send_timer = self.loop.call_later(limits.send_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop_send_timer()

        def _watch_header(self) -> None:
            """Run the timer while a header is awaited; between requests uvicorn's keep-alive timer runs instead."""
            awaited = self.conn.their_state is h11.IDLE
            if not awaited:
                self._stop_header_timer()
            elif self.header_timer is None:
                self.header_timer = self.loop.call_later(header_seconds, self._close_unless_answering)

        def _close_unless_answering(self) -> None:
            self.header_timer = None
            if self.conn.their_state is h11.IDLE:
                self.transport.abort()

        def _stop_header_timer(self) -> None:
            if self.header_timer is not None:
                self.header_timer.cancel()
                self.header_timer = None

        def _stop_send_timer(self) -> None:
            if self.send_timer is not None:
                self.send_timer.cancel()
                self.send_timer = None

    return TimedConnection
