"""The official OpenAI client works against the server, errors included."""

from __future__ import annotations

import openai
import pytest

from common.serve.limits import Limits
from tests.serve.conftest import Running, Start
from tests.serve.echo import Echo

TEXT = "The ferry carries 38 people a night."
QUESTION = [{"role": "user", "content": TEXT}]


def load() -> dict[str, Echo]:
    return {"a": Echo("a"), "b": Echo("b", adds="The town of Leeds paid 99 pounds.")}


@pytest.fixture
def server(start: Start) -> Running:
    return start(load)


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none needed", max_retries=0)


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["a", "b"]
    assert client.models.retrieve("b").owned_by == "sumkit"
    with pytest.raises(openai.NotFoundError, match="model 'c' is not served here"):
        client.models.retrieve("c")


def test_a_completion_is_the_summary_of_the_last_user_message(client: openai.OpenAI) -> None:
    history = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "old"}]
    answer = client.chat.completions.create(model="a", messages=[*history, *QUESTION], temperature=0)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "a"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 7, 14)


def test_a_stream_has_the_same_text_and_ends_with_its_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="a", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == TEXT
    assert sum(map(bool, pieces)) == 7
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 7
    assert len({chunk.id for chunk in chunks}) == 1


def test_token_limits_end_the_text_and_say_so(client: openai.OpenAI) -> None:
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        choice = client.chat.completions.create(model="a", messages=QUESTION, **limit).choices[0]
        assert choice.message.content == "The ferry"
        assert choice.finish_reason == "length"


def test_content_in_parts_is_one_document(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "The ferry"}, {"type": "text", "text": "stays."}]
    answer = client.chat.completions.create(model="a", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "The ferry stays."


def test_claims_without_support_come_with_the_answer(client: openai.OpenAI) -> None:
    def flagged(model: str) -> list[str]:
        extra = client.chat.completions.create(model=model, messages=QUESTION).model_extra
        assert extra is not None
        text = client.chat.completions.create(model=model, messages=QUESTION).choices[0].message.content or ""
        claims = extra["sumkit"]["unsupported"]
        assert all(text[claim["start"] : claim["end"]] == claim["text"] for claim in claims)
        return [claim["text"] for claim in claims]

    assert flagged("a") == []
    assert flagged("b") == ["Leeds", "99"]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"model": "c"}, "model 'c' is not served here; there are a, b"),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "user", "content": " "}]}, "no text to summarize"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "the last message must be the user's"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"n": 2}, "n is 2; only 1 is supported"),
        ({"stop": ["."]}, "stop is not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty is not supported"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools is not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format must be of type text"),
        ({"temperature": 3}, "temperature: Input should be less than or equal to 2"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"extra_body": {"long": "cut"}}, "long: Input should be 'truncate', 'map-reduce' or 'two-stage'"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    client: openai.OpenAI, wish: dict[str, object], message: str
) -> None:
    request = {"model": "a", "messages": QUESTION, **wish}
    for stream in (False, True):
        with pytest.raises((openai.BadRequestError, openai.NotFoundError), match=message.replace("(", r"\(")):
            client.chat.completions.create(**request, stream=stream)  # type: ignore[call-overload]


def test_neutral_values_that_clients_send_by_habit_are_accepted(client: openai.OpenAI) -> None:
    habits = {"n": 1, "stop": None, "logprobs": False, "presence_penalty": 0, "response_format": {"type": "text"}}
    assert client.chat.completions.create(model="a", messages=QUESTION, **habits).choices[0].message.content == TEXT  # type: ignore[call-overload]


def test_a_failing_model_is_a_server_error_and_the_next_request_works(client: openai.OpenAI) -> None:
    failing = [{"role": "user", "content": "please fail"}]
    with pytest.raises(openai.InternalServerError, match="the summary failed"):
        client.chat.completions.create(model="a", messages=failing)
    with pytest.raises(openai.APIError, match="the summary failed"):
        list(client.chat.completions.create(model="a", messages=failing, stream=True))
    assert client.chat.completions.create(model="a", messages=QUESTION).choices[0].message.content == TEXT


def test_the_token_is_the_api_key(start: Start) -> None:
    server = start(load, token="right")
    with pytest.raises(openai.AuthenticationError, match="a token is needed"):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
    assert len(openai.OpenAI(base_url=f"{server.url}/v1", api_key="right").models.list().data) == 2


def test_clients_try_again_when_the_server_is_busy_and_succeed(start: Start) -> None:
    server = start(lambda: {"a": Echo("a", pause=0.05)}, Limits(waiting=1, together=1))
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=20)
    from concurrent.futures import ThreadPoolExecutor

    def ask(number: int) -> str | None:
        text = f"ferry {number}"
        return (
            client.chat.completions.create(model="a", messages=[{"role": "user", "content": text}])
            .choices[0]
            .message.content
        )

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == [f"ferry {number}" for number in range(6)]
