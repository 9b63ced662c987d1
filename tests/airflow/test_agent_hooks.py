"""Agents through Airflow's connections: what the hooks read, mask and find out, and which agent a connection opens."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from scaffolder.agents.hook import A2aHook, AgentApiHook, aopen_agent, open_agent
from scaffolder.agents.http.authentication import BearerToken
from scaffolder.config import Settings
from scaffolder.errors import AgentConfigurationError
from scaffolder.provider import get_provider_info
from tests.misbehaving import MisbehavingServer, misbehave, respond

TOKEN = "agent-token-7c8d9e"


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(conn_id: str, **fields: Any) -> str:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return conn_id

    return put


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with misbehave(respond({})) as server:
        yield server


def test_a_connection_is_read(connections: Any) -> None:
    connections("agent", conn_type="agent_api", host="https://agent.example.com/v1", port=8443, password=TOKEN)
    connection = AgentApiHook("agent").get_conn()
    assert (connection.conn_id, connection.base_url) == ("agent", "https://agent.example.com:8443/v1")
    assert connection.authentication == BearerToken(token=TOKEN)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"conn_type": "http"}, "connection 'agent' is of type 'http'; accepted is 'agent_api' or 'a2a' or 'pydanticai'"),
    ({"conn_type": "pydanticai_azure"}, "connection 'agent' is of type 'pydanticai_azure'; accepted is 'agent_api'"),
    ({"conn_type": "agent_api", "host": "https://a"}, "connection 'agent' has no token"),
    ({"conn_type": "a2a", "host": "https://a"}, "connection 'agent' has no token"),
    ({"conn_type": "agent_api", "extra": '{"auth": "none"'}, "connection 'agent' has an extra that is no JSON"),
    ({"conn_type": "agent_api", "extra": '["auth"]'}, "connection 'agent' has an extra that is no JSON object"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_a_connection_that_cannot_be_used_is_refused(
    connections: Any, settings: Settings, fields: dict[str, Any], message: str
) -> None:
    connections("agent", **fields)
    with pytest.raises(AgentConfigurationError, match=message):
        open_agent("agent", settings=settings, records=None)
    with pytest.raises(AgentConfigurationError, match=message):
        asyncio.run(aopen_agent("agent", settings=settings))


def test_a_connection_that_is_not_there_is_named(settings: Settings) -> None:
    message = "there is no connection 'nobody'; accepted is one of type 'agent_api' or 'a2a' or 'pydanticai'"
    with pytest.raises(AgentConfigurationError, match=message):
        open_agent("nobody", settings=settings, records=None)
    with pytest.raises(AgentConfigurationError, match=message):
        asyncio.run(aopen_agent("nobody", settings=settings))
    with pytest.raises(
        AgentConfigurationError, match="there is no connection 'nobody'; accepted is one of type 'a2a'$"
    ):
        A2aHook("nobody").get_conn()


KINDS: list[tuple[dict[str, Any], str]] = [
    ({"conn_type": "agent_api", "host": "http://127.0.0.1:9"}, "scaffolder.agents.rest.agent.RestAgent"),
    ({"conn_type": "a2a", "host": "http://127.0.0.1:9"}, "scaffolder.agents.a2a.agent.A2aAgent"),
    ({"conn_type": "pydanticai", "extra": {"model": "openai:gpt-5"}}, "scaffolder.agents.llm.agent.LlmAgent"),
]


@pytest.mark.parametrize(("fields", "expected"), KINDS)
@pytest.mark.parametrize("way", ["task", "triggerer"])
def test_the_type_of_a_connection_says_which_agent_it_opens(
    connections: Any, settings: Settings, fields: dict[str, Any], expected: str, way: str
) -> None:
    from airflow.sdk.log import redact

    token = f"{way}-{fields['conn_type']}-t0ken"
    connections("agent", **fields, password=token)

    async def run() -> Any:
        if way == "task":
            agent = open_agent("agent", settings=settings, records=None)
        else:
            agent = await aopen_agent("agent", settings=settings)
        async with agent:
            return agent

    agent = asyncio.run(run())
    assert f"{type(agent).__module__}.{type(agent).__qualname__}" == expected
    assert agent.conn_id == "agent"
    assert token not in json.dumps(dict(agent.identity))
    assert redact(f"Bearer {token}") == "Bearer ***"


@pytest.mark.parametrize(
    ("conn_type", "module", "extra"), [("a2a", "a2a", "a2a"), ("pydanticai", "pydantic_ai", "llm")]
)
def test_a_library_that_is_not_installed_is_named(
    connections: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, conn_type: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    connections(
        "agent",
        conn_type=conn_type,
        host="https://a",
        password=TOKEN,
        extra={"model": "openai:gpt-5"} if extra == "llm" else {},
    )
    with pytest.raises(AgentConfigurationError, match=rf"pip install 'airflow-scaffolder\[{extra}\]'"):
        open_agent("agent", settings=settings, records=None)


@pytest.mark.parametrize("way", ["hook", "task", "triggerer"])
def test_the_forms_in_which_a_secret_is_sent_are_masked_too(connections: Any, settings: Settings, way: str) -> None:
    from airflow.sdk.log import redact

    fields = {"conn_type": "agent_api", "host": "http://127.0.0.1:9", "login": "ada", "password": f"p4ss-{way}"}
    connections("agent", **fields, extra={"auth": "basic"})
    if way == "hook":
        AgentApiHook("agent").get_conn()
    elif way == "task":
        open_agent("agent", settings=settings, records=None)
    else:
        asyncio.run(aopen_agent("agent", settings=settings))
    sent = base64.b64encode(f"ada:p4ss-{way}".encode()).decode()
    assert redact(f"Basic {sent}") == "Basic ***"


CARD = {"name": "Coder", "version": "1", "skills": [{"id": "a", "name": "A"}]}
MCP: dict[str, Any] = {"extra": {"description_kind": "mcp"}}
INITIALIZED = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "Tools"}}
ANSWERS: list[tuple[dict[str, Any], Any, tuple[bool, str]]] = [
    ({}, respond({"openapi": "3.1.0", "info": {"title": "Te\x1bst"}}), (True, "The agent describes itself as 'Te st'")),
    ({}, respond({}), (True, "The agent describes itself as nothing in particular")),
    ({}, respond(b"openapi: 3.1.0", headers={"Content-Type": "application/yaml"}), (True, "itself in YAML at '/open")),
    ({}, respond({}, status=404), (True, "The agent is there, but nothing describes it at '/openapi.json'")),
    ({}, respond({"detail": "no"}, status=401), (False, "answered 401: no. Check the credentials")),
    ({}, respond({}, status=503), (False, "answered 503")),
    ({}, respond([]), (False, "has no description at '/openapi.json'; accepted is an OpenAPI document")),
    ({}, respond(b"<html>", headers={"Content-Type": "text/html"}), (False, "answered 200 as 'text/html'")),
    ({"extra": {"auth": "digest"}}, respond({}), (False, "connection 'agent' has auth 'digest'")),
    (
        MCP,
        respond({"jsonrpc": "2.0", "id": 1, "result": INITIALIZED}),
        (True, "MCP server at '/mcp' names itself 'Tools'"),
    ),
    (MCP, respond({"info": {}}), (False, "agent 'agent' (http://127.0.0.1:")),
    (MCP, respond({}, status=405), (False, "answered 405")),
    ({"conn_type": "a2a"}, respond(CARD), (False, "has a card without an address of its own; accepted is one at http")),
    ({"conn_type": "a2a"}, respond({}, status=404), (False, "answered 404")),
]


@pytest.mark.parametrize(("fields", "behaviour", "expected"), ANSWERS)
def test_the_test_of_a_connection_says_what_it_found(
    connections: Any, server: MisbehavingServer, fields: dict[str, Any], behaviour: Any, expected: tuple[bool, str]
) -> None:
    server.behave(behaviour)
    connections("agent", **({"conn_type": "agent_api", "host": server.url, "password": TOKEN} | fields))
    hook = A2aHook("agent") if fields.get("conn_type") == "a2a" else AgentApiHook("agent")
    works, sentence = hook.test_connection()
    assert works is expected[0]
    assert expected[1] in sentence
    assert TOKEN not in sentence


def test_a_card_with_an_address_of_its_own_is_found(connections: Any, server: MisbehavingServer) -> None:
    interface = {"url": f"{server.url}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    server.behave(respond(CARD | {"supportedInterfaces": [interface]}))
    connections("agent", conn_type="a2a", host=server.url, password=TOKEN)
    assert A2aHook("agent").test_connection() == (True, "The agent's card names it 'Coder', with 1 skill(s)")
    assert server.requests[0].target == "/.well-known/agent-card.json"
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_the_forms_offer_what_connections_accept(connections: Any) -> None:
    from scaffolder.agents.connection import _EXTRAS

    types = {one["connection-type"]: one for one in get_provider_info()["connection-types"]}
    assert set(types["agent_api"]["conn-fields"]) == _EXTRAS
    assert set(types["a2a"]["conn-fields"]) == _EXTRAS - {"description_kind"}
    # What a form holds before anybody has touched it is a connection that works.
    for name, hook in (("agent_api", AgentApiHook), ("a2a", A2aHook)):
        fields = types[name]["conn-fields"]
        extra = {field: one["schema"].get("default") for field, one in fields.items()}
        connections("agent", conn_type=name, host="https://agent.example.com", password=TOKEN, extra=extra)
        assert hook("agent").get_conn().authentication == BearerToken(token=TOKEN)


def test_airflow_hides_the_secret_fields_by_their_names_and_shows_the_others() -> None:
    from airflow.sdk._shared.secrets_masker import should_hide_value_for_key

    fields = {name for one in get_provider_info()["connection-types"] for name in one.get("conn-fields", ())}
    hidden = {name for name in fields if should_hide_value_for_key(name)}
    assert hidden == {
        "client_private_key",
        "client_private_key_passphrase",
        "private_key",
        "private_key_passphrase",
    }
