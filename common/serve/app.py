"""The server's routes put together: page, chat completions, and the page's own calls, behind the guard."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from common.serve.answers import answer_for, error_answer
from common.serve.chat_api import ChatRoutes
from common.serve.guard import Guard
from common.serve.limits import Limits
from common.serve.page_api import PageRoutes
from common.serve.worker import Worker

PAGE = Path(__file__).parent / "page"
# The page may load its own two files and call its own server, nothing else.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def build_app(worker: Worker, limits: Limits, ratings: Path, token: str = "", hosts: tuple[str, ...] = ()) -> Starlette:
    """The application over a started worker, which it stops when the server shuts down."""
    chat = ChatRoutes(worker, created=int(time.time()))
    page = PageRoutes(worker, limits, ratings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        worker.stop()

    return Starlette(
        routes=[
            Route("/", _page_file("index.html", "text/html")),
            Route("/page.js", _page_file("page.js", "text/javascript")),
            Route("/page.css", _page_file("page.css", "text/css")),
            Route("/health", page.health),
            Route("/v1/models", chat.models),
            Route("/v1/models/{name:path}", chat.model),
            Route("/v1/chat/completions", chat.completions, methods=["POST"]),
            Route("/api/state", page.state),
            Route("/api/summarize", page.summarize, methods=["POST"]),
            Route("/api/documents", page.document, methods=["POST"]),
            Route("/api/ratings", page.rate, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, limits=limits, token=token, hosts=hosts)],
        exception_handlers={HTTPException: _http_error, Exception: _our_error},
        lifespan=lifespan,
    )


def _page_file(name: str, media_type: str):  # type: ignore[no-untyped-def]
    headers = {
        "Content-Security-Policy": CONTENT_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    async def answer(request: Request) -> Response:
        return FileResponse(PAGE / name, media_type=media_type, headers=headers)

    return answer


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return error_answer(error.status_code, message, "invalid_request_error")


async def _our_error(request: Request, error: Exception) -> Response:
    return answer_for(error)
