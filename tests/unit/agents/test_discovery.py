"""What agents offer, asked of real servers: OpenAPI documents, A2A cards, MCP tools."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from scaffolder.agents.connection import AgentConnection
from scaffolder.agents.discovery.offers import explore, fetch_offer
from scaffolder.agents.http.authentication import BearerToken
from scaffolder.agents.http.transport import AgentClient
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentConfigurationError,
    AgentRejectedError,
    AgentUnavailableError,
    LimitExceededError,
    ScaffolderError,
)
from scaffolder.records.endpoints import Offer
from scaffolder.records.models import AgentDescription
from tests.description_server import TOKEN, DescriptionServer, serve_descriptions
from tests.servers import DESCRIPTION

SKILL = {"id": "review", "name": "Review", "description": "Reviews files.", "tags": ["code"]}


@pytest.fixture
def server() -> Iterator[DescriptionServer]:
    with serve_descriptions() as served:
        yield served


def connect(server: DescriptionServer, **values: Any) -> AgentConnection:
    return AgentConnection(conn_id="agent", base_url=server.url, authentication=BearerToken(token=TOKEN), **values)


def fetch(
    connection: AgentConnection,
    settings: Settings,
    *,
    known: AgentDescription | None = None,
    timeout_seconds: float | None = None,
) -> Offer | None:
    async def run() -> Offer | None:
        async with AgentClient(connection, settings=settings) as client:
            return await fetch_offer(client, known=known, timeout_seconds=timeout_seconds)

    return asyncio.run(run())


def get(connection: AgentConnection, settings: Settings) -> Offer:
    offer = fetch(connection, settings)
    assert offer is not None
    return offer


def remember(offer: Offer) -> AgentDescription:
    names = ("kind", "source", "title", "version", "description", "etag", "digest")
    now = datetime.now(UTC)
    values = {name: getattr(offer, name) for name in names}
    return AgentDescription(**values, connection="agent", warnings=[], checked_at=now, changed_at=now)


# OpenAPI


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/yaml", "text/plain", "application/octet-stream"]
)
def test_an_openapi_document_is_fetched_with_the_connections_credentials(
    server: DescriptionServer, settings: Settings, media_type: str
) -> None:
    server.serve(DESCRIPTION, media_type=media_type)
    offer = get(connect(server), settings)
    assert [one.operation_id for one in offer.endpoints] == ["generateModels", "getItem"]
    assert (offer.kind, offer.source, offer.title) == ("openapi", f"{server.url}/openapi.json", "Test agent")
    assert offer.etag
    assert server.requests[0][2]["authorization"] == f"Bearer {TOKEN}"


def test_a_description_may_be_yaml_below_the_base_url(server: DescriptionServer, settings: Settings) -> None:
    text = b"openapi: 3.0.3\ninfo: {title: A}\nservers: [{url: ../v1}]\npaths: {/x: {get: {operationId: x}}}"
    server.serve(text, "/base/docs/api.yaml", "application/yaml")
    connection = replace(connect(server), base_url=f"{server.url}/base", description_path="/docs/api.yaml")
    offer = get(connection, settings)
    assert offer.endpoints[0].definition["servers"] == [{"url": "/v1"}]


def test_an_unchanged_description_is_neither_sent_nor_read_again(server: DescriptionServer, settings: Settings) -> None:
    server.serve(DESCRIPTION)
    known = remember(get(connect(server), settings))
    assert fetch(connect(server), settings, known=known) is None
    assert server.requests[-1][2]["if-none-match"] == known.etag
    # Without the ETag the same text still is the same.
    assert fetch(connect(server), settings, known=replace(known, etag=None)) is None
    assert "if-none-match" not in server.requests[-1][2]
    server.serve({**DESCRIPTION, "info": {"title": "New"}})
    changed = fetch(connect(server), settings, known=known)
    assert changed is not None
    assert changed.title == "New"


def test_what_was_read_somewhere_else_is_read_again(server: DescriptionServer, settings: Settings) -> None:
    server.serve(DESCRIPTION)
    known = replace(remember(get(connect(server), settings)), source="https://former.example.com/openapi.json")
    assert fetch(connect(server), settings, known=known) is not None
    assert "if-none-match" not in server.requests[-1][2]


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        (b"<html></html>", AgentAnswerError, "has a page where its description should be"),
        (b'{"openapi": "3.1.0"', AgentAnswerError, "has a description that is no JSON"),
        (b"", AgentConfigurationError, "is no OpenAPI document"),
        (b'{"swagger": "2.0"}', AgentConfigurationError, "is Swagger 2.0; accepted is OpenAPI 3"),
        (
            json.dumps({**DESCRIPTION, "servers": [{"url": "http://169.254.169.254/latest"}]}).encode(),
            AgentConfigurationError,
            "names a server at http://169.254.169.254; accepted is the connection's own",
        ),
    ],
)
def test_what_is_no_usable_description_is_refused(
    server: DescriptionServer, settings: Settings, document: bytes, error: type[ScaffolderError], message: str
) -> None:
    server.serve(document)
    with pytest.raises(error) as caught:
        fetch(connect(server), settings)
    assert message in str(caught.value)


def test_failures_of_the_agent_keep_their_class(server: DescriptionServer, settings: Settings) -> None:
    with pytest.raises(AgentRejectedError, match="answered 404"):
        fetch(connect(server), settings)
    server.failure = 503
    with pytest.raises(AgentUnavailableError, match="answered 503"):
        fetch(connect(server), settings)
    server.failure, settings = None, replace(settings, max_agent_response_size=1_024)
    server.serve({**DESCRIPTION, "x": "y" * 2_000})
    with pytest.raises(LimitExceededError, match="more than 1024 bytes"):
        fetch(connect(server), settings)


# A2A


def make_card(url: str, **values: Any) -> dict[str, Any]:
    interfaces = [{"url": f"{url}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]
    return {"name": "Reviewer", "version": "2", "description": "It reviews.", "skills": [SKILL]} | {
        "supportedInterfaces": interfaces,
        **values,
    }


def connect_a2a(server: DescriptionServer) -> AgentConnection:
    return connect(server, conn_type="a2a", description_path="/.well-known/agent-card.json")


def test_the_skills_of_a_card_are_endpoints(server: DescriptionServer, settings: Settings) -> None:
    server.serve(make_card(server.url), "/.well-known/agent-card.json")
    offer = get(connect_a2a(server), settings)
    assert (offer.kind, offer.title, offer.version, offer.warnings) == ("a2a", "Reviewer", "2", ())
    (skill,) = offer.endpoints
    assert (skill.operation_id, skill.method, skill.path, skill.summary) == ("review", "SKILL", "", "Review")
    assert skill.definition["skill"]["tags"] == ["code"]
    assert fetch(connect_a2a(server), settings, known=remember(offer)) is None


def test_a_card_without_an_address_of_its_own_is_refused(server: DescriptionServer, settings: Settings) -> None:
    server.serve(make_card("http://evil.example.com"), "/.well-known/agent-card.json")
    with pytest.raises(AgentConfigurationError, match=f"has no address at {server.url}"):
        fetch(connect_a2a(server), settings)


def test_other_addresses_and_nameless_skills_are_warnings(server: DescriptionServer, settings: Settings) -> None:
    card = make_card(server.url, skills=[SKILL, SKILL, {"description": "x"}, {"id": "a\x1bb"}, "text"])
    card["supportedInterfaces"].append({"url": "https://other.example.com/x?token=1", "protocolBinding": "GRPC"})
    server.serve(card, "/.well-known/agent-card.json")
    offer = get(connect_a2a(server), settings)
    assert [one.operation_id for one in offer.endpoints] == ["review"]
    assert offer.warnings == (
        "the address https://other.example.com is not used: it is another origin",
        "skill 'review' is left out: it has no name of its own",
        "skill '' is left out: it has no name of its own",
        "skill 'a b' is left out: it has no name of its own",
    )


# MCP


TOOLS = [{"name": f"tool{index}", "description": "First line.\nSecond.", "inputSchema": {}} for index in range(5)]


def connect_mcp(server: DescriptionServer) -> AgentConnection:
    return connect(server, description_kind="mcp", description_path="/mcp")


@pytest.mark.parametrize("as_events", [False, True])
def test_the_tools_of_an_mcp_server_are_endpoints(
    server: DescriptionServer, settings: Settings, as_events: bool
) -> None:
    server.tools, server.cursors, server.as_events = [TOOLS[:2], TOOLS[2:4], TOOLS[4:]], ["p2", "p3"], as_events
    offer = get(connect_mcp(server), settings)
    assert (offer.kind, offer.title, offer.version, offer.description) == ("mcp", "Test tools", "3", "Use them well.")
    assert [one.operation_id for one in offer.endpoints] == [f"tool{index}" for index in range(5)]
    assert (offer.endpoints[0].method, offer.endpoints[0].summary) == ("TOOL", "First line.")
    assert offer.endpoints[0].definition == {"tool": TOOLS[0]}
    asked = [(method, json.loads(body)["method"] if body else "") for method, _, _, body in server.requests]
    assert asked == [
        ("POST", "initialize"),
        ("POST", "notifications/initialized"),
        *[("POST", "tools/list")] * 3,
        ("DELETE", ""),
    ]
    headers = server.requests[2][2]
    assert (headers["mcp-session-id"], headers["mcp-protocol-version"]) == ("session-1", "2025-06-18")
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert fetch(connect_mcp(server), settings, known=remember(offer)) is None


def test_a_tool_that_is_too_large_is_shown_without_its_schemas(server: DescriptionServer, settings: Settings) -> None:
    server.tools = [[{"name": "big", "description": "d", "inputSchema": {"description": "x" * 300_000}}]]
    offer = get(connect_mcp(server), settings)
    assert offer.endpoints[0].definition == {"tool": {"name": "big", "description": "d"}}
    assert "tool 'big' is shown without its schemas" in offer.warnings[0]


@pytest.mark.parametrize(
    ("method", "answer", "error", "message"),
    [
        ("initialize", {"result": {}}, AgentAnswerError, "names no version of MCP"),
        ("initialize", {"result": 5}, AgentAnswerError, "answered 'initialize' without a result"),
        (
            "initialize",
            {"error": {"code": -32602, "message": "no\x1b[31m"}},
            AgentRejectedError,
            "refused 'initialize': no [31m",
        ),
        ("initialize", {"id": 99, "result": {}}, AgentAnswerError, "without a response to it"),
        ("tools/list", {"result": {}}, AgentAnswerError, "answered 'tools/list' without tools"),
        (
            "tools/list",
            {"result": {"tools": [], "nextCursor": "again"}},
            AgentAnswerError,
            "with a cursor that leads in a circle",
        ),
        (
            "tools/list",
            {"result": {"tools": [{"name": "x"}] * 10_001, "nextCursor": "2"}},
            LimitExceededError,
            "lists more than 10000 tools",
        ),
    ],
)
def test_an_mcp_server_that_misbehaves_is_refused(
    server: DescriptionServer,
    settings: Settings,
    method: str,
    answer: dict[str, Any],
    error: type[ScaffolderError],
    message: str,
) -> None:
    server.tools, server.mcp_answers = [[]], {method: answer}
    with pytest.raises(error) as caught:
        fetch(connect_mcp(server), settings)
    assert message in str(caught.value)


def test_all_pages_of_tools_together_are_bounded(server: DescriptionServer, settings: Settings) -> None:
    pages = [[{"name": f"t{index}", "description": "x" * 20_000}] for index in range(3)]
    server.tools, server.cursors = pages, ["p2", "p3"]
    assert len(get(connect_mcp(server), replace(settings, max_agent_response_size=65_536)).endpoints) == 3
    with pytest.raises(LimitExceededError, match="answered more than 50000 bytes in all"):
        fetch(connect_mcp(server), replace(settings, max_agent_response_size=50_000))


@pytest.mark.parametrize("timeout_seconds", [None, 1.0])
def test_a_session_has_one_deadline(
    server: DescriptionServer, settings: Settings, timeout_seconds: float | None
) -> None:
    server.tools, server.cursors, server.delay_seconds = [[]] * 20, [str(index) for index in range(19)], 0.3
    started = time.monotonic()
    if timeout_seconds is None:
        settings = replace(settings, agent_timeout_seconds=1)
    with pytest.raises(AgentUnavailableError, match="took longer than"):
        fetch(connect_mcp(server), settings, timeout_seconds=timeout_seconds)
    assert time.monotonic() - started < 2
    assert len(server.requests) <= 4


# What nobody has said the kind of


def look(server: DescriptionServer, path: str, settings: Settings) -> Offer:
    async def run() -> Offer:
        async with AgentClient(AgentConnection(conn_id="x", base_url=server.url), settings=settings) as client:
            return await explore(client, path)

    return asyncio.run(run())


def test_an_agent_is_known_by_what_it_says(server: DescriptionServer, settings: Settings) -> None:
    elsewhere = {**DESCRIPTION, "servers": [{"url": "https://elsewhere.example.com"}]}
    server.serve(elsewhere, "/spec?v=1")
    server.serve(elsewhere, "/below/openapi.json")
    assert look(server, "/spec?v=1", settings).servers == ("https://elsewhere.example.com",)
    assert look(server, "/below/", settings).source == f"{server.url}/below/openapi.json"
    server.serve(make_card("https://elsewhere.example.com"), "/.well-known/agent-card.json")
    assert look(server, "/", settings).kind == "a2a"
    server.documents.clear()
    server.tools = [TOOLS]
    assert look(server, "/mcp", settings).kind == "mcp"
    assert all("authorization" not in headers for _, _, headers, _ in server.requests)


def test_all_that_was_tried_is_named(server: DescriptionServer, settings: Settings) -> None:
    server.serve(b'{"hello": 1}', "/here")
    with pytest.raises(AgentConfigurationError) as caught:
        look(server, "/here", settings)
    for expected in (
        "says what it offers",
        "GET /here: ",
        "is neither an OpenAPI document nor an A2A card",
        "GET /here/openapi.json: ",
        "GET /.well-known/agent-card.json: ",
        "MCP at /here: ",
    ):
        assert expected in str(caught.value)


def test_an_agent_that_is_away_is_unavailable(server: DescriptionServer, settings: Settings) -> None:
    server.failure = 503
    with pytest.raises(AgentUnavailableError, match="answered 503"):
        look(server, "/", settings)


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_one_place_that_is_away_does_not_hide_the_others(
    server: DescriptionServer, settings: Settings, how: str
) -> None:
    server.tools = [TOOLS]
    server.get_behaviour = how  # type: ignore[assignment]  # a str, but one of its words
    offer = look(server, "/mcp", replace(settings, agent_timeout_seconds=1))
    assert (offer.kind, len(offer.endpoints)) == ("mcp", 5)


def test_the_digest_is_that_of_the_text(server: DescriptionServer, settings: Settings) -> None:
    server.serve(DESCRIPTION)
    assert get(connect(server), settings).digest == hashlib.sha256(server.documents["/openapi.json"][1]).hexdigest()
