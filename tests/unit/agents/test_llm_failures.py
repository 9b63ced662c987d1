from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from scaffolder.agents.contract import Answer, CallRequest
from scaffolder.agents.llm import LlmAgent, parse_llm_connection
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    LimitExceededError,
    ScaffolderError,
)
from tests.ledgers import RecordingLedger
from tests.llm_server import API_KEY, LlmServer, serve_models
from tests.misbehaving import drip, flood, hang, head, make_bomb, misbehave, respond, send_raw

MODELS = ["openai:gpt-test", "openai-chat:gpt-test", "anthropic:claude-test", "anthropic:claude-sonnet-5"]
every_model = pytest.mark.parametrize("model", MODELS)
JSON = {"Content-Type": "application/json"}
DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture(scope="module")
def models() -> Iterator[LlmServer]:
    with serve_models() as server:
        yield server


@pytest.fixture
def server(models: LlmServer) -> LlmServer:
    models.reset()
    return models


async def ask(
    url: str, model: str, *, key: str = API_KEY, timeout_seconds: int = 30, ask_for: str | None = None
) -> Answer:
    host = url if model.startswith("anthropic:") else f"{url}/v1"
    connection = parse_llm_connection("writer", host=host, password=key, extra={"model": model})
    agent = LlmAgent(connection, settings=replace(Settings(), max_agent_response_size=100_000))

    request = CallRequest(prompt="Hello", timeout_seconds=timeout_seconds, model=ask_for)
    request = await agent.prepare(request)
    return await agent.call(request, idempotency_key="key-1", ledger=RecordingLedger())


def fail(url: str, model: str, **fields: Any) -> ScaffolderError:
    """The error of a call, which says neither key nor prompt."""
    with pytest.raises(ScaffolderError) as caught:
        asyncio.run(ask(url, model, **fields))
    error = caught.value
    assert API_KEY not in str(error)
    assert len(str(error)) < 1_000
    assert "'writer'" in str(error)
    for cause in causes(error):
        assert API_KEY not in str(cause)
        assert len(str(cause)) < 1_000
    return error


def causes(error: BaseException) -> Iterator[BaseException]:
    """Everything that a log shows of an error, which never ends where an error is among its own causes."""
    cause: BaseException | None = error
    for _ in range(20):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    pytest.fail("the error is its own cause")


def refusal(
    model: str, status: int, message: str, *, code: str | None = None, kind: str = "error", **headers: str
) -> Any:
    """An error as the model's provider words it."""
    if model.startswith("anthropic:"):
        body: Any = {"type": "error", "error": {"type": kind, "message": message}}
    else:
        body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return status, JSON | headers, json.dumps(body).encode()


@every_model
@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504, 529])
def test_a_server_that_is_away_for_a_moment_is_worth_another_try(server: LlmServer, model: str, status: int) -> None:
    server.failures = [refusal(model, status, "try later")] * 5

    error = fail(server.url, model)

    assert isinstance(error, AgentRejectedError if status == 409 else AgentUnavailableError)
    assert str(status) in str(error)
    assert len(server.failures) == 4, "the provider's library has tried again by itself"


@every_model
def test_a_limit_of_rates_says_how_long_to_wait(server: LlmServer, model: str) -> None:
    limited = {"Retry-After": "17", "x-should-retry": "true"}
    server.failures = [refusal(model, 429, "slow down", kind="rate_limit_error", **limited)] * 2

    error = fail(server.url, model)

    assert isinstance(error, AgentRateLimitedError)
    assert error.retry_after_seconds == 17
    assert len(server.failures) == 1


def test_an_account_without_credit_is_not_waited_for(server: LlmServer) -> None:
    said = "You exceeded your current quota"
    for model in MODELS[:2]:
        server.failures = [refusal(model, 429, said, code="insufficient_quota", kind="insufficient_quota")]
        error = fail(server.url, model)
        assert isinstance(error, AgentRejectedError)
        assert "quota or credit is used up" in str(error)


@every_model
def test_a_wrong_key_is_refused_and_not_shown(server: LlmServer, model: str) -> None:
    error = fail(server.url, model, key="sk-wrong-1a2b3c4d")

    assert isinstance(error, AgentRejectedError)
    assert "answered 401: Incorrect API key provided: ***" in str(error).replace("Bearer ", "")
    assert "sk-wrong" not in str(error)


@every_model
def test_an_unknown_model_is_refused(server: LlmServer, model: str) -> None:
    prefix = model.partition(":")[0]

    error = fail(server.url, model, ask_for=f"{prefix}:nothing-5")

    assert isinstance(error, AgentRejectedError)
    assert "model 'nothing-5', answered 404: model: nothing-5" in str(error)


@every_model
def test_a_prompt_that_is_too_long_is_refused(server: LlmServer, model: str) -> None:
    message = "prompt is too long: maximum context length is 8192 tokens"
    server.failures = [refusal(model, 400, message, code="context_length_exceeded", kind="invalid_request_error")]

    error = fail(server.url, model)

    assert isinstance(error, AgentRejectedError)
    assert message in str(error)


