"""What the page needs beside chat completions: one-call summaries, files read, ratings kept, the server's state."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from common.data.preferences import append_row, choice_row, rating_row
from common.errors import SumkitError
from common.serve.answers import BadRequestError, answer_for, error_answer, read_body
from common.serve.limits import Limits
from common.serve.summaries import Wishes, asked, details, whole_summary
from common.serve.worker import BusyError, Worker
from common.version import VERSION

LongText = Annotated[str, Field(min_length=1)]


class SummarizeRequest(Wishes, extra="forbid"):
    """One text for one model (the first one served if not named)."""

    text: LongText
    model: str = ""


class Rating(BaseModel):
    """Good (1), bad (-1), or neither after all (0)."""

    kind: Literal["rating"]
    document: LongText
    summary: LongText
    model: str
    rating: Literal[-1, 0, 1]


class Choice(BaseModel):
    """One summary preferred to another; `chosen_by` may be `person`, who corrected it."""

    kind: Literal["choice"]
    document: LongText
    chosen: LongText
    rejected: LongText
    chosen_by: str
    rejected_by: str


class Opinion(BaseModel):
    """The body of a rating request."""

    opinion: Annotated[Rating | Choice, Field(discriminator="kind")]


class PageRoutes:
    """Endpoints over one worker; opinions go to the file `ratings`."""

    def __init__(self, worker: Worker, limits: Limits, ratings: Path) -> None:
        self._worker = worker
        self._limits = limits
        self._ratings = ratings
        self._writing = asyncio.Lock()
        self._readers = 0

    async def health(self, request: Request) -> Response:
        """GET /health."""
        return JSONResponse({"status": "ok", "waiting": self._worker.queue_length()})

    async def state(self, request: Request) -> Response:
        """GET /api/state."""
        return JSONResponse(
            {
                "version": VERSION,
                "models": list(self._worker.models),
                "waiting": self._worker.queue_length(),
                "ratings": str(self._ratings),
                "body_bytes": self._limits.body_bytes,
            }
        )

    async def summarize(self, request: Request) -> Response:
        """POST /api/summarize."""
        try:
            body = await read_body(request, SummarizeRequest)
            wanted = asked(self._worker, body.model, body.text, body)
            finished = await whole_summary(self._worker, wanted, request)
        except Exception as failure:
            return answer_for(failure)
        if finished is None:
            return Response(status_code=499)  # nobody reads it
        summary = asdict(finished.summary)
        summary["summary"] = summary.pop("text")
        status = 500 if finished.summary.stop_reason == "error" else 200
        return JSONResponse({"model": wanted.model, **summary, **await details(wanted, finished)}, status)

    async def document(self, request: Request) -> Response:
        """POST /api/documents?name=report.pdf with the file as body: its text."""
        given = "".join(filter(str.isprintable, request.query_params.get("name", "")))
        name = Path(given).name[:200] or "document"
        data = await request.body()
        if self._readers >= self._limits.readers:
            return answer_for(BusyError("other files are being read", 2))
        self._readers += 1
        try:
            answer = await self._convert(name, data)
        finally:
            self._readers -= 1
        if "error" in answer:
            return error_answer(422, answer["error"], "invalid_request_error", "document")
        return JSONResponse(answer)

    async def _convert(self, name: str, data: bytes) -> dict[str, Any]:
        """Read a file in a process of its own, ended when it takes too long."""
        command = (sys.executable, "-m", "common.documents.convert", name)
        pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=nowhere)
        try:
            out, _ = await asyncio.wait_for(process.communicate(data), self._limits.reader_seconds)
            answer: dict[str, Any] = json.loads(out)
        except TimeoutError:
            answer = {"error": f"{name}: took longer than {self._limits.reader_seconds:g} seconds to read"}
        except ValueError:
            answer = {"error": f"{name}: reading it failed; is the file damaged?"}
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return answer

    async def rate(self, request: Request) -> Response:
        """POST /api/ratings."""
        try:
            opinion = (await read_body(request, Opinion)).opinion
            given = opinion.model_dump(exclude={"kind", "model"})
            row = choice_row(**given) if isinstance(opinion, Choice) else rating_row(written_by=opinion.model, **given)
            async with self._writing:
                await run_in_threadpool(append_row, self._ratings, row)
        except SumkitError as failure:
            return error_answer(507, str(failure), "server_error")
        except BadRequestError as failure:
            return answer_for(failure)
        return JSONResponse({"kept": True}, 201)
