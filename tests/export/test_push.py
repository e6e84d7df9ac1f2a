"""Upload through huggingface_hub to a small server that speaks the Hub's protocol, and what goes wrong."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from common.errors import EngineError
from common.export.push import push_folder


class Hub(BaseHTTPRequestHandler):
    """Accepts a new repository and one commit of small files; `received` keeps what was sent."""

    received: ClassVar[list[tuple[str, Any]]] = []
    refuse = 0

    def do_GET(self) -> None:
        self._answer(404 if self.refuse else 200, {"sha": "0" * 40, "siblings": [], "id": "me/notes"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        self.received.append((self.path, lines))
        address = f"http://127.0.0.1:{self.server.server_address[1]}/me/notes"  # type: ignore[attr-defined]
        if self.refuse:
            self._answer(self.refuse, {"error": "no"})
        elif self.path.endswith("/repos/create"):
            self._answer(200, {"url": address, "name": "me/notes"})
        elif "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in lines[0]["files"]]
            self._answer(200, {"files": files})
        elif "/commit/" in self.path:
            self._answer(200, {"success": True, "commitOid": "1" * 40, "commitUrl": f"{address}/commit/{'1' * 40}"})
        else:
            self._answer(200, {})

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr(Hub, "received", [])
    monkeypatch.setattr(Hub, "refuse", 0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text("# notes\n", encoding="utf-8")
    (tmp_path / "adapter_config.json").write_text("{}\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("kind", ["model", "space"])
def test_every_file_of_the_folder_is_committed_to_the_repository_asked_for(hub: str, folder: Path, kind: Any) -> None:
    push_folder(folder, "me/notes", kind, private=True, endpoint=hub)
    created = next(lines[0] for path, lines in Hub.received if path.endswith("/repos/create"))
    assert created["name"] == "notes"
    assert created["organization"] == "me"
    assert created.get("private", created.get("visibility") == "private") is True
    assert created.get("sdk") == ("gradio" if kind == "space" else None)
    path, commit = next((path, lines) for path, lines in Hub.received if "/commit/" in path)
    assert path == f"/api/{kind}s/me/notes/commit/main"
    files = {line["value"]["path"]: line["value"]["content"] for line in commit if line["key"] == "file"}
    assert {name: base64.b64decode(content).decode() for name, content in files.items()} == {
        "README.md": "# notes\n", "adapter_config.json": "{}\n",
    }  # fmt: skip


def test_a_refused_token_is_an_expected_failure_with_its_remedy(
    hub: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "refuse", 403)
    with pytest.raises(EngineError, match=r"--push me/notes: the Hub refused \(403\); run `hf auth login`"):
        push_folder(folder, "me/notes", "model", private=False, endpoint=hub)
    assert not [path for path, _ in Hub.received if "/commit/" in path]


def test_offline_and_bad_names_are_said_without_any_request(
    hub: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match="not a repository name"):
        push_folder(folder, "me/no/such name", "model", private=False, endpoint=hub)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EngineError, match="HF_HUB_OFFLINE is set"):
        push_folder(folder, "me/notes", "model", private=False, endpoint=hub)
    assert Hub.received == []


def test_a_hub_that_cannot_be_reached_is_an_expected_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with pytest.raises(EngineError, match=r"the upload failed \(ConnectError: .*the export itself is complete in"):
        push_folder(folder, "me/notes", "model", private=False, endpoint="http://127.0.0.1:9")
