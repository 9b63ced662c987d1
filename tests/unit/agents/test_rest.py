from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from scaffolder.agents.contract import Answer, CallRequest, JobRule, Pages, Usage
from scaffolder.agents.openapi import OperationDefinition
from scaffolder.agents.rest.agent import RestAgent, read_usage
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentConfigurationError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    ScaffolderError,
)
from tests.job_server import Reply, RestServer, serve_rest

KEY = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}
ANSWER = {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}
DESCRIBED = {"description": "ok", "content": {"application/json": {"schema": ANSWER}}}
OPERATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "make": ("/v1/things", "post", {"parameters": [KEY]}),
    "makeOnce": ("/v1/things", "post", {}),
    "list": ("/v1/things", "get", {"parameters": [{"name": "colour", "in": "query", "schema": {"enum": ["red"]}}]}),
    "put": ("/v1/things/{id}", "put", {"parameters": [{"name": "id", "in": "path", "required": True}]}),
    "patch": ("/v1/things", "patch", {}),
    "remove": ("/v1/things", "delete", {}),
}


def define(operation_id: str) -> dict[str, Any]:
    path, method, operation = OPERATIONS[operation_id]
    body = {"content": {"application/json": {"schema": {"type": "object"}}}}
    with_body = {"requestBody": body} if method in {"post", "put", "patch"} else {}
    operation = {"operationId": operation_id, "responses": {"200": DESCRIBED}, **with_body, **operation}
    return {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {path: {method: operation}}}


