"""JSON answers and errors in the form that OpenAI clients read, and request bodies checked."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from common.serve.worker import BusyError, TooSlowError

Body = TypeVar("Body", bound=BaseModel)


class BadRequestError(Exception):
    """A request that cannot be answered as it is. `param` names the field at fault."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.status = status


def error_answer(
    status: int, message: str, kind: str, param: str | None = None, retry_seconds: int = 0
) -> JSONResponse:
    """An error as OpenAI's API words it; `retry_seconds` becomes Retry-After."""
    headers = {"Retry-After": str(retry_seconds)} if retry_seconds else None
    body = {"error": {"message": message, "type": kind, "param": param, "code": None}}
    return JSONResponse(body, status, headers)


def answer_for(failure: Exception) -> JSONResponse:
    """The answer that says what went wrong: the client's fault, a busy server, too little time, or ours."""
    if isinstance(failure, BadRequestError):
        return error_answer(failure.status, str(failure), "invalid_request_error", failure.param)
    if isinstance(failure, BusyError):
        return error_answer(503, f"busy: {failure}", "server_busy", retry_seconds=failure.retry_seconds)
    if isinstance(failure, TooSlowError):
        return error_answer(504, str(failure), "timeout")
    return error_answer(500, f"the summary failed ({type(failure).__name__}); see the server's log", "server_error")


async def read_body(request: Request, kind: type[Body]) -> Body:
    """The JSON body as `kind`. Raises BadRequestError naming the first field that is wrong."""
    try:
        given: Any = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(given, dict):
        raise BadRequestError(f"the body must be a JSON object, not {type(given).__name__}")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadRequestError(f"{place or 'body'}: {first['msg']}", place or None) from None
    except RecursionError:
        raise BadRequestError("the body is nested too deeply") from None
