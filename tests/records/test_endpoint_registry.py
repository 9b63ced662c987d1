"""How calls find their operation: in the records, or in the agent's own description, then recorded."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from scaffolder.agents.connection import AgentConnection
from scaffolder.agents.discovery.registry import EndpointRegistry, find_supplied
from scaffolder.agents.http.authentication import BearerToken, HeaderKey, QueryKey
from scaffolder.agents.http.transport import AgentClient
from scaffolder.agents.openapi import OperationDefinition
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentConfigurationError,
    AgentRejectedError,
    AgentUnavailableError,
    PermanentError,
    ScaffolderError,
)
from scaffolder.records.store import ProjectRecords
from tests.description_server import TOKEN, DescriptionServer, serve_descriptions
from tests.servers import DESCRIPTION


class Caller:
    """Somebody who looks operations up, in a client of their own each time."""

    def __init__(self, server: DescriptionServer, records: ProjectRecords, settings: Settings) -> None:
        self.server = server
        self.settings = settings
        self._records = records
        self.connection = AgentConnection(conn_id="agent", base_url=server.url, authentication=BearerToken(token=TOKEN))

    def find(self, operation_id: str) -> OperationDefinition:
        async def run() -> OperationDefinition:
            async with AgentClient(self.connection, settings=self.settings) as client:
                return await EndpointRegistry(self._records.endpoints, self.settings).find(client, operation_id)

        return asyncio.run(run())


@pytest.fixture
def caller(records: ProjectRecords, settings: Settings) -> Iterator[Caller]:
    with serve_descriptions() as server:
        server.serve(DESCRIPTION)
        yield Caller(server, records, settings)


def make_old(connection: psycopg.Connection[Any]) -> None:
    connection.execute("UPDATE agent_description SET checked_at = now() - interval '25 hours'")


def test_the_description_is_loaded_once_and_the_operation_built(caller: Caller) -> None:
    operation = caller.find("getItem")
    assert operation.build({"item": "a/b", "verbose": True}, None).path == "/v1/items/a%2Fb"
    assert caller.find("generateModels").takes_idempotency_key
    assert len(caller.server.requests) == 1


def test_an_old_description_is_asked_for_again(caller: Caller, connection: psycopg.Connection[Any]) -> None:
    caller.find("getItem")
    make_old(connection)
    caller.find("getItem")
    assert [headers.get("if-none-match") is None for _, _, headers, _ in caller.server.requests] == [True, False]
    caller.find("getItem")
    assert len(caller.server.requests) == 2


@pytest.mark.parametrize("trouble", ["down", "503", "404", "page", "limit"])
def test_an_old_description_is_used_where_there_is_no_newer_one(
    caller: Caller, connection: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    caller.find("getItem")
    make_old(connection)
    if trouble == "down":
        # Nothing listens there.
        away = "http://127.0.0.1:9"
        connection.execute("UPDATE agent_description SET base_url = %s, source = %s", (away, f"{away}/openapi.json"))
        caller.connection = replace(caller.connection, base_url=away)
    elif trouble == "503":
        caller.server.failure = 503
    elif trouble == "404":
        caller.server.documents.clear()
    elif trouble == "page":
        caller.server.serve(b"<html>")
    else:
        caller.server.serve({**DESCRIPTION, "x": "y" * 5_000})
        caller.settings = replace(caller.settings, max_agent_response_size=2_048)
    caplog.set_level(logging.WARNING)
    assert caller.find("getItem").id == "getItem"
    assert "The description of an earlier time is used, as there is no newer one: " in caplog.text


def test_a_description_that_leads_elsewhere_is_refused_even_where_an_older_one_is_there(
    caller: Caller, connection: psycopg.Connection[Any]
) -> None:
    caller.find("getItem")
    make_old(connection)
    caller.server.serve({**DESCRIPTION, "servers": [{"url": "http://evil.example.com"}]})
    with pytest.raises(AgentConfigurationError, match="names a server at http://evil.example.com"):
        caller.find("getItem")


@pytest.mark.parametrize(
    ("status", "error"), [(503, AgentUnavailableError), (401, AgentRejectedError), (404, AgentRejectedError)]
)
def test_without_any_description_the_failure_is_the_calls(
    caller: Caller, status: int, error: type[ScaffolderError]
) -> None:
    caller.server.failure = status
    with pytest.raises(error):
        caller.find("getItem")


def test_an_unknown_operation_is_looked_for_once_more_and_the_nearest_named(caller: Caller) -> None:
    with pytest.raises(
        AgentConfigurationError, match=r"'agent' has no operation 'getItme'; the nearest are \['getItem'\]"
    ):
        caller.find("getItme")
    assert len(caller.server.requests) == 1
    with pytest.raises(AgentConfigurationError, match=r"accepted are \['generateModels', 'getItem'\]"):
        caller.find("zzz")
    assert len(caller.server.requests) == 2


def test_an_operation_that_has_come_since_is_found(caller: Caller) -> None:
    caller.find("getItem")
    added = {"get": {"operationId": "brandNew", "responses": {}}}
    caller.server.serve({**DESCRIPTION, "paths": {**DESCRIPTION["paths"], "/new": added}})
    assert caller.find("brandNew").path == "/new"


def test_an_operation_that_is_gone_is_not_called(caller: Caller, connection: psycopg.Connection[Any]) -> None:
    caller.find("getItem")
    paths = {"/v1/models": DESCRIPTION["paths"]["/v1/models"]}
    caller.server.serve({**DESCRIPTION, "paths": paths})
    make_old(connection)
    with pytest.raises(AgentConfigurationError, match="has no operation 'getItem' any more; "):
        caller.find("getItem")


def test_a_tool_is_no_operation(caller: Caller) -> None:
    caller.server.tools = [[{"name": "search", "inputSchema": {}}]]
    caller.connection = replace(caller.connection, description_kind="mcp", description_path="/mcp")
    with pytest.raises(PermanentError, match="'search' is none of OpenAPI"):
        caller.find("search")


def test_a_setting_of_zero_asks_every_time(caller: Caller) -> None:
    caller.settings = replace(caller.settings, agent_description_max_age_seconds=0)
    caller.find("getItem")
    caller.find("getItem")
    assert len(caller.server.requests) == 2


def test_looking_up_what_is_known_takes_milliseconds(caller: Caller) -> None:
    caller.find("getItem")
    started = time.monotonic()
    for _ in range(20):
        caller.find("getItem")
    assert (time.monotonic() - started) / 20 < 0.1


def test_credentials_of_the_connection_count_as_given() -> None:
    assert find_supplied(HeaderKey(name="X-API-Key", key="k")) == {("header", "x-api-key")}
    assert find_supplied(QueryKey(name="apiKey", key="k")) == {("query", "apiKey")}
    assert find_supplied(BearerToken(token="t")) == frozenset()


def test_a_connection_that_leads_elsewhere_is_looked_at_again(caller: Caller) -> None:
    path = f"{caller.server.url}/openapi.json"
    caller.connection = replace(caller.connection, description_path=path)
    caller.server.serve({**DESCRIPTION, "servers": [{"url": "/v2"}]})
    assert caller.find("getItem").build({"item": "a"}, None).path == "/v2/v1/items/a"
    # The same text, read at the same place, says something else of another base URL.
    caller.connection = replace(caller.connection, base_url=f"{caller.server.url}/v2")
    assert caller.find("getItem").build({"item": "a"}, None).path == "/v1/items/a"
    assert len(caller.server.requests) == 2
    caller.find("getItem")
    assert len(caller.server.requests) == 2
    # What is known of the one place is nothing to fall back on at another.
    caller.connection = replace(caller.connection, base_url="http://127.0.0.1:9", description_path="/openapi.json")
    with pytest.raises(AgentUnavailableError):
        caller.find("getItem")
