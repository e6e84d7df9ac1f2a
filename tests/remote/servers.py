"""A real model behind llama.cpp's server, and a proxy before it that breaks what a test tells it to."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.export.test_gguf import export
from tests.tiny_models import CHAT_TEMPLATE, build_tiny_model, build_tiny_tokenizer

Fault = int | str | dict[str, Any] | tuple[int, dict[str, Any]] | None


# Single tokens, with what is added to their logits: among the likeliest whatever is asked, yes and no ahead.
HEAD_STARTS = {"yes": 9.0, "no": 9.0, "Yes": 9.0, "No": 9.0, "A": 6.0, "B": 6.0}


def build_answering_model(directory: Path) -> Path:
    """A tiny chat model that answers yes or no, and else A or B, depending on all that it reads."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    build_tiny_model(directory, "phi")
    build_tiny_tokenizer(directory, chat=True, words=tuple(HEAD_STARTS))
    ids = AutoTokenizer.from_pretrained(directory).convert_tokens_to_ids(list(HEAD_STARTS))
    assert None not in ids
    weights = load_file(directory / "model.safetensors")
    weights["lm_head.bias"][ids] += torch.tensor(list(HEAD_STARTS.values()))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


class LlamaServer:
    """llama.cpp's server over that model on a free loopback port; each of two requests has `context` tokens."""

    def __init__(self, model_dir: Path, context: int = 1024) -> None:
        import xllamacpp

        self.path = model_dir / "tiny.gguf"
        export(model_dir, self.path, chat_template=CHAT_TEMPLATE)
        params = xllamacpp.CommonParams()
        params.model.path = str(self.path)
        params.model_alias = {"tiny"}
        params.n_ctx = 2 * context
        params.n_parallel = 2
        params.n_gpu_layers = 0
        params.cpuparams.n_threads = 1
        params.verbosity = -1
        params.warmup = False
        params.use_jinja = True
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        self._server = xllamacpp.Server(params)
        self.url = str(self._server.listening_address)


class FaultyProxy:
    """Hands requests on to `upstream`, the first ones spoiled by `faults` in order; `seen` holds all bodies.

    A fault is a status, `drop` (no answer), `hang` (no answer until the proxy ends), `truncated`, `empty`,
    `no logprobs`, `no logprobs and no content`, `redirect`, or JSON to be answered, with its status or 200; None hands
    on.
    """

    def __init__(self, upstream: str) -> None:
        self.faults: list[Fault] = []
        self.every: str | None = None  # a fault of all answers
        self.seen: list[Any] = []
        self.ending = threading.Event()
        self._upstream = urlsplit(upstream)
        self._lock = threading.Lock()
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        data = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._lock:
            self.seen.append(json.loads(data) if data else None)
            fault = self.faults.pop(0) if self.faults else self.every
        if fault == "hang":
            self.ending.wait()
            return
        if fault == "drop":
            return
        if isinstance(fault, int):
            words = json.dumps({"error": {"message": f"out of luck {fault}"}}).encode()
            self._send(handler, fault, words, {"Retry-After": "7"} if fault == 429 else {})
        elif fault == "redirect":
            self._send(handler, 307, b"", {"Location": "http://127.0.0.1:9/v1/chat/completions"})
        elif fault == "empty":
            self._send(handler, 200, b"", {})
        elif isinstance(fault, dict):
            self._send(handler, 200, json.dumps(fault).encode(), {})
        elif isinstance(fault, tuple):
            self._send(handler, fault[0], json.dumps(fault[1]).encode(), {})
        else:
            status, body = self._forward(handler.path, method, data)
            if fault == "truncated":
                self._send(handler, status, body[: len(body) // 2], {}, length=len(body))
            elif fault in ("no logprobs", "no logprobs and no content"):
                given = json.loads(body)
                for choice in given.get("choices", ()):
                    choice.pop("logprobs", None)
                    if fault != "no logprobs":
                        choice["message"]["content"] = ""
                self._send(handler, status, json.dumps(given).encode(), {})
            else:
                self._send(handler, status, body, {})

    def _forward(self, path: str, method: str, data: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._upstream.hostname or "", self._upstream.port, timeout=300)
        connection.request(method, path, data or None, {"Content-Type": "application/json"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    @staticmethod
    def _send(
        handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], length: int | None = None
    ) -> None:
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body) if length is None else length)}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def faulty_proxy(upstream: str = "http://127.0.0.1:9") -> Iterator[FaultyProxy]:
    """A running proxy on a free port of the loopback address."""
    proxy = FaultyProxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            proxy.answer(self, "GET")

        def do_POST(self) -> None:
            proxy.answer(self, "POST")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        proxy.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()
