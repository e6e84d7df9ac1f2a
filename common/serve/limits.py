"""What a server allows, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds that keep a server answering whatever it is sent.

    waiting            requests that may wait for the model; one more is told that the server is busy
    together           waiting requests for one model with the same options that are generated as one batch
    request_seconds    from the arrival of a request to its last token, waiting included
    body_bytes         of any request; `held_bytes` of all requests that are open together
    body_seconds       for a body to arrive in full
    send_seconds       for a client to take what was sent to it before its request is given up
    connections        open at once, idle ones too; at this number requests are told that the server is busy
    readers            uploaded files that are read at once, each for at most `reader_seconds`
    stop_seconds       that requests have to end when the server is stopped
    """

    waiting: int = 64
    together: int = 8
    request_seconds: float = 180.0
    body_bytes: int = 20 << 20
    held_bytes: int = 256 << 20
    body_seconds: float = 30.0
    send_seconds: float = 30.0
    connections: int = 512
    readers: int = 2
    reader_seconds: float = 30.0
    stop_seconds: float = 30.0