class Finder:
    """What the registry is to an agent."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def find(self, client: Any, operation_id: str) -> OperationDefinition:
        self.asked.append(operation_id)
        if operation_id not in OPERATIONS:
            raise AgentConfigurationError(f"unknown operation {operation_id!r}")
        return OperationDefinition(operation_id, define(operation_id))


def call(server: RestServer, *, finder: Finder | None = None, **request: Any) -> Any:
    async def run() -> Any:
        async with RestAgent(server.connection, settings=Settings(), endpoints=finder or Finder()) as agent:
            prepared = await agent.prepare(CallRequest(**request))
            return await agent.call(prepared, idempotency_key="key-1", ledger=None)

    return asyncio.run(run())


def prepare(server: RestServer, **request: Any) -> RestAgent:
    async def run() -> RestAgent:
        agent = RestAgent(server.connection, settings=Settings(), endpoints=Finder())
        async with agent:
            await agent.prepare(CallRequest(**request))
        return agent

    return asyncio.run(run())


def test_calls_an_operation_by_its_id() -> None:
    finder = Finder()
    with serve_rest() as server:
        server.script(Reply({"ok": True}, status=200))
        answer = call(server, finder=finder, operation="put", parameters={"id": "a/b"}, body={"n": 1})
    [request] = server.requests
    assert answer == Answer(data={"ok": True}, status=200)
    assert (request.method, request.target, json.loads(request.body)) == ("PUT", "/v1/things/a%2Fb", {"n": 1})
    assert request.headers["idempotency-key"] == "key-1"
    assert request.headers["content-type"] == "application/json"
    assert finder.asked == ["put"]


def test_an_empty_answer_has_no_data() -> None:
    with serve_rest() as server:
        server.script(Reply(status=204))
        assert call(server, method="DELETE", path="/x") == Answer(data=None, status=204)


@pytest.mark.parametrize(
    "request_, message",
    [
        ({"operation": "put", "body": {}}, "parameter 'id' is required"),
        ({"operation": "list", "parameters": {"colour": "blue"}}, "parameter 'colour'"),
        ({"operation": "list", "parameters": {"color": "red"}}, "unknown parameter 'color'"),
        ({"prompt": "hello"}, "got a prompt; accepted are operation, and method with path"),
        ({"operation": "list", "job": JobRule(), "pages": Pages(kind="link")}, "it has both job and pages"),
        ({"operation": "list", "pages": Pages(kind="page")}, "pages of kind 'page' lack parameter"),
        ({"operation": "make", "job": JobRule(id="id")}, "job.id is 'id'"),
        ({"operation": "make", "body": {}, "pages": Pages(kind="link")}, "its method is POST; accepted is GET"),
    ],
)
def test_refuses_a_request_that_does_not_fit_before_anything_is_sent(request_: dict[str, Any], message: str) -> None:
    with serve_rest() as server:
        with pytest.raises(AgentRejectedError, match=message):
            prepare(server, **request_)
        assert server.requests == []


def test_an_unknown_operation_is_no_request() -> None:
    with serve_rest() as server, pytest.raises(AgentConfigurationError, match="unknown operation 'nothing'"):
        prepare(server, operation="nothing")


def test_without_records_no_operation_is_known() -> None:
    with serve_rest() as server:
        agent = RestAgent(server.connection, settings=Settings(), endpoints=None)
        with pytest.raises(AgentConfigurationError, match="'list' cannot be looked up without the records"):
            asyncio.run(agent.prepare(CallRequest(operation="list")))


@pytest.mark.parametrize(
    "request_, safe",
    [
        ({"operation": "make", "body": {}}, True),
        ({"operation": "makeOnce", "body": {}}, False),
        ({"operation": "patch", "body": {}}, False),
        ({"operation": "put", "parameters": {"id": "1"}, "body": {}}, True),
        ({"operation": "remove"}, True),
        ({"operation": "list"}, True),
        *(({"method": method, "path": "/x"}, True) for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")),
        *(({"method": method, "path": "/x"}, False) for method in ("POST", "PATCH")),
    ],
)
def test_says_what_may_be_sent_twice(request_: dict[str, Any], safe: bool) -> None:
    with serve_rest() as server:
        agent = prepare(server, **request_)
    assert agent.can_resend(CallRequest(**request_)) is safe


def test_what_was_never_prepared_is_not_sent_twice() -> None:
    with serve_rest() as server:
        assert not prepare(server, operation="make", body={}).can_resend(CallRequest(operation="list"))


def test_an_answer_that_its_description_does_not_allow_is_a_warning_or_an_error() -> None:
    with serve_rest() as server:
        server.script(Reply({"ok": "yes"}))
        answer = call(server, operation="list")
        assert answer.data == {"ok": "yes"}
        [warning] = answer.warnings
        assert "agent 'rest_agent'" in warning
        assert "answered what its description does not allow: " in warning
        refused = call(server, operation="list", on_invalid_response="refuse")
        assert (refused.warnings, refused.refusal) == ((), warning)


def test_each_flaw_of_pages_is_one_warning() -> None:
    with serve_rest() as server:
        server.script(Reply({"i": [1], "c": "?c=2"}), Reply({"i": [2], "c": "?c=3"}), Reply({"i": [3]}))
        answer = call(server, operation="list", pages=Pages(kind="cursor", items="/i", cursor="/c"))
    assert answer.data == [1, 2, 3]
    assert len(answer.warnings) == 1
    assert all("idempotency-key" not in request.headers for request in server.requests)


@pytest.mark.parametrize(
    "reply, error, in_doubt",
    [
        (Reply({"detail": "no"}, status=422), AgentRejectedError, None),
        (Reply(status=429, headers={"Retry-After": "7"}), AgentRateLimitedError, None),
        (Reply(status=500), AgentUnavailableError, True),
        (Reply(status=503), AgentUnavailableError, False),
        (Reply(content=b"<html>", headers={"Content-Type": "text/html"}), AgentAnswerError, None),
        (Reply(content=b'{"a": NaN}'), AgentAnswerError, None),
    ],
)
def test_every_failure_has_its_class(reply: Reply, error: type[ScaffolderError], in_doubt: bool | None) -> None:
    with serve_rest() as server:
        server.script(reply)
        with pytest.raises(error) as raised:
            call(server, operation="make", body={})
    assert getattr(raised.value, "in_doubt", None) is in_doubt
    assert len(server.requests) == 1


def test_the_step_says_how_long_it_waits() -> None:
    with serve_rest() as server:
        server.script(Reply({"ok": True}, delay=30))
        started = time.monotonic()
        with pytest.raises(AgentUnavailableError, match="took longer than 1 s"):
            call(server, operation="list", timeout_seconds=1)
    assert time.monotonic() - started < 5


def test_what_tells_agents_apart_is_no_secret() -> None:
    with serve_rest() as server:
        agent = prepare(server, operation="list")
    assert agent.identity == {"protocol": "rest", "base_url": server.url}


@pytest.mark.parametrize(
    "data, usage",
    [
        (None, None),
        ([1], None),
        ({"usage": "much"}, None),
        ({"usage": {"total_tokens": 5}}, None),
        ({"usage": {"input_tokens": 3, "output_tokens": 4}}, Usage(input_tokens=3, output_tokens=4)),
        (
            {"usage": {"prompt_tokens": 3, "completion_tokens": 4}, "model": "gpt\n5"},
            Usage(input_tokens=3, output_tokens=4, model="gpt 5"),
        ),
        ({"usage": {"prompt_tokens": 3}, "model": 7}, Usage(input_tokens=3)),
        ({"usage": {"input_tokens": -3, "output_tokens": True}}, None),
        ({"usage": {"input_tokens": 10**30, "output_tokens": 1}}, Usage(output_tokens=1)),
        ({"usage": {"input_tokens": "3"}}, None),
    ],
)
def test_reads_what_an_answer_says_it_has_consumed(data: Any, usage: Usage | None) -> None:
    assert read_usage(data) == usage


def test_the_usage_of_a_call_is_in_its_answer() -> None:
    with serve_rest() as server:
        server.script(Reply({"usage": {"input_tokens": 3, "output_tokens": 4}}))
        assert call(server, method="POST", path="/v1/responses", body={}).usage == Usage(
            input_tokens=3, output_tokens=4
        )
