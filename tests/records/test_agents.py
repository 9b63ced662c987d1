"""Calls of agents against a real server that misbehaves on the wire, with real records."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from scaffolder.agents.connection import AgentConnection
from scaffolder.agents.service import call_agent
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentConfigurationError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    LimitExceededError,
    ScaffolderError,
)
from scaffolder.records.models import AgentCall, AgentCallStatus
from scaffolder.records.store import ProjectRecords
from tests.factories import open_project
from tests.servers import AgentServer, drip, json_answer, serve_agent

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def agent() -> Iterator[AgentServer]:
    with serve_agent() as server:
        yield server


class Caller:
    """Calls the agent for one generated project."""

    def __init__(self, records: ProjectRecords, agent: AgentServer, settings: Settings) -> None:
        self.records = records
        self.settings = settings
        self.connection = AgentConnection(conn_id="demo_agent", base_url=agent.url, token=agent.token)
        self.generated_project = open_project(records)

    def call(self, **values: Any) -> AgentCall:
        given: dict[str, Any] = {
            "step_id": "models",
            "connection": self.connection,
            "operation": "generateModels",
            "parameters": {},
            "body": {"document": "x"},
            "settings": self.settings,
        }
        return call_agent(self.records, self.generated_project.id, **(given | values))

    def recorded(self) -> AgentCall:
        return self.records.list_agent_calls(self.generated_project.id)[0]


@pytest.fixture
def caller(records: ProjectRecords, agent: AgentServer, settings: Settings) -> Caller:
    return Caller(records, agent, settings)


def test_sends_what_was_asked_and_records_the_answer(caller: Caller, agent: AgentServer) -> None:
    agent.answer(json_answer({"files": []}))
    call = caller.call(body={"document": "ü\0", "name": "abc"})
    request = agent.requests[0]
    assert (request["method"], request["path"]) == ("POST", "/v1/models")
    assert json.loads(request["body"]) == {"document": "ü\0", "name": "abc"}
    assert request["headers"]["Idempotency-Key"] == str(call.id)
    assert (call.status, call.http_status, call.response) == (AgentCallStatus.ANSWERED, 200, {"files": []})


def test_the_idempotency_key_is_the_same_for_each_try_and_another_for_each_step(
    caller: Caller, agent: AgentServer
) -> None:
    agent.answer(json_answer({}, status=500), json_answer({}))
    with pytest.raises(AgentUnavailableError):
        caller.call()
    assert caller.call().attempts == 2
    caller.call(step_id="other")
    first, second, other = [request["headers"]["Idempotency-Key"] for request in agent.requests]
    assert first == second != other


def test_places_parameters_where_the_description_says(caller: Caller, agent: AgentServer) -> None:
    agent.answer(json_answer({}))
    caller.call(operation="getItem", parameters={"item": "a/b ?", "verbose": True, "X-Trace": "t"}, body=None)
    request = agent.requests[0]
    assert (request["method"], request["path"]) == ("GET", "/v1/items/a%2Fb%20%3F?verbose=true")
    assert request["headers"]["X-Trace"] == "t"


REFUSED_BEFORE: list[tuple[dict[str, Any], type[ScaffolderError], str]] = [
    ({"operation": "generateModel"}, AgentConfigurationError, r"no operation 'generateModel'; the nearest are \['gen"),
    ({"body": {}}, AgentRejectedError, "body.: 'document' is a required property"),
    ({"body": {"document": 1}}, AgentRejectedError, "body.document: 1 is not of type 'string'"),
    ({"body": {"document": "x", "name": "A"}}, AgentRejectedError, "body.name: 'A' does not match"),
    ({"body": {"document": "x", "y": 1}}, AgentRejectedError, "'y' was unexpected"),
    ({"body": None}, AgentRejectedError, "it needs a body"),
    ({"parameters": {"z": 1}}, AgentRejectedError, r"unknown parameter 'z'; accepted are \[\]"),
    ({"operation": "getItem", "body": None}, AgentRejectedError, "parameter 'item' is required"),
    ({"operation": "getItem", "parameters": {"item": "1"}}, AgentRejectedError, "it takes no body"),
]


@pytest.mark.parametrize(("values", "error", "message"), REFUSED_BEFORE)
def test_a_request_that_does_not_fit_is_refused_before_it_is_sent(
    caller: Caller, agent: AgentServer, values: dict[str, Any], error: type[ScaffolderError], message: str
) -> None:
    with pytest.raises(error, match=message):
        caller.call(**values)
    assert agent.requests == []
    assert caller.recorded().status is AgentCallStatus.FAILED


def reset(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")


def garbage(handler: Any) -> None:
    handler.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")


BOMB = gzip.compress(b" " * 50_000_000)
BAD_ANSWERS: list[tuple[Any, type[ScaffolderError], str]] = [
    (json_answer({"detail": "boom\x1b[31m"}, status=500), AgentUnavailableError, r"answered 500: boom \[31m$"),
    (json_answer({}, status=503), AgentUnavailableError, "answered 503: no reason given"),
    (json_answer({}, status=408), AgentUnavailableError, "answered 408"),
    (json_answer({}, status=429), AgentRateLimitedError, "answered 429"),
    (json_answer({"detail": "bad document"}, status=422), AgentRejectedError, "answered 422: bad document"),
    (json_answer({"detail": "x" * 9_000}, status=400), AgentRejectedError, "answered 400: x{500}$"),
    (json_answer({}, status=403), AgentRejectedError, "Check the token of connection 'demo_agent'"),
    ((404, {"Content-Type": "text/html"}, b"<h1>" + b"x" * 90_000), AgentRejectedError, "404: no reason given"),
    ((302, {"Location": "http://169.254.169.254/"}, b""), AgentRejectedError, "answered 302, a redirect"),
    ((200, {"Content-Type": "text/html"}, b"<html>"), AgentAnswerError, "answered 'text/html'; accepted is"),
    ((200, JSON, b'{"files": ['), AgentAnswerError, "11 bytes that are no JSON"),
    ((200, JSON, b"[" * 100_000), AgentAnswerError, "no JSON: RecursionError"),
    ((200, JSON, b'{"x": NaN}'), AgentAnswerError, "no JSON"),
    ((200, JSON, b"\xff\xfe"), AgentAnswerError, "no JSON"),
    ((200, JSON | {"Content-Encoding": "gzip"}, b"no gzip"), AgentAnswerError, "broken encoding"),
    ((200, JSON | {"Content-Encoding": "gzip"}, BOMB), LimitExceededError, "more than 1000000 bytes"),
    ((200, JSON, b" " * 1_000_001), LimitExceededError, r"more than 1000000 bytes \(SCAFFOLDER_MAX_AGENT"),
    (reset, AgentUnavailableError, "cannot be reached"),
    (garbage, AgentUnavailableError, "cannot be reached"),
]


@pytest.mark.parametrize(("answer", "error", "message"), BAD_ANSWERS)
def test_a_bad_answer_is_put_into_its_class_and_on_the_record(
    caller: Caller, agent: AgentServer, answer: Any, error: type[ScaffolderError], message: str
) -> None:
    caller.settings = replace(caller.settings, max_agent_response_size=1_000_000)
    agent.answer(answer)
    with pytest.raises(error, match=message) as caught:
        caller.call()
    call = caller.recorded()
    assert (call.status, call.response, call.error) == (AgentCallStatus.FAILED, None, str(caught.value))
    assert agent.token not in str(caught.value)


def test_an_answer_of_exactly_the_limit_passes(caller: Caller, agent: AgentServer) -> None:
    caller.settings = replace(caller.settings, max_agent_response_size=1_000)
    agent.answer((200, JSON, b'"' + b"x" * 998 + b'"'))
    assert caller.call().response == "x" * 998


def test_a_slow_drip_ends_at_the_deadline(caller: Caller, agent: AgentServer) -> None:
    caller.settings = replace(caller.settings, agent_timeout_seconds=1)
    agent.answer(drip)
    with pytest.raises(AgentUnavailableError, match="took longer than 1 s"):
        caller.call()


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("-5", None), ("soon", None), ("Mon, 01 Jan 2024 00:00:00 GMT", 0)]
)
def test_retry_after_is_kept(caller: Caller, agent: AgentServer, header: str, seconds: float | None) -> None:
    agent.answer(json_answer({}, status=429, **{"Retry-After": header}))
    with pytest.raises(AgentRateLimitedError) as caught:
        caller.call()
    assert caught.value.retry_after_seconds == seconds


def test_a_wrong_token_is_permanent(caller: Caller, agent: AgentServer) -> None:
    caller.connection = replace(caller.connection, token="wrong-token")
    with pytest.raises(AgentRejectedError, match="401: wrong token. Check the token of connection") as caught:
        caller.call()
    assert "wrong-token" not in str(caught.value)
    assert agent.requests == []


def test_an_agent_that_is_down_is_transient(caller: Caller) -> None:
    caller.connection = replace(caller.connection, base_url="http://127.0.0.1:9")
    with pytest.raises(AgentUnavailableError, match=r"agent 'demo_agent' \(http://127.0.0.1:9\) cannot be reached"):
        caller.call()


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"swagger": "2.0"}, "is no OpenAPI 3 description"),
        ([], "is no OpenAPI 3 description"),
        (
            {"openapi": "3.0.0", "servers": [{"url": "https://evil.example/v1"}], "paths": {}},
            "names a server at https://evil.example; accepted is the connection's own origin",
        ),
    ],
)
def test_a_description_that_cannot_be_used_is_named(
    caller: Caller, agent: AgentServer, description: Any, message: str
) -> None:
    agent.description = description
    with pytest.raises(AgentConfigurationError, match=message):
        caller.call()
    assert agent.requests == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("http://169.254.169.254/latest", "would go to 'http://169.254.169.254/latest'; accepted is a path below"),
        ("//evil.example/x", "would go to '//evil.example/x'"),
        ("/v1/../../admin", r"would go to '/v1/\.\./\.\./admin'"),
        ("relative", "would go to 'relative'"),
    ],
)
def test_a_path_that_leads_away_from_the_agent_is_refused(
    caller: Caller, agent: AgentServer, path: str, message: str
) -> None:
    agent.description = {"openapi": "3.1.0", "paths": {path: {"get": {"operationId": "x"}}}}
    with pytest.raises(AgentRejectedError, match=message):
        caller.call(operation="x", body=None)
    assert agent.requests == []


def test_a_parameter_cannot_climb_out_of_the_path(caller: Caller, agent: AgentServer) -> None:
    with pytest.raises(AgentRejectedError, match="accepted is a path below the agent"):
        caller.call(operation="getItem", parameters={"item": ".."}, body=None)
    assert agent.requests == []


@pytest.mark.parametrize(
    "description",
    [
        {"openapi": "3.1.0", "paths": []},
        {"openapi": "3.1.0", "servers": ["x"], "paths": {"/x": {"get": {"operationId": "x"}}}},
        {"openapi": "3.1.0", "paths": {"/x": {"get": {"operationId": "x", "parameters": [{"in": "query"}]}}}},
        {"openapi": "3.1.0", "paths": {"/x": {"get": {"operationId": "x", "parameters": [{"$ref": "http://y/z"}]}}}},
    ],
)
def test_a_malformed_description_is_the_agents_error(caller: Caller, agent: AgentServer, description: Any) -> None:
    agent.description = description
    with pytest.raises(AgentConfigurationError, match="demo_agent|leads nowhere"):
        caller.call(operation="x", body=None)
    assert caller.recorded().status is AgentCallStatus.FAILED


def test_a_token_that_the_agent_repeats_is_not_kept(caller: Caller, agent: AgentServer) -> None:
    agent.answer(json_answer({"detail": f"bad Bearer {agent.token}"}, status=400))
    with pytest.raises(AgentRejectedError, match=r"bad Bearer \*\*\*"):
        caller.call()
    assert agent.token not in str(caller.recorded().error)


def test_an_answer_outlives_a_later_failure(caller: Caller, agent: AgentServer) -> None:
    agent.answer(json_answer({"files": [1]}), json_answer({}, status=500))
    first = caller.call()
    with pytest.raises(AgentUnavailableError):
        caller.call()
    assert caller.recorded().response == first.response


def test_another_request_of_one_step_has_another_key(caller: Caller, agent: AgentServer) -> None:
    agent.answer(json_answer({}))
    assert caller.call().id != caller.call(body={"document": "other"}).id


def test_a_relative_server_is_a_prefix(caller: Caller, agent: AgentServer) -> None:
    agent.description = agent.description | {"servers": [{"url": "/api/"}]}
    agent.answer(json_answer({}))
    caller.call()
    assert agent.requests[0]["path"] == "/api/v1/models"
