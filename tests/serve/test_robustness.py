"""Whatever is sent, and however slowly, the server goes on answering."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import threading

import httpx
import pytest

from common.serve import guard
from common.serve.limits import Limits
from tests.serve.conftest import Running, Start
from tests.serve.echo import Echo
from tests.waiting import wait_until

ROUTES = ("/v1/chat/completions", "/api/summarize", "/api/ratings", "/api/documents?name=a.pdf")
QUICK = Limits(body_seconds=3.0, send_seconds=1.0, body_bytes=1 << 20, held_bytes=3 << 20)


def answers(server: Running) -> bool:
    """Whether the server still summarizes."""
    reply = httpx.post(f"{server.url}/api/summarize", json={"text": "still here"}, timeout=30)
    return bool(reply.status_code == 200 and reply.json()["summary"] == "still here")


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def test_200_parallel_requests_get_their_own_summary_or_a_clear_busy(start: Start) -> None:
    server = start(lambda: {"a": Echo("a", pause=0.002)}, Limits(waiting=48))

    async def ask_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
            asked = [client.post("/api/summarize", json={"text": f"ferry number {n}"}) for n in range(200)]
            return await asyncio.gather(*asked)

    replies = asyncio.run(ask_all())
    good = [(n, reply) for n, reply in enumerate(replies) if reply.status_code == 200]
    busy = [reply for reply in replies if reply.status_code == 503]
    assert len(good) + len(busy) == 200
    assert len(good) >= 48
    assert all(reply.json()["summary"] == f"ferry number {n}" for n, reply in good)
    assert all(int(reply.headers["Retry-After"]) >= 1 for reply in busy)
    assert all(reply.json()["error"]["type"] == "server_busy" for reply in busy)
    assert answers(server)


@pytest.mark.parametrize("route", ROUTES)
def test_garbage_bodies_get_a_plain_refusal(start: Start, route: str) -> None:
    server = start(lambda: {"a": Echo("a")})
    source = random.Random(0)
    deep = b"[" * 100_000
    good = json.dumps({"model": "a", "messages": [{"role": "user", "content": "x"}], "text": "x"}).encode()
    bodies = [b"", b"null", b"[]", b"{}", b'"x"', b"\xff\xfe", deep, b'{"text": ' + deep, b'{"text": 1}', b"9" * 5000]
    bodies += [source.randbytes(source.randint(1, 300)) for _ in range(20)]
    bodies += [bytes(source.choice(good) for _ in range(60)) for _ in range(20)]
    bodies += [good[:cut] for cut in range(1, len(good) - 1, 7)]
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for body in bodies:
            reply = client.post(route, content=body)
            assert reply.status_code in (400, 404, 422), (body[:50], reply.text)
            assert reply.json()["error"]["message"]
    assert answers(server)


def test_bytes_that_are_not_http_end_the_connection_only(start: Start) -> None:
    server = start(lambda: {"a": Echo("a")})
    source = random.Random(1)
    for _ in range(50):
        with connect(server) as client:
            client.sendall(source.randbytes(200) + b"\r\n\r\n")
            assert b"200 OK" not in client.recv(4096)
    assert answers(server)


def test_a_body_that_is_too_large_is_refused_announced_or_not(start: Start) -> None:
    server = start(lambda: {"a": Echo("a")}, QUICK)
    announced = httpx.post(f"{server.url}/api/summarize", content=b"x" * (2 << 20))

    def pieces() -> list[bytes]:
        return [b"x" * 65536] * 32

    streamed = httpx.post(f"{server.url}/api/summarize", content=iter(pieces()))
    for reply in (announced, streamed):
        assert reply.status_code == 413
        assert "larger than 1,048,576 bytes" in reply.json()["error"]["message"]
    assert answers(server)


def test_a_client_that_sends_a_large_body_first_and_reads_then_sees_why_it_is_refused(start: Start) -> None:
    server = start(lambda: {"a": Echo("a")}, Limits(body_seconds=5, body_bytes=1 << 20))
    size = 30 << 20
    with connect(server) as client:
        client.sendall(f"POST /api/summarize HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(30):
            client.sendall(b"x" * (1 << 20))
        reply = read_all(client)
    assert reply.startswith(b"HTTP/1.1 413")
    assert b"larger than 1,048,576 bytes" in reply
    with connect(server) as client:  # announced and never sent
        client.sendall(f"POST /api/summarize HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
        client.settimeout(3.0)
        assert client.recv(4096).startswith(b"HTTP/1.1 413")
    assert answers(server)


def read_all(client: socket.socket) -> bytes:
    """What comes until nothing does for a second, or the other side closes."""
    client.settimeout(1.0)
    found = b""
    with contextlib.suppress(TimeoutError):
        while piece := client.recv(65536):
            found += piece
    return found


def test_open_bodies_are_bounded_together(start: Start) -> None:
    server = start(lambda: {"a": Echo("a")}, Limits(body_seconds=5, body_bytes=1 << 20, held_bytes=2 << 20))
    head = b"POST /api/summarize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    clients = [connect(server) for _ in range(4)]
    for client in clients:
        client.sendall(head + b"x" * 900_000)
    replies = []
    for client in clients:
        client.settimeout(1.0)
        try:
            replies.append(client.recv(4096))
        except TimeoutError:
            continue
    assert any(reply.startswith(b"HTTP/1.1 503") and b"retry-after" in reply for reply in replies)
    assert len(replies) < 4, "the others may go on"
    for client in clients:
        client.close()
    wait_until(lambda: answers(server))


def test_a_body_that_never_comes_is_refused_and_silent_connections_hold_up_nobody(start: Start) -> None:
    server = start(lambda: {"a": Echo("a")}, QUICK)
    silent, header, body = (connect(server) for _ in range(3))
    header.sendall(b"POST /api/summarize HTTP/1.1\r\nHost: localhost\r\n")
    body.sendall(b"POST /api/summarize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
    assert answers(server)
    assert b"408" in body.recv(4096)
    for client in (silent, header, body):
        client.close()
    assert answers(server)


def test_a_header_without_end_is_refused(start: Start) -> None:
    server = start(lambda: {"a": Echo("a")}, QUICK)
    with connect(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert b" 400 " in client.recv(4096)
    assert answers(server)


def test_beyond_so_many_open_connections_requests_are_told_that_the_server_is_busy(start: Start) -> None:
    server = start(lambda: {"a": Echo("a")}, Limits(connections=4))
    idle = [connect(server) for _ in range(4)]
    wait_until(lambda: httpx.get(f"{server.url}/health", timeout=30).status_code == 503)
    for client in idle:
        client.close()
    wait_until(lambda: answers(server))


def test_the_request_of_a_client_that_reads_nothing_is_given_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()

    class Told(guard._NotTakenError):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            given_up.set()

    monkeypatch.setattr(guard, "_NotTakenError", Told)
    echo = Echo("a", adds=" ".join(["x" * 200_000] * 200))  # 40 MB, more than sockets hold
    server = start(lambda: {"a": echo}, QUICK)
    question = json.dumps({"model": "a", "stream": True, "messages": [{"role": "user", "content": "ferry"}]})
    with connect(server) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(question)}\r\n\r\n"
        client.sendall((head + question).encode())
        assert given_up.wait(60), "this client reads nothing"
        assert receive_all(client) < 20_000_000, "what the sockets held, and no more"
    echo.adds = ""
    assert answers(server)


def receive_all(client: socket.socket) -> int:
    """Bytes until the other side ends the connection."""
    total = 0
    try:
        while piece := client.recv(1 << 20):
            total += len(piece)
    except ConnectionResetError:
        pass
    return total


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_model(start: Start, stream: bool) -> None:
    echo = Echo("a", pause=0.01)
    server = start(lambda: {"a": echo})
    question = json.dumps({"model": "a", "stream": stream, "messages": [{"role": "user", "content": "w " * 3000}]})
    with connect(server) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(question)}\r\n\r\n"
        client.sendall((head + question).encode())
        wait_until(lambda: echo.written > 3)
    echo.pause = 0.0001
    assert answers(server)
    assert echo.written < 3000


def test_a_request_beyond_its_time_is_told_so(start: Start) -> None:
    server = start(lambda: {"a": Echo("a", pause=0.1)}, Limits(request_seconds=0.5))
    reply = httpx.post(f"{server.url}/api/summarize", json={"text": "w " * 50}, timeout=30)
    assert reply.status_code == 504
    assert "not finished within 0.5 seconds" in reply.json()["error"]["message"]
    question = {"model": "a", "stream": True, "messages": [{"role": "user", "content": "w " * 50}]}
    streamed = httpx.post(f"{server.url}/v1/chat/completions", json=question, timeout=30)
    assert "not finished within 0.5 seconds" in streamed.text
    assert "[DONE]" not in streamed.text


def test_files_are_read_elsewhere_and_for_a_limited_time(start: Start) -> None:
    server = start(lambda: {"a": Echo("a")}, Limits(reader_seconds=0.01))
    reply = httpx.post(f"{server.url}/api/documents?name=a.txt", content=b"text", timeout=30)
    assert reply.status_code == 422
    assert "a.txt: took longer than 0.01 seconds" in reply.json()["error"]["message"]