@every_model
def test_what_a_refusal_says_is_made_printable_and_cut(server: LlmServer, model: str) -> None:
    server.failures = [refusal(model, 400, f"\x1b[31m{API_KEY}\n" + "x" * 5_000)]

    error = fail(server.url, model)

    assert str(error).isprintable()
    assert "*** x" in str(error)


@every_model
@pytest.mark.parametrize(
    "body, headers",
    [
        (b"", JSON),
        (b"{}", JSON),
        (b"null", JSON),
        (b"[]", JSON),
        (b'"text"', JSON),
        (b'{"choices": [], "output": null, "content": 5}', JSON),
        (b'{"choices": [{"message": 1}], "output": [{"type": "message", "content": [{}]}], "content": [{}]}', JSON),
        (b'{"id": "x"', JSON),
        (b"\xff\xfe{}", JSON),
        (b"<html>Log in</html>", {"Content-Type": "text/html"}),
        (DEEP[:90_000], JSON),
        (b'{"output": ' + DEEP[60_000:-60_000] + b"}", JSON),
    ],
)
def test_an_answer_that_is_none_is_an_error(model: str, body: bytes, headers: dict[str, str]) -> None:
    with misbehave(respond(body, headers=headers)) as server:
        error = fail(server.url, model)

    assert isinstance(error, AgentAnswerError)
    assert len(server.requests) == 1


@every_model
def test_a_redirect_is_not_followed(model: str) -> None:
    with misbehave(respond({})) as elsewhere, misbehave() as server:
        for status in (301, 303, 307, 308):
            server.behave(respond(status=status, headers={"Location": f"{elsewhere.url}/v1/steal"}))
            error = fail(server.url, model)
            assert isinstance(error, AgentRejectedError)
            assert "redirects are not followed" in str(error)

    assert elsewhere.requests == []


@pytest.mark.parametrize(
    "behaviour",
    [
        drip(head(200, Content_Type="application/json", Content_Length=100_000), b" "),
        drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        hang,
    ],
)
def test_an_answer_must_be_there_by_its_deadline(behaviour: Any) -> None:
    async def ask_all(url: str) -> list[Any]:
        asking = (ask(url, model, timeout_seconds=1) for model in MODELS)
        return await asyncio.gather(*asking, return_exceptions=True)

    started = time.monotonic()
    with misbehave(behaviour) as server:
        errors = asyncio.run(ask_all(server.url))
        took_seconds = time.monotonic() - started

    for error in errors:
        assert isinstance(error, AgentUnavailableError)
        assert error.in_doubt
        assert "took longer than 1 s" in str(error)
    assert took_seconds < 10


@every_model
def test_an_answer_may_not_be_larger_than_the_settings_say(model: str) -> None:
    bomb = make_bomb(50_000_000)
    for behaviour in (
        flood(head(200, Content_Type="application/json"), b" " * 10_000, times=1_000),
        respond(bomb, headers=JSON | {"Content-Encoding": "gzip"}),
    ):
        with misbehave(behaviour) as server:
            error = fail(server.url, model)
        assert isinstance(error, LimitExceededError)
        assert "more than 100000 bytes" in str(error)


@every_model
def test_an_answer_that_breaks_off_is_worth_another_try(model: str) -> None:
    beginning = head(200, Content_Type="application/json", Content_Length=1_000)
    with misbehave(send_raw(beginning, b'{"id"')) as server:
        error = fail(server.url, model)

    assert isinstance(error, AgentUnavailableError)
    assert error.in_doubt


@every_model
def test_a_server_that_is_not_there_is_worth_another_try(model: str) -> None:
    with misbehave(hang) as server:
        url = server.url

    error = fail(url, model)

    assert isinstance(error, AgentUnavailableError)
    assert not error.in_doubt


def test_a_stream_that_ends_early_is_no_whole_answer() -> None:
    events = [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude-sonnet-5",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 1, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Once upon a"}},
    ]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
    with misbehave(respond(body, headers={"Content-Type": "text/event-stream"})) as server:
        error = fail(server.url, "anthropic:claude-sonnet-5")

    assert isinstance(error, AgentAnswerError)


def test_an_error_inside_a_stream_has_its_class() -> None:
    failure = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    body = f"event: error\ndata: {json.dumps(failure)}\n\n".encode()
    with misbehave(respond(body, headers={"Content-Type": "text/event-stream"})) as server:
        error = fail(server.url, "anthropic:claude-sonnet-5")

    assert isinstance(error, AgentUnavailableError)


@pytest.mark.parametrize(
    "code, kind",
    [
        ("server_error", AgentUnavailableError),
        ("rate_limit_exceeded", AgentRateLimitedError),
        ("insufficient_quota", AgentRejectedError),
        ("context_length_exceeded", AgentRejectedError),
        ("something_new", AgentAnswerError),
    ],
)
def test_a_response_that_failed_has_the_class_of_its_code(code: str, kind: type[Exception]) -> None:
    body = {"id": "r", "object": "response", "status": "failed", "output": [], "error": {"code": code, "message": "no"}}
    with misbehave(respond(body)) as server:
        assert isinstance(fail(server.url, "openai:gpt-test"), kind)
