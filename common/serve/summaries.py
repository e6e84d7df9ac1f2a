"""Between the routes and the worker: a request queued, its reports awaited, its client watched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from common.errors import ConfigError
from common.metrics.faithfulness import unsupported_claims
from common.serve.answers import BadRequestError
from common.serve.worker import Finished, Worker
from common.summarize.long_documents import LongMethod
from common.summarize.summary import DEFAULT_LONG, SummaryOptions

MOST_NEW_TOKENS = 4096


class Wishes(BaseModel):
    """What any request may ask for beside its text; see `SummaryOptions`."""

    long: LongMethod = DEFAULT_LONG
    sentences: Annotated[int, Field(ge=0, le=1000)] = 0
    max_words: Annotated[int, Field(ge=0, le=10000)] = 0
    max_tokens: Annotated[
        int | None, Field(ge=1, le=MOST_NEW_TOKENS, validation_alias=AliasChoices("max_tokens", "max_new_tokens"))
    ] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    seed: Annotated[int | None, Field(ge=0, le=2**63 - 1)] = None

    def options(self) -> SummaryOptions:
        """As the summarizer takes them; greedy unless a temperature is given."""
        return SummaryOptions(
            long=self.long,
            sentences=self.sentences,
            max_words=self.max_words,
            max_new_tokens=self.max_tokens or 0,
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed or 0,
        )


@dataclass(frozen=True)
class Asked:
    """A request for one summary."""

    model: str
    text: str
    options: SummaryOptions


def asked(worker: Worker, model: str, text: str, wishes: Wishes, field: str = "text") -> Asked:
    """Check a request against what the server has; `field` holds its text. Raises BadRequestError."""
    chosen = model or worker.models[0]
    if chosen not in worker.models:
        known = ", ".join(worker.models)
        raise BadRequestError(f"model {chosen!r} is not served here; there are {known}", "model", status=404)
    if not text.strip():
        raise BadRequestError("there is no text to summarize", field)
    try:
        return Asked(chosen, text, wishes.options())
    except ConfigError as error:
        raise BadRequestError(str(error)) from None


class Reports:
    """A queued request, iterated for the pieces of its text and then the finished summary.

    Making one raises BusyError; iterating raises what went wrong. `close` gives the request up.
    """

    def __init__(self, worker: Worker, wanted: Asked) -> None:
        loop = asyncio.get_running_loop()
        self._arrivals: asyncio.Queue[str | Finished | Exception] = asyncio.Queue()

        def report(item: str | Finished | Exception) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._arrivals.put_nowait, item)

        self._ticket = worker.submit(wanted.model, wanted.text, wanted.options, report)

    async def __aiter__(self) -> AsyncIterator[str | Finished]:
        while True:
            item = await self._arrivals.get()
            if isinstance(item, Exception):
                raise item
            yield item
            if isinstance(item, Finished):
                return

    def close(self) -> None:
        self._ticket.cancel()


async def whole_summary(worker: Worker, wanted: Asked, request: Request) -> Finished | None:
    """The finished summary; None when the client went away first, which gives the request up."""

    items = Reports(worker, wanted)

    async def last() -> Finished:
        async for item in items:
            if isinstance(item, Finished):
                return item
        raise AssertionError("reports end with a summary or an exception")

    async def client_gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    summary, gone = asyncio.create_task(last()), asyncio.create_task(client_gone())
    try:
        await asyncio.wait({summary, gone}, return_when=asyncio.FIRST_COMPLETED)
        return summary.result() if summary.done() else None
    finally:
        items.close()
        summary.cancel()
        gone.cancel()


async def details(wanted: Asked, finished: Finished) -> dict[str, Any]:
    """What is told of a summary beside its text: claims that the document does not hold, unread tokens, seconds."""
    claims = await run_in_threadpool(unsupported_claims, wanted.text, finished.summary.text)
    return {
        "unsupported": [asdict(claim) for claim in claims],
        "unread_tokens": finished.summary.unread_tokens,
        "parts": list(finished.summary.parts),
        "stop_reason": finished.summary.stop_reason,
        "error": finished.summary.error,
        "waited_seconds": round(finished.waited_seconds, 3),
        "first_seconds": round(finished.first_seconds, 3),
        "seconds": round(finished.seconds, 3),
    }
