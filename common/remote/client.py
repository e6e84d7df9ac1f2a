"""Chat completions from an OpenAI-compatible server: samples, log-probabilities, several at a time, tried again.

For checkers, judges, teachers and summaries alike: knows nothing of what is asked.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from common.errors import ConfigError, RemoteError
from common.nearest import did_you_mean
from common.remote.address import parse_address
from common.remote.transport import ConnectionFailedError, HttpAnswer, OpenCalls, TooSlowError, exchange

CHAT, MODELS = "/chat/completions", "/models"
_TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FOR_ALL = frozenset({401, 403, 404, 405})  # what is refused once is refused always
_LONGEST_WAIT = 60.0
_LONGEST_QUOTE = 300  # characters of a server's own words in a message
_CONTEXT = re.compile(
    r"context (?:size|length|window)|exceed_context|context_length_exceeded|maximum context|too many tokens"
    r"|prompt is too long|context overflow|n_ctx",
    re.IGNORECASE,
)
# `<|im_end|>`, `</s>`, `<start_of_turn>`, `[/INST]`: what chat templates mark turns with.
_MARKUP = re.compile(r"(?<=<)(?=/?\|?[A-Za-z_][\w.]*\|?>)|(?<=<)(?=[|｜])|(?<=\[)(?=/?[A-Z_]{3,}\])")


class RefusedError(RemoteError):
    """The server understood, and refused. `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ContextError(RefusedError):
    """The prompt does not fit the context that the server gives a request."""


class AnswerError(RemoteError):
    """This request got no usable answer, after all tries; others may."""


@dataclass(frozen=True)
class ChatRequest:
    """One question. `top_logprobs` above 0 asks for that many alternatives of each token; `extra` is sent as it is."""

    messages: tuple[Mapping[str, str], ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_logprobs: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def ask(cls, text: str, max_tokens: int, **changes: Any) -> ChatRequest:
        """A request with one message, the user's."""
        return cls(({"role": "user", "content": text},), max_tokens, **changes)


@dataclass(frozen=True)
class TokenChoice:
    """A token that was written, and the likeliest tokens at its place with natural log-probabilities."""

    token: str
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ChatAnswer:
    """The text, its tokens where log-probabilities came (else empty), why it ended, and tokens read and written.

    `thinks` is whether the model wrote thoughts aside.
    """

    text: str
    tokens: tuple[TokenChoice, ...]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    thinks: bool = False


Result = ChatAnswer | RemoteError
OnDone = Callable[[int, Result], None]  # the request's place, and what became of it


@dataclass(frozen=True)
class Patience:
    """How long and how often is tried; `at_once` requests are on their way together."""

    timeout_seconds: float = 300.0
    tries: int = 4
    first_wait_seconds: float = 1.0
    at_once: int = 4


class ChatClient:
    """A server and one of its models.

    `model` empty takes the only one it has. `allow_remote` is the one host beyond this machine that texts may go to.
    """

    def __init__(
        self,
        url: str,
        model: str = "",
        *,
        allow_remote: str = "",
        api_key: str = "",
        patience: Patience = Patience(),
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.address = parse_address(url)
        self.patience = patience
        self._connect_to = self.address.connectable(allow_remote)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._calls = OpenCalls()
        self._sleep = sleep or self._calls.stopping.wait
        self._jitter = random.Random(0)
        self.model = model or self._only_model()

    def models(self) -> list[str]:
        """The names that the server lists."""
        body = self._send(MODELS, None).body
        listed = body.get("data") if isinstance(body, dict) else None
        if not isinstance(listed, list):
            raise RemoteError(f"{self.address.url} lists no models; is it an OpenAI-compatible server?")
        return [str(entry["id"]) for entry in listed if isinstance(entry, dict) and "id" in entry]

    def complete(self, request: ChatRequest) -> ChatAnswer:
        """One answer. Raises AnswerError or ContextError for this request, RemoteError for the server as a whole."""
        body = {
            "model": self.model,
            "messages": list(request.messages),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "stream": False,
            **({"top_p": request.top_p} if request.top_p < 1 else {}),
            **({"logprobs": True, "top_logprobs": request.top_logprobs} if request.top_logprobs else {}),
            **request.extra,
        }
        return _read_answer(self._send(CHAT, body).body)

    def samples(self, request: ChatRequest, n: int) -> list[Result]:
        """`n` answers by seeds that follow one another: servers differ in whether they heed the API's own `n`."""
        return self.complete_all([replace(request, seed=request.seed + place) for place in range(n)])

    def complete_all(self, requests: Sequence[ChatRequest], on_done: OnDone | None = None) -> list[Result]:
        """An answer, or what went wrong with it, for each request in order; `on_done` on the calling thread.

        Raises RemoteError at once for what would go wrong with all: no server, no such model, access denied. What is
        on its way then, or when `on_done` raises, is given up.
        """
        results: list[Result] = [AnswerError("not asked")] * len(requests)
        waiting = iter(enumerate(requests))
        pool = ThreadPoolExecutor(self.patience.at_once, thread_name_prefix="chat")
        running: dict[Future[ChatAnswer], int] = {}
        try:
            while True:
                while len(running) < self.patience.at_once and (following := next(waiting, None)) is not None:
                    running[pool.submit(self.complete, following[1])] = following[0]
                if not running:
                    return results
                for ended in wait(running, return_when=FIRST_COMPLETED).done:
                    index = running.pop(ended)
                    results[index] = _result(ended)
                    if on_done is not None:
                        on_done(index, results[index])
        finally:
            with self._calls.given_up():
                pool.shutdown(cancel_futures=True)

    def _only_model(self) -> str:
        names = self.models()
        if len(names) != 1:
            listed = f"it has {', '.join(names)}" if names else "it has none loaded"
            raise ConfigError(f"{self.address.url}: name the model to ask; {listed}")
        return names[0]

    def _send(self, path: str, body: Mapping[str, Any] | None) -> HttpAnswer:
        """An answer of status 200 with JSON in it, after as many tries as patience has.

        What took too long is not tried again: it would take as long.
        """
        problem = ""
        for attempt in range(self.patience.tries):
            wait_seconds = self.patience.first_wait_seconds * 2**attempt * (1 + self._jitter.random() / 4)
            last = attempt == self.patience.tries - 1
            try:
                answer = exchange(
                    self.address,
                    self._connect_to,
                    path,
                    body,
                    self._headers,
                    self.patience.timeout_seconds,
                    self._calls,
                )
            except TooSlowError as error:
                raise AnswerError(f"{self.address.url}: {error}") from None
            except ConnectionFailedError as error:
                if error.refused and last:
                    raise RemoteError(f"{self.address.url}: {error}; start the server, or check its port") from None
                problem = str(error)
            else:
                if answer.status == 200 and answer.body is not None:
                    return answer
                overfull = path == CHAT and answer.status != 200 and _CONTEXT.search(answer.text)
                if overfull or answer.status not in _TRY_AGAIN | {200}:
                    raise self._refusal(answer, path)
                problem = "the answer is not JSON" if answer.status == 200 else _words(answer)
                wait_seconds = max(wait_seconds, _asked_to_wait(answer))
            if self._calls.stopping.is_set():
                break
            if not last:
                self._sleep(min(wait_seconds, _LONGEST_WAIT))
        raise AnswerError(f"{self.address.url}: {problem} (tried {attempt + 1} times)")

    def _refusal(self, answer: HttpAnswer, path: str) -> RefusedError:
        """What a status that is not to be tried again means, with the remedy."""
        said, status = _words(answer), answer.status
        if 300 <= status < 400:
            problem, status = "it redirects elsewhere, which is not followed; give its own address", 404
        elif path == CHAT and _CONTEXT.search(answer.text):
            problem = f"{said}\nthe prompt does not fit the server's context; start the server with a larger one"
            return ContextError(f"{self.address.url}: {problem}", status)
        elif status in (401, 403):
            problem = f"access denied ({said}); give its API key"
        elif status == 404 and path == CHAT and "model" in answer.text.lower():
            problem = f"{said}{self._known_models()}"
        elif status in (404, 405):
            problem = f"there is no OpenAI-compatible API at this address ({said})"
        else:
            problem = said
        return RefusedError(f"{self.address.url}: {problem}", status)

    def _known_models(self) -> str:
        try:
            names = self.models()
        except RemoteError:
            return ""
        return f"\nthis server has {', '.join(names) or 'no model'}{did_you_mean(self.model, names)}"


def _result(ended: Future[ChatAnswer]) -> Result:
    """The answer or what concerns it alone; raises what concerns every request."""
    try:
        return ended.result()
    except AnswerError as error:
        return error
    except RefusedError as error:
        if error.status in _FOR_ALL:
            raise
        return error


def as_data(text: str) -> str:
    """The text with a space inside whatever chat templates mark turns with, so that a document stays one message."""
    return _MARKUP.sub(" ", text)


def _words(answer: HttpAnswer) -> str:
    """The server's own words, short, with the status."""
    body: Any = answer.body
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    said = " ".join(str(message or answer.text).split())[:_LONGEST_QUOTE]
    return f"status {answer.status}: {said}" if said else f"status {answer.status}"


def _asked_to_wait(answer: HttpAnswer) -> float:
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isdigit() else 0.0


def _read_answer(body: Any) -> ChatAnswer:
    try:
        choice = body["choices"][0]
        message = choice["message"]
        usage = body.get("usage") or {}
        text = message.get("content") or ""
        thinks = bool(message.get("reasoning_content") or message.get("reasoning")) or text.lstrip().startswith(
            "<think"
        )
        return ChatAnswer(
            str(text),
            _read_tokens(choice.get("logprobs")),
            str(choice.get("finish_reason") or ""),
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            thinks,
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        quoted = json.dumps(body, ensure_ascii=False)[:_LONGEST_QUOTE]
        raise AnswerError(f"the server's answer is not a chat completion: {quoted}") from None


def _read_tokens(given: Any) -> tuple[TokenChoice, ...]:
    """Tokens from the chat API's form, or from that of the older completions API, which some servers use here too."""
    if not isinstance(given, dict):
        return ()
    found = []
    if isinstance(given.get("content"), list):
        for entry in given["content"]:
            alternatives = [(str(other["token"]), float(other["logprob"])) for other in entry.get("top_logprobs") or ()]
            if "token" in entry and "logprob" in entry:
                own = (str(entry["token"]), float(entry["logprob"]))
                alternatives = alternatives if own in alternatives else [*alternatives, own]
            found.append(TokenChoice(str(entry.get("token", "")), tuple(alternatives)))
    elif isinstance(given.get("top_logprobs"), list):
        for token, others in zip(given.get("tokens") or (), given["top_logprobs"], strict=True):
            found.append(TokenChoice(str(token), tuple((str(t), float(p)) for t, p in (others or {}).items())))
    return tuple(found)
