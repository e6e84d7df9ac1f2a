"""OpenAI's chat completions and model list, so that existing clients work.

The last user message is the document; it goes into the run's own prompt, as in training. Earlier messages and
instructions are not used: a tuned summarizer does one thing.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from common.serve.answers import BadRequestError, answer_for, error_answer, read_body
from common.serve.summaries import MOST_NEW_TOKENS, Asked, Reports, Wishes, asked, details, whole_summary
from common.serve.worker import Finished, Worker

# Parameters that would change the answer in ways not offered here; their neutral values are accepted.
UNSUPPORTED = (
    "tools", "functions", "tool_choice", "stop", "logprobs", "logit_bias", "modalities", "audio", "presence_penalty",
    "frequency_penalty",
)  # fmt: skip
_NEUTRAL: tuple[Any, ...] = (None, False, 0, [], {}, "none", "auto", ["text"])


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class Message(BaseModel):
    role: str
    content: str | list[TextPart] | None = None


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(Wishes, extra="allow"):
    """The fields of a chat completion request that are used; others are checked by `refuse_unsupported`."""

    model: str = ""
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MOST_NEW_TOKENS)] = None
    n: int | None = None
    response_format: dict[str, Any] | None = None


def refuse_unsupported(body: ChatRequest) -> None:
    """Raise BadRequestError for a parameter that would silently have no effect."""
    given = body.model_extra or {}
    for name in UNSUPPORTED:
        if given.get(name) not in _NEUTRAL:
            raise BadRequestError(f"{name} is not supported by this server", name)
    if body.n not in (None, 1):
        raise BadRequestError(f"n is {body.n}; only 1 is supported", "n")
    if body.response_format and body.response_format.get("type") != "text":
        raise BadRequestError("response_format must be of type text", "response_format")


def document_of(messages: list[Message]) -> str:
    """The text of the last message, which must be the user's."""
    last = messages[-1]
    if last.role != "user":
        raise BadRequestError("the last message must be the user's: it is the document to summarize", "messages")
    if isinstance(last.content, list):
        return "\n\n".join(part.text for part in last.content)
    return last.content or ""


class ChatRoutes:
    """Endpoints over one worker."""

    def __init__(self, worker: Worker, created: int) -> None:
        self._worker = worker
        self._created = created

    async def models(self, request: Request) -> Response:
        """GET /v1/models."""
        return JSONResponse({"object": "list", "data": [self._model(name) for name in self._worker.models]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{name}."""
        name = request.path_params["name"]
        if name not in self._worker.models:
            return error_answer(404, f"model {name!r} is not served here", "invalid_request_error", "model")
        return JSONResponse(self._model(name))

    async def completions(self, request: Request) -> Response:
        """POST /v1/chat/completions, streamed or whole."""
        try:
            body = await read_body(request, ChatRequest)
            refuse_unsupported(body)
            body.max_tokens = body.max_completion_tokens or body.max_tokens
            wanted = asked(self._worker, body.model, document_of(body.messages), body, "messages")
            if body.stream:
                return self._streamed(wanted, bool(body.stream_options and body.stream_options.include_usage))
            finished = await whole_summary(self._worker, wanted, request)
        except Exception as failure:
            return answer_for(failure)
        if finished is None:
            return Response(status_code=499)  # nobody reads it
        if finished.summary.stop_reason == "error":
            return error_answer(500, finished.summary.error, "server_error")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": finished.summary.text, "refusal": None},
            "logprobs": None,
            "finish_reason": finish_reason(finished),
        }
        head = _head("chat.completion", wanted.model)
        return JSONResponse(
            {**head, "choices": [choice], "usage": usage(finished), "sumkit": await details(wanted, finished)}
        )

    def _streamed(self, wanted: Asked, with_usage: bool) -> Response:
        """Server-sent events. A server too busy to queue the request says so before the stream begins."""
        items = Reports(self._worker, wanted)

        async def events() -> AsyncIterator[str]:
            head = _head("chat.completion.chunk", wanted.model)
            yield _event(head, delta={"role": "assistant", "content": ""})
            try:
                async for item in items:
                    if not isinstance(item, Finished):
                        yield _event(head, delta={"content": item})
                    elif item.summary.stop_reason == "error":
                        yield _error_event(error_answer(500, item.summary.error, "server_error"))
                    else:
                        told = await details(wanted, item)
                        yield _event(head, delta={}, finish_reason=finish_reason(item), sumkit=told)
                        if with_usage:
                            yield f"data: {json.dumps({**head, 'choices': [], 'usage': usage(item)})}\n\n"
                        yield "data: [DONE]\n\n"
            except Exception as failure:
                yield _error_event(answer_for(failure))
            finally:
                items.close()

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "sumkit"}


def finish_reason(finished: Finished) -> str:
    """`stop` when the model ended its text, `length` at the token limit."""
    return "stop" if finished.summary.stop_reason == "eos" else "length"


def usage(finished: Finished) -> dict[str, int]:
    """Token counts, those of a long document's parts included."""
    read, written = finished.summary.prompt_tokens, finished.summary.tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _event(head: dict[str, Any], delta: dict[str, str], finish_reason: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return f"data: {json.dumps({**head, 'choices': [choice], **more}, ensure_ascii=False)}\n\n"


def _error_event(answer: JSONResponse) -> str:
    return f"data: {bytes(answer.body).decode()}\n\n"
