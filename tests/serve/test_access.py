"""Who is answered: this machine's own programs and pages, and whoever has the token."""

from __future__ import annotations

import httpx
import pytest

from common.errors import EngineError
from common.serve.app import CONTENT_POLICY
from common.serve.run import Address, is_loopback, listen, needed_token
from tests.serve.conftest import Start
from tests.serve.echo import Echo


def load() -> dict[str, Echo]:
    return {"a": Echo("a")}


def test_other_addresses_need_a_token_and_get_a_fresh_one() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.9.1"):
        assert is_loopback(host)
        assert needed_token(host, "") == ""
        assert needed_token(host, "mine") == "mine"
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.org"):
        assert not is_loopback(host)
        assert len(needed_token(host, "")) >= 32
        assert needed_token(host, "") != needed_token(host, "")
        assert needed_token(host, "mine") == "mine"


def test_the_address_shown_keeps_the_token_out_of_requests() -> None:
    assert Address("::1", 80, "").url == "http://[::1]:80/"
    assert Address("0.0.0.0", 80, "secret").url == "http://0.0.0.0:80/#token=secret"


def test_a_port_in_use_is_named_with_the_remedy() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(EngineError, match=r"port \d+ \(.*\); choose another --port"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_everything_but_the_page_and_health_asks_for_the_token(start: Start) -> None:
    server = start(load, token="right")
    with httpx.Client(base_url=server.url) as client:
        for path in ("/", "/page.js", "/page.css", "/health"):
            assert client.get(path).status_code == 200
        for path in ("/v1/models", "/api/state", "/nowhere"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
            assert client.get(path, headers={"Authorization": "right"}).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer right"}).status_code != 401
        refused = client.post("/api/summarize", json={"text": "x"})
        assert refused.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "["}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:5", "Host": "localhost:5"}, 200),
        ({"Origin": "http://localhost:6", "Host": "localhost:5"}, 403),
    ],
)
def test_other_web_pages_cannot_use_the_server_through_the_browser(
    start: Start, headers: dict[str, str], status: int
) -> None:
    server = start(load)
    assert httpx.post(f"{server.url}/api/summarize", json={"text": "x"}, headers=headers).status_code == status


def test_the_page_may_load_nothing_from_elsewhere(start: Start) -> None:
    page = httpx.get(start(load).url)
    assert page.headers["Content-Security-Policy"] == CONTENT_POLICY
    assert "default-src 'none'" in CONTENT_POLICY
    assert "http" not in page.text.replace("http-equiv", "")
