"""Every kind of authentication against a server that looks at it; OAuth tokens with an endpoint that counts."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest

from scaffolder.agents.connection import AgentConnection
from scaffolder.agents.http import oauth
from scaffolder.agents.http.authentication import (
    Authentication,
    BasicCredentials,
    BearerToken,
    ClientCredentials,
    HeaderKey,
    NoAuthentication,
    QueryKey,
)
from scaffolder.agents.http.transport import AgentClient, HttpRequest
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    LimitExceededError,
    ScaffolderError,
)
from tests.misbehaving import (
    Behaviour,
    MisbehavingServer,
    Wire,
    WireRequest,
    drip,
    hang,
    head,
    make_bomb,
    misbehave,
    respond,
)

SECRET = "cl13nt s3cret/ü"
POST = HttpRequest(method="POST", path="/x", content=b"{}", content_type="application/json")


@pytest.fixture(autouse=True)
def _no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth, "_tokens", {})


@pytest.fixture
def agent() -> Iterator[MisbehavingServer]:
    with misbehave(respond({"ok": True})) as server:
        yield server


@pytest.fixture
def endpoint() -> Iterator[MisbehavingServer]:
    """A token endpoint; on an origin of its own."""
    with misbehave(issue("token-a")) as server:
        yield server


def issue(text: str, **values: Any) -> Behaviour:
    """Answer with an access token."""
    return respond({"access_token": text, "token_type": "bearer", "expires_in": 3_600} | values)


def accept(*tokens: str) -> Behaviour:
    """Answer 401 to other tokens than these."""

    def behave(wire: Wire, request: WireRequest) -> None:
        known = request.headers.get("authorization", "").removeprefix("Bearer ") in tokens
        respond({"ok": True} if known else {"detail": "who?"}, status=200 if known else 401)(wire, request)

    return behave


def connect(agent: MisbehavingServer, authentication: Authentication) -> AgentConnection:
    return AgentConnection(conn_id="test_agent", base_url=agent.url, authentication=authentication)


def client_of(agent: MisbehavingServer, endpoint: MisbehavingServer, **values: Any) -> AgentConnection:
    given = {"url": f"{endpoint.url}/oauth/token?tenant=1", "client_id": "client:1", "client_secret": SECRET}
    return connect(agent, ClientCredentials(**(given | values)))


def send(connection: AgentConnection, settings: Settings, *, times: int = 1, **options: Any) -> list[str]:
    """Send so many requests at once, with one client; return the secrets that came up."""
    seen: list[str] = []

    async def run() -> None:
        async with AgentClient(connection, settings=settings, on_secret=seen.append) as client:
            await asyncio.gather(*(client.send(POST, **options) for _ in range(times)))

    asyncio.run(run())
    return seen


CARRIED: list[tuple[Authentication, dict[str, str | None], str]] = [
    (NoAuthentication(), {"authorization": None}, "/x"),
    (BearerToken(token="t0ken"), {"authorization": "Bearer t0ken"}, "/x"),
    (BasicCredentials(username="ada", password="pä:ss"), {"authorization": "Basic YWRhOnDDpDpzcw=="}, "/x"),
    (HeaderKey(name="X-API-Key", key="k3y"), {"authorization": None, "x-api-key": "k3y"}, "/x"),
    (QueryKey(name="api key", key="k3y&/ü"), {"authorization": None}, "/x?api%20key=k3y%26%2F%C3%BC"),
]


@pytest.mark.parametrize(("authentication", "headers", "target"), CARRIED)
def test_each_kind_is_where_the_agent_looks_for_it(
    agent: MisbehavingServer,
    settings: Settings,
    authentication: Authentication,
    headers: dict[str, str | None],
    target: str,
) -> None:
    send(connect(agent, authentication), settings)
    request = agent.requests[0]
    assert {name: request.headers.get(name) for name in headers} == headers
    assert request.target == target


def test_a_key_in_the_query_is_in_no_message(agent: MisbehavingServer, settings: Settings) -> None:
    agent.behave(respond({"detail": "no such thing: /x?key=k3y%2Fs3cret (k3y/s3cret)"}, status=404))
    with pytest.raises(AgentRejectedError, match=r"404: no such thing: /x\?key=\*\*\* \(\*\*\*\)$"):
        send(connect(agent, QueryKey(name="key", key="k3y/s3cret")), settings)


def test_a_client_fetches_its_token_with_its_secret_in_the_header(
    agent: MisbehavingServer, endpoint: MisbehavingServer, settings: Settings
) -> None:
    agent.behave(accept("token-a"))
    seen = send(client_of(agent, endpoint, scope="read write", audience="agents"), settings)
    asked = endpoint.requests[0]
    assert (asked.method, asked.target) == ("POST", "/oauth/token?tenant=1")
    encoded = base64.b64encode(b"client%3A1:cl13nt+s3cret%2F%C3%BC").decode()
    assert asked.headers["authorization"] == f"Basic {encoded}"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    form = {"grant_type": ["client_credentials"], "scope": ["read write"], "audience": ["agents"]}
    assert parse_qs(asked.body.decode()) == form
    assert seen == ["token-a"]
    assert "cl13nt" not in str(agent.requests)


def test_a_client_fetches_its_token_with_its_secret_in_the_form(
    agent: MisbehavingServer, endpoint: MisbehavingServer, settings: Settings
) -> None:
    send(client_of(agent, endpoint, client_auth="body"), settings)
    asked = endpoint.requests[0]
    assert "authorization" not in asked.headers
    form = {"grant_type": ["client_credentials"], "client_id": ["client:1"], "client_secret": [SECRET]}
    assert parse_qs(asked.body.decode()) == form


def test_one_token_serves_all_requests_and_clients_of_the_process(
    agent: MisbehavingServer, endpoint: MisbehavingServer, settings: Settings
) -> None:
    connection = client_of(agent, endpoint)
    assert send(connection, settings, times=20) == ["token-a"]
    assert send(connection, settings) == ["token-a"]
    assert (len(endpoint.requests), len(agent.requests)) == (1, 21)


@pytest.mark.parametrize(
    "values", [{"scope": "other"}, {"audience": "other"}, {"client_id": "other"}, {"client_secret": "other"}]
)
def test_another_client_has_another_token(
    agent: MisbehavingServer, endpoint: MisbehavingServer, settings: Settings, values: dict[str, str]
) -> None:
    send(client_of(agent, endpoint), settings)
    send(client_of(agent, endpoint, **values), settings)
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(("lifetime", "fetched"), [(0, 2), ("0", 2), (3_600, 1), ("3600", 1), (None, 1), ("soon", 1)])
def test_a_token_is_renewed_when_its_time_is_over(
    agent: MisbehavingServer, endpoint: MisbehavingServer, settings: Settings, lifetime: Any, fetched: int
) -> None:
    endpoint.behave(issue("token-a", expires_in=lifetime))
    send(client_of(agent, endpoint), settings)
    send(client_of(agent, endpoint), settings)
    assert len(endpoint.requests) == fetched


@pytest.mark.parametrize(("lifetime", "usable"), [(3_600, 3_570), (60, 30), (40, 20), (None, 270)])
def test_a_token_is_renewed_before_its_time_is_over(
    agent: MisbehavingServer,
    endpoint: MisbehavingServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    lifetime: int | None,
    usable: int,
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("scaffolder.agents.http.oauth.time.monotonic", lambda: now[0])
    endpoint.behave(issue("token-a", expires_in=lifetime))
    for moment, fetched in [(0, 1), (usable - 1, 1), (usable, 2)]:
        now[0] = 1_000.0 + moment
        send(client_of(agent, endpoint), settings)
        assert len(endpoint.requests) == fetched


def test_a_withdrawn_token_is_renewed_once_for_all_and_the_requests_are_sent_again(
    agent: MisbehavingServer, endpoint: MisbehavingServer, settings: Settings
) -> None:
    connection = client_of(agent, endpoint)
    send(connection, settings)
    agent.behave(accept("token-b"))
    endpoint.behave(issue("token-b"))
    assert send(connection, settings, times=5, idempotency_key="k") == ["token-a", "token-b"]
    assert len(endpoint.requests) == 2
    assert len(agent.requests) == 1 + 10
    assert {request.body for request in agent.requests} == {b"{}"}
    assert {request.headers["idempotency-key"] for request in agent.requests[1:]} == {"k"}


def test_a_token_that_is_never_accepted_is_refused_after_one_renewal(
    agent: MisbehavingServer, endpoint: MisbehavingServer, settings: Settings
) -> None:
    agent.behave(respond({"detail": "not token-b!"}, status=401))
    endpoint.behave(issue("token-a"), issue("token-b"))
    with pytest.raises(AgentRejectedError, match=r"answered 401: not \*\*\*!. Check the credentials"):
        send(client_of(agent, endpoint), settings)
    assert (len(endpoint.requests), len(agent.requests)) == (2, 2)


def test_other_kinds_are_not_sent_again_after_401(agent: MisbehavingServer, settings: Settings) -> None:
    agent.behave(respond({}, status=401))
    with pytest.raises(AgentRejectedError, match="answered 401"):
        send(connect(agent, BearerToken(token="t0ken")), settings)
    assert len(agent.requests) == 1


BAD_ENDPOINTS: list[tuple[Behaviour, type[ScaffolderError], str]] = [
    (respond({"error": "invalid_client"}, status=401), AgentRejectedError, "answered 401: invalid_client. Check the"),
    (
        respond({"error": "x", "error_description": f"bad {SECRET} cl13nt+s3cret%2F%C3%BC"}, status=400),
        AgentRejectedError,
        "answered 400: bad *** ***",
    ),
    (respond({}, status=429, headers={"Retry-After": "9"}), AgentRateLimitedError, "answered 429"),
    (respond({}, status=500), AgentUnavailableError, "answered 500"),
    (respond(b"", status=302, headers={"Location": "/x"}), AgentRejectedError, "answered 302, a redirect"),
    (respond(b"<html>", headers={"Content-Type": "text/html"}), AgentAnswerError, "answered 200 as 'text/html'"),
    (respond({"token": "x"}), AgentAnswerError, "answered without an access_token that a header can carry"),
    (respond([]), AgentAnswerError, "answered without an access_token"),
    (issue("a\r\nX-Evil: 1"), AgentAnswerError, "answered without an access_token that a header can carry"),
    (issue("t0ken-x", token_type="mac"), AgentAnswerError, "a token of another token_type than 'Bearer'"),
    (
        respond(make_bomb(10_000_000), headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}),
        LimitExceededError,
        "answered more than 65536 bytes",
    ),
    (hang, AgentUnavailableError, "took longer than 1 s"),
    (drip(head(Content_Length=10_000), b" "), AgentUnavailableError, "took longer than 1 s"),
]


@pytest.mark.parametrize(("behaviour", "error", "message"), BAD_ENDPOINTS)
def test_a_failure_of_the_endpoint_has_its_own_class_and_is_never_in_doubt(
    agent: MisbehavingServer,
    endpoint: MisbehavingServer,
    settings: Settings,
    behaviour: Behaviour,
    error: type[ScaffolderError],
    message: str,
) -> None:
    endpoint.behave(behaviour)
    with pytest.raises(error) as caught:
        send(
            client_of(agent, endpoint, client_auth="body"),
            replace(settings, agent_timeout_seconds=1),
            timeout_seconds=5,
        )
    assert type(caught.value) is error
    assert str(caught.value).startswith(f"agent 'test_agent, token endpoint' ({endpoint.url})")
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)
    assert not getattr(caught.value, "in_doubt", False)
    assert agent.requests == []


def test_the_deadline_covers_the_token_and_is_not_in_doubt(
    agent: MisbehavingServer, endpoint: MisbehavingServer, settings: Settings
) -> None:
    endpoint.behave(hang)
    with pytest.raises(AgentUnavailableError, match=r"agent 'test_agent' .* took longer than 0.3 s") as caught:
        send(client_of(agent, endpoint), settings, timeout_seconds=0.3)
    assert not caught.value.in_doubt


def test_a_request_that_got_401_is_not_in_doubt_while_its_token_is_renewed(
    agent: MisbehavingServer, endpoint: MisbehavingServer, settings: Settings
) -> None:
    agent.behave(respond({}, status=401))
    endpoint.behave(issue("token-a"), hang)
    with pytest.raises(AgentUnavailableError, match="took longer than 0.5 s") as caught:
        send(client_of(agent, endpoint), settings, timeout_seconds=0.5)
    assert (len(agent.requests), caught.value.in_doubt) == (1, False)


def test_an_endpoint_that_comes_back_is_asked_again(
    agent: MisbehavingServer, endpoint: MisbehavingServer, settings: Settings
) -> None:
    endpoint.behave(respond({}, status=503), issue("token-a"))
    with pytest.raises(AgentUnavailableError):
        send(client_of(agent, endpoint), settings)
    send(client_of(agent, endpoint), settings)
    assert json.loads(agent.requests[0].body) == {}
