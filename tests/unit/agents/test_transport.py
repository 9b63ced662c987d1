"""The wire to an agent: what is sent, and every way in which an answer can be bad, from a server that does it."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from scaffolder.agents.connection import AgentConnection
from scaffolder.agents.http.authentication import BearerToken, HeaderKey, QueryKey
from scaffolder.agents.http.failures import clean, parse_retry_after, raise_for_status
from scaffolder.agents.http.transport import (
    DEADLINE,
    AgentClient,
    AgentTransport,
    HttpAnswer,
    HttpRequest,
)
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
    JSON,
    Behaviour,
    MisbehavingServer,
    chunk,
    drip,
    flood,
    hang,
    head,
    make_bomb,
    misbehave,
    respond,
    send_and_reset,
    send_raw,
)

TOKEN = "agent-token-1f2e3d"
GET = HttpRequest(method="GET", path="/x")
POST = HttpRequest(method="POST", path="/x", content=b"{}", content_type="application/json")


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with misbehave(respond({})) as server:
        yield server


@pytest.fixture
def limited(settings: Settings) -> Settings:
    return replace(settings, max_agent_response_size=1_000_000, agent_timeout_seconds=5)


def connect(server: MisbehavingServer, path: str = "", **values: Any) -> AgentConnection:
    given = {"conn_id": "test_agent", "base_url": server.url + path, "authentication": BearerToken(token=TOKEN)}
    return AgentConnection(**(given | values))


def send(connection: AgentConnection, settings: Settings, request: HttpRequest = GET, **options: Any) -> HttpAnswer:
    async def run() -> HttpAnswer:
        async with AgentClient(connection, settings=settings) as client:
            return await client.send(request, **options)

    return asyncio.run(run())


def test_sends_what_was_asked(server: MisbehavingServer, settings: Settings) -> None:
    server.behave(respond({"ok": True}, headers=JSON | {"X-Trace": "t"}))
    request = HttpRequest(
        method="POST",
        path="/v1/items/a%2Fb%20%3F?fixed=1",
        query=(("name", "ü &"), ("name", "2")),
        headers=(("X-Trace", "abc"),),
        content='{"document": "ü"}'.encode(),
        content_type="application/json",
    )
    answer = send(connect(server, "/api"), settings, request, idempotency_key="key-1", accept="text/plain")
    sent = server.requests[0]
    assert sent.method == "POST"
    assert sent.target == "/api/v1/items/a%2Fb%20%3F?fixed=1&name=%C3%BC%20%26&name=2"
    assert json.loads(sent.body) == {"document": "ü"}
    expected = {
        "authorization": f"Bearer {TOKEN}",
        "idempotency-key": "key-1",
        "x-trace": "abc",
        "accept": "text/plain",
    }
    assert expected.items() <= sent.headers.items()
    assert sent.headers["host"] == server.url.removeprefix("http://")
    assert sent.headers["accept-encoding"] == "gzip, deflate"
    assert (answer.status, answer.json(), answer.headers["x-trace"]) == (200, {"ok": True}, "t")
    assert answer.url == f"{server.url}/api/v1/items/a%2Fb%20%3F?fixed=1&name=%C3%BC%20%26&name=2"


def test_one_connection_serves_many_requests(server: MisbehavingServer, settings: Settings) -> None:
    async def run() -> None:
        async with AgentClient(connect(server), settings=settings) as client:
            for _ in range(5):
                await client.send(GET)

    asyncio.run(run())
    assert (len(server.requests), server.connections) == (5, 1)


def test_cookies_and_the_environment_do_not_count(
    server: MisbehavingServer, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password netrc-s3cret\n")
    (tmp_path / ".netrc").chmod(0o600)
    for name, value in {
        "HOME": tmp_path,
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, str(value))
        monkeypatch.setenv(name.lower(), str(value))
    server.behave(respond({}, headers=JSON | {"Set-Cookie": "session=1"}))

    async def run() -> HttpAnswer:
        async with AgentClient(
            connect(server, authentication=QueryKey(name="k", key="v")), settings=settings
        ) as client:
            await client.send(GET)
            return await client.send(GET)

    assert "set-cookie" not in asyncio.run(run()).headers
    assert "authorization" not in server.requests[1].headers
    assert "cookie" not in server.requests[1].headers


def test_link_headers_are_joined(server: MisbehavingServer, settings: Settings) -> None:
    server.behave(send_raw(head(Content_Length=0)[:-2] + b"Link: <a>; rel=next\r\nlink: <b>; rel=last\r\n\r\n"))
    assert send(connect(server), settings).headers["link"] == "<a>; rel=next, <b>; rel=last"


BOMB = make_bomb(50_000_000)
GZIP = JSON | {"Content-Encoding": "gzip"}
TOO_LARGE = "answered more than 1000000 bytes (SCAFFOLDER_MAX_AGENT_RESPONSE_SIZE)"
HALF = head(Content_Type="application/json", Content_Length=100) + b"{"
BAD_ANSWERS: dict[str, tuple[Behaviour, type[ScaffolderError], str]] = {
    "HTML with 200": (
        respond(b"<html>", headers={"Content-Type": "text/html"}),
        AgentAnswerError,
        "answered 200 as 'text/html'; accepted is application/json",
    ),
    "no media type": (respond(b"{}", headers={}), AgentAnswerError, "answered 200 as ''; accepted is"),
    "truncated JSON": (respond(b'{"files": ['), AgentAnswerError, "11 bytes that are no JSON: line 1, column 12"),
    "deep JSON": (respond(b"[" * 100_000 + b"]" * 100_000), LimitExceededError, "nested deeper than 200 levels"),
    "JSON one level too deep": (
        respond(b"[" * 201 + b"]" * 201),
        LimitExceededError,
        "(SCAFFOLDER_MAX_AGENT_JSON_DEPTH)",
    ),
    "NaN": (respond(b'{"x": NaN}'), AgentAnswerError, "no JSON: NaN is none"),
    "Infinity": (respond(b"[-Infinity]"), AgentAnswerError, "no JSON: -Infinity is none"),
    "a number out of range": (respond(b"[1e999]"), AgentAnswerError, "a number is out of range"),
    "a number without end": (respond(b"9" * 5_000), AgentAnswerError, "no JSON: ValueError"),
    "duplicate keys": (respond(b'{"a": 1, "a": 2}'), AgentAnswerError, "no JSON: an object has one name twice"),
    "no UTF-8": (respond(b'"\xff\xfe"'), AgentAnswerError, "no JSON: not UTF-8"),
    "UTF-16": (respond('{"a": 1}'.encode("utf-16")), AgentAnswerError, "no JSON: not UTF-8"),
    "half a character": (respond(b'{"a": "\\ud800"}'), AgentAnswerError, "no JSON: text with half a character"),
    "not gzip": (respond(b"no gzip", headers=GZIP), AgentAnswerError, "answered with a broken encoding"),
    "gzip that breaks off": (
        respond(gzip.compress(b'{"a": 1}')[:-9], headers=GZIP),
        AgentAnswerError,
        "answered with an encoded body that breaks off",
    ),
    "stacked gzip": (
        respond(gzip.compress(BOMB), headers=JSON | {"Content-Encoding": "gzip, gzip"}),
        AgentAnswerError,
        "answered encoded 2 times over; accepted is once",
    ),
    "unknown encoding": (
        respond(b"x", headers=JSON | {"Content-Encoding": "br"}),
        AgentAnswerError,
        "answered in an encoding that was not asked for; accepted are gzip and deflate",
    ),
    "gzip bomb": (respond(BOMB, headers=GZIP), LimitExceededError, TOO_LARGE),
    "deflate bomb": (
        respond(zlib.compress(b" " * 5_000_000), headers=JSON | {"Content-Encoding": "deflate"}),
        LimitExceededError,
        TOO_LARGE,
    ),
    "gzip bomb of many members": (
        respond(gzip.compress(b" " * 99_999) * 20, headers=GZIP),
        LimitExceededError,
        TOO_LARGE,
    ),
    "one byte too many": (respond(b" " * 1_000_001), LimitExceededError, TOO_LARGE),
    "too many bytes, declared": (drip(head(Content_Length=10**15), b"x"), LimitExceededError, TOO_LARGE),
    "chunks without end": (
        flood(head(Transfer_Encoding="chunked"), chunk(b" " * 65_536), times=10_000),
        LimitExceededError,
        TOO_LARGE,
    ),
    "bytes without end": (flood(head(Connection="close"), b" " * 65_536, times=10_000), LimitExceededError, TOO_LARGE),
    "huge header": (
        send_raw(head(X_Huge="x" * 300_000)),
        LimitExceededError,
        "answered with headers that are too large",
    ),
    "headers without end": (
        flood(b"HTTP/1.1 200 OK\r\n", b"X-Header: some value\r\n" * 100, times=1_000),
        LimitExceededError,
        "answered with headers that are too large",
    ),
    "a redirect into the cloud": (
        respond(b"", status=302, headers={"Location": "http://169.254.169.254/latest/meta-data"}),
        AgentRejectedError,
        "answered 302, a redirect; redirects are not followed",
    ),
    "a redirect at home": (respond(b"", status=307, headers={"Location": "/y"}), AgentRejectedError, "answered 307"),
    "304 that nobody asked for": (respond(b"", status=304), AgentRejectedError, "answered 304"),
    "a status that is none": (respond({}, status=799), AgentAnswerError, "answered with status 799; accepted are"),
}


@pytest.mark.parametrize(("behaviour", "error", "message"), BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_a_bad_answer_is_put_into_its_class(
    server: MisbehavingServer, limited: Settings, behaviour: Behaviour, error: type[ScaffolderError], message: str
) -> None:
    server.behave(behaviour)
    with pytest.raises(error) as caught:
        send(connect(server), limited).json()
    assert type(caught.value) is error
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"agent 'test_agent' ({server.url})")
    assert len(server.requests) == 1


# What cannot be told from work done halfway is in doubt.
SLOW = "took longer than 0.5 s"
IN_DOUBT: dict[str, tuple[Behaviour, str]] = {
    "no answer": (hang, "took longer than 0.5 s (SCAFFOLDER_AGENT_TIMEOUT_SECONDS, or the step's own)"),
    "a dripping head": (drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"), SLOW),
    "dripping headers": (drip(b"HTTP/1.1 200 OK\r\n", b"X-Slow: 1\r\n"), SLOW),
    "interim answers without end": (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), SLOW),
    "a dripping body": (drip(head(Content_Length=1_000_000), b" "), SLOW),
    "dripping chunks": (drip(head(Transfer_Encoding="chunked"), chunk(b" ")), SLOW),
    "an end before the answer": (send_raw(b""), "did not answer completely"),
    "an end in the head": (send_raw(b"HTTP/1.1 200 OK\r\nContent-"), "did not answer completely"),
    "an end in the body": (send_raw(HALF), "did not answer completely"),
    "an end between chunks": (send_raw(head(Transfer_Encoding="chunked"), chunk(b"{")), "did not answer completely"),
    "a reset before the answer": (send_and_reset(b""), "did not answer completely"),
    "a reset in the body": (send_and_reset(HALF), "did not answer completely"),
    "no HTTP": (send_raw(b"\x00\x01 this is no HTTP\r\n\r\n"), "did not answer completely"),
    "two lengths": (
        send_raw(head(Content_Length=2)[:-2] + b"Content-Length: 3\r\n\r\n{}"),
        "did not answer completely",
    ),
}


@pytest.mark.parametrize(("behaviour", "message"), IN_DOUBT.values(), ids=IN_DOUBT.keys())
def test_an_answer_that_does_not_arrive_leaves_its_request_in_doubt(
    server: MisbehavingServer, settings: Settings, behaviour: Behaviour, message: str
) -> None:
    server.behave(behaviour)
    started = time.monotonic()
    with pytest.raises(AgentUnavailableError) as caught:
        send(connect(server), settings, POST, timeout_seconds=0.5 if SLOW in message else 10)
    assert message in str(caught.value)
    assert caught.value.in_doubt
    assert time.monotonic() - started < 3
    assert len(server.requests) == 1


def test_an_agent_that_is_down_is_not_in_doubt(settings: Settings) -> None:
    connection = AgentConnection(conn_id="down", base_url="http://127.0.0.1:9")
    with pytest.raises(AgentUnavailableError, match=r"agent 'down' \(http://127.0.0.1:9\) cannot be reached") as caught:
        send(connection, settings, POST)
    assert not caught.value.in_doubt


def test_a_name_that_nobody_knows_is_not_in_doubt(settings: Settings) -> None:
    connection = AgentConnection(conn_id="nowhere", base_url="http://agent.invalid")
    with pytest.raises(AgentUnavailableError, match="cannot be reached") as caught:
        send(connection, settings, POST)
    assert not caught.value.in_doubt


def test_waiting_for_a_free_connection_counts_and_is_not_in_doubt(
    server: MisbehavingServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaffolder.agents.http.transport._LIMITS", httpx2.Limits(max_connections=1))
    server.behave(hang)

    async def run() -> list[Any]:
        async with AgentClient(connect(server), settings=settings) as client:
            requests = [client.send(POST, timeout_seconds=seconds) for seconds in (0.6, 0.3)]
            return await asyncio.gather(*requests, return_exceptions=True)

    first, second = asyncio.run(run())
    assert (first.in_doubt, second.in_doubt) == (True, False)


STATUSES: list[tuple[int, dict[str, str], type[ScaffolderError], bool | None, float | None]] = [
    (400, {}, AgentRejectedError, None, None),
    (401, {}, AgentRejectedError, None, None),
    (403, {}, AgentRejectedError, None, None),
    (404, {"Retry-After": "7"}, AgentRejectedError, None, None),
    (409, {}, AgentRejectedError, None, None),
    (422, {}, AgentRejectedError, None, None),
    (501, {}, AgentRejectedError, None, None),
    (505, {}, AgentRejectedError, None, None),
    (403, {"Retry-After": "7"}, AgentRateLimitedError, None, 7.0),
    (429, {}, AgentRateLimitedError, None, None),
    (429, {"Retry-After": "86400"}, AgentRateLimitedError, None, 86_400.0),
    (408, {}, AgentUnavailableError, False, None),
    (425, {}, AgentUnavailableError, False, None),
    (503, {"Retry-After": "3"}, AgentUnavailableError, False, 3.0),
    (529, {}, AgentUnavailableError, False, None),
    (500, {}, AgentUnavailableError, True, None),
    (502, {"Retry-After": "3"}, AgentUnavailableError, True, 3.0),
    (504, {}, AgentUnavailableError, True, None),
    (520, {}, AgentUnavailableError, True, None),
]


@pytest.mark.parametrize(("status", "headers", "error", "in_doubt", "retry_after"), STATUSES)
def test_each_status_has_its_class(
    status: int, headers: dict[str, str], error: type[ScaffolderError], in_doubt: bool | None, retry_after: float | None
) -> None:
    lower = {name.lower(): value for name, value in headers.items()}
    answer = HttpAnswer(status=status, headers=lower, content=b'{"detail": "why"}', url="http://agent")
    with pytest.raises(error, match=f"^the agent X answered {status}: why") as caught:
        raise_for_status(answer, "the agent X")
    assert getattr(caught.value, "in_doubt", None) == in_doubt
    assert getattr(caught.value, "retry_after_seconds", None) == retry_after
    raise_for_status(answer, "the agent X", allow=frozenset({status}))


def test_an_error_that_passes_is_over_with_the_next_request(server: MisbehavingServer, settings: Settings) -> None:
    server.behave(respond({}, status=500), respond({}, status=429), respond({"ok": 1}))

    async def run() -> list[Any]:
        async with AgentClient(connect(server), settings=settings) as client:
            return [(await asyncio.gather(client.send(GET), return_exceptions=True))[0] for _ in range(3)]

    errors = asyncio.run(run())
    assert [type(error) for error in errors] == [AgentUnavailableError, AgentRateLimitedError, HttpAnswer]


SLOW_REFUSALS: dict[str, Behaviour] = {
    "broken off": send_raw(head(429, Retry_After=7, Content_Length=100) + b"{"),
    "reset": send_and_reset(head(429, Retry_After=7, Content_Length=100) + b"{"),
    "dripping": drip(head(429, Retry_After=7, Content_Length=100_000), b" "),
    "endless": flood(head(429, Retry_After=7, Connection="close"), b" " * 65_536, times=10_000),
    "a bomb": respond(BOMB, status=429, headers=GZIP | {"Retry-After": "7"}),
    "stacked": respond(BOMB, status=429, headers=JSON | {"Retry-After": "7", "Content-Encoding": "gzip, gzip"}),
}


@pytest.mark.parametrize("behaviour", SLOW_REFUSALS.values(), ids=SLOW_REFUSALS.keys())
def test_a_refusal_keeps_its_class_whatever_its_body_does(
    server: MisbehavingServer, limited: Settings, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour
) -> None:
    monkeypatch.setattr("scaffolder.agents.http.transport._REFUSAL_SECONDS", 0.3)
    server.behave(behaviour)
    with pytest.raises(AgentRateLimitedError, match="answered 429: no reason given$") as caught:
        send(connect(server), limited)
    assert caught.value.retry_after_seconds == 7


def test_a_refusal_keeps_its_class_however_little_time_is_left(server: MisbehavingServer, settings: Settings) -> None:
    server.behave(drip(head(400, Content_Length=100_000), b" "))
    with pytest.raises(AgentRejectedError, match="answered 400: no reason given$"):
        send(connect(server), settings, POST, timeout_seconds=0.5)


REASONS: list[tuple[Any, str]] = [
    ({"title": "Bad", "detail": "boom\x1b[31m\u202e\nx"}, r"boom \[31m x"),
    ({"title": "Unprocessable"}, "Unprocessable"),
    ({"detail": [{"loc": ["body", "name"], "msg": "too long", "input": "x"}]}, "body.name: too long"),
    ({"error": {"message": "no such model", "type": "x"}}, "no such model"),
    ({"error": "invalid_client", "error_description": "unknown client"}, "unknown client"),
    ({"message": "Not Found", "documentation_url": "https://x"}, "Not Found"),
    ({"detail": "x" * 9_000}, "x{500}"),
    ({"detail": f"bad Bearer {TOKEN}"}, r"bad Bearer \*\*\*"),
    ({"detail": f"{TOKEN[:6]}\n{TOKEN[6:]} {TOKEN}"}, r"agent- token-1f2e3d \*\*\*"),
    ({"detail": {"a": 1}}, "no reason given"),
    ([], "no reason given"),
    (b"<h1>" + b"x" * 90_000, "no reason given"),
    (b"[" * 60_000, "no reason given"),
    (b'{"detail": ' + b"[" * 350 + b'"x"' + b"]" * 350 + b"}", "no reason given"),
    (b'{"detail": {"errors": [{"loc": ["a", ' + b"[" * 350 + b"]" * 350 + b'], "msg": "x"}]}}', "a: x"),
]


@pytest.mark.parametrize(("body", "reason"), REASONS)
def test_a_reason_is_printable_without_secrets_and_cut(
    server: MisbehavingServer, settings: Settings, body: Any, reason: str
) -> None:
    server.behave(respond(body, status=422))
    with pytest.raises(AgentRejectedError, match=f"answered 422: {reason}$") as caught:
        send(connect(server), settings)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "secrets", "expected"),
    [
        ("abcd-efgh abcd", ("abcd", "abcd-efgh"), "*** ***"),
        ("p4ss  word", ("p4ss  word",), "***"),
        ("p4ss\nword", ("p4ss word",), "***"),
        ("a cat", ("a", "cat"), "a cat"),
    ],
)
def test_secrets_are_hidden_in_whatever_form_they_come(text: str, secrets: tuple[str, ...], expected: str) -> None:
    assert clean(text, secrets) == expected


def test_a_wrong_token_is_permanent_and_named_nowhere(server: MisbehavingServer, settings: Settings) -> None:
    server.behave(respond({"detail": "wrong token"}, status=401))
    with pytest.raises(AgentRejectedError, match="401: wrong token. Check the credentials of its connection") as caught:
        send(connect(server), settings)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("86400", 86_400, 86_400),
        ("9" * 400, 1e9, 1e9),
        ("Mon, 01 Jan 2024 00:00:00 GMT", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9, 1e9),
    ],
)
def test_retry_after_is_read(text: str, low: float, high: float) -> None:
    seconds = parse_retry_after(text)
    assert seconds is not None
    assert low <= seconds <= high


@pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"])
def test_a_retry_after_with_a_date_is_read(form: str) -> None:
    seconds = parse_retry_after((datetime.now(UTC) + timedelta(hours=1)).strftime(form))
    assert seconds is not None
    assert 3_500 <= seconds <= 3_600


@pytest.mark.parametrize("text", [None, "", "-5", "soon", "1.5", "٧", "Mon, 99 Jan 2024 00:00:00 GMT", "1e3"])
def test_a_retry_after_that_says_nothing_is_none(text: str | None) -> None:
    assert parse_retry_after(text) is None


def test_answers_of_exactly_the_limits_pass(server: MisbehavingServer, limited: Settings) -> None:
    limited = replace(limited, max_agent_response_size=1_000)
    server.behave(
        respond(b'"' + b"x" * 998 + b'"'),
        respond(gzip.compress(b'"' + b"x" * 998 + b'"'), headers=GZIP),
        respond(b"[" * 200 + b"]" * 200),
    )
    assert send(connect(server), limited).json() == "x" * 998
    assert send(connect(server), limited).json() == "x" * 998
    assert send(connect(server), limited).json()


def _raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b'{"a": ', mtime=0) + gzip.compress(b"1}", mtime=0), "gzip"),
        (gzip.compress(b'{"a": 1}', mtime=0), "X-GZIP, identity"),
        (zlib.compress(b'{"a": 1}'), "deflate"),
        (_raw_deflate(b'{"a": 1}'), "deflate"),
        (b'{"a": 1}', "identity"),
        (b'\xef\xbb\xbf{"a": 1}', ""),
    ],
)
def test_bodies_are_decoded(server: MisbehavingServer, settings: Settings, body: bytes, encoding: str) -> None:
    server.behave(respond(body, headers=JSON | {"Content-Encoding": encoding}))
    answer = send(connect(server), settings)
    assert answer.json() == {"a": 1}
    assert not {"content-encoding", "transfer-encoding"} & answer.headers.keys()


@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
def test_an_answer_without_a_body_is_none(server: MisbehavingServer, limited: Settings, method: str) -> None:
    headers = {"Content-Length": "99999999"} if method == "HEAD" else {}
    server.behave(respond(b"", status=200 if method == "HEAD" else 204, headers=GZIP | headers))
    assert send(connect(server), limited, HttpRequest(method=method, path="/x")).json() is None


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example/x",
        "/v1/../../admin",
        "/v1/%2e%2e/admin",
        "/v1/..%2fadmin",
        "/v1/..;/admin",
        "/v1/%2e%2e%5cadmin",
        "/v1/..\\admin",
        "/./x",
        "/a b",
        "/ä",
        "/a\r\nX-Evil: 1",
        "/a#b",
    ],
)
def test_a_path_that_leads_out_of_the_base_url_is_refused(
    server: MisbehavingServer, settings: Settings, path: str
) -> None:
    with pytest.raises(AgentRejectedError, match="a request would go to .*; accepted is a path below the agent"):
        send(connect(server, "/api"), settings, HttpRequest(method="GET", path=path))
    assert server.requests == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://169.254.169.254/latest?token=s3cret", "http://169.254.169.254"),
        ("https://evil.example/s3cret", "https://evil.example"),
        ("http://127.0.0.1:9/s3cret", "http://127.0.0.1"),
        ("http://user:s3cret@127.0.0.1/", "http://127.0.0.1"),
        ("file:///etc/s3cret", "file://"),
        ("ftp://127.0.0.1/s3cret", "ftp://127.0.0.1"),
    ],
)
def test_a_link_to_another_origin_is_refused(
    server: MisbehavingServer, settings: Settings, url: str, shown: str
) -> None:
    with pytest.raises(AgentRejectedError) as caught:
        send(connect(server), settings, HttpRequest(method="GET", path=url))
    assert f"a link leads to {shown}; accepted is the connection's own origin {server.url}" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert server.requests == []


def resolve(connection: AgentConnection, settings: Settings, url: str, base: str | None = None) -> str:
    async def run() -> str:
        async with AgentClient(connection, settings=settings) as client:
            return client.resolve(url, base=base)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("/jobs/1", "/api/v1/x", "/jobs/1"),
        ("../jobs/1#top", "/api/v1/x", "/api/jobs/1"),
        ("jobs/1", None, "/api/jobs/1"),
        ("?page=2", "/api/v1/x?page=1", "/api/v1/x?page=2"),
        ("?page=2&key=s3cret-9&k%65y=x&monkey=1", "/api/x", "/api/x?page=2&monkey=1"),
    ],
)
def test_links_are_resolved_without_credentials(
    server: MisbehavingServer, settings: Settings, url: str, base: str | None, expected: str
) -> None:
    connection = connect(server, "/api", authentication=QueryKey(name="key", key="s3cret-9"))
    assert resolve(connection, settings, url, base and server.url + base) == server.url + expected


@pytest.mark.parametrize("url", ["http://[s3cret", "//[s3cret/jobs"])
def test_a_link_that_is_no_url_is_refused(server: MisbehavingServer, settings: Settings, url: str) -> None:
    with pytest.raises(AgentRejectedError, match="a link leads to an address that is none") as caught:
        resolve(connect(server), settings, url)
    assert "s3cret" not in str(caught.value)


def test_a_link_is_followed_with_our_own_credentials(server: MisbehavingServer, settings: Settings) -> None:
    connection = connect(server, "/api", authentication=QueryKey(name="key", key="s3 cret-9"))
    answer = send(connection, settings, HttpRequest(method="GET", path=f"{server.url}/other?key=old&page=2"))
    assert server.requests[0].target == "/other?page=2&key=s3%20cret-9"
    assert answer.url == f"{server.url}/other?page=2"


REFUSED: list[tuple[Any, dict[str, Any], dict[str, Any], str]] = [
    (None, {"headers": (("Authorization", "Bearer other"),)}, {}, "sets the headers ['Authorization']"),
    (None, {"headers": (("host", "evil.example"),)}, {}, "sets the headers ['host']"),
    (
        None,
        {"headers": (("Content-Length", "0"), ("Cookie", "a=b"))},
        {},
        "sets the headers ['Content-Length', 'Cookie']",
    ),
    (None, {"headers": (("Idempotency-Key", "x"),)}, {"idempotency_key": "y"}, "sets the headers ['Idempotency-Key']"),
    (HeaderKey(name="X-Key", key=TOKEN), {"headers": (("x-key", "x"),)}, {}, "sets the headers ['x-key']"),
    (QueryKey(name="key", key=TOKEN), {"query": (("key", "x"),)}, {}, "sets the parameter 'key', which holds the cred"),
    (None, {"headers": (("X-A", "1\r\nX-Evil: 1"),)}, {}, "the header 'X-A' is not printable ASCII"),
    (None, {"headers": (("X-Ü", "1"),)}, {}, "the header 'X-Ü' is not printable ASCII"),
    (None, {"headers": (("X A", "1"),)}, {}, "the header 'X A' is not printable ASCII"),
    (None, {"content_type": "text/plain\r\nX-Evil: 1"}, {}, "the header 'Content-Type' is not printable ASCII"),
    (None, {"query": (("a", "\ud800"),)}, {}, "the query has half a character"),
    (None, {"method": "GET /evil"}, {}, "the request cannot be sent (LocalProtocolError)"),
]


@pytest.mark.parametrize(("authentication", "values", "options", "message"), REFUSED)
def test_a_request_cannot_set_what_is_not_its_own(
    server: MisbehavingServer,
    settings: Settings,
    authentication: Any,
    values: dict[str, Any],
    options: dict[str, Any],
    message: str,
) -> None:
    connection = connect(server, **({"authentication": authentication} if authentication else {}))
    with pytest.raises(AgentRejectedError) as caught:
        send(connection, settings, replace(GET, **values), **options)
    assert message in str(caught.value)
    assert server.requests == []


def test_other_libraries_get_a_transport_with_the_same_rules(server: MisbehavingServer, settings: Settings) -> None:
    async def run(connection: AgentConnection, url: str, **options: Any) -> httpx2.Response:
        transport = AgentTransport(connection, settings=settings)
        async with httpx2.AsyncClient(transport=transport, follow_redirects=True, trust_env=False) as client:
            return await client.post(url, content=b"{}", **options)

    plain = AgentConnection(conn_id="test_agent", base_url=server.url)
    server.behave(respond({"error": "x"}, status=418, headers=GZIP | {"Content-Encoding": "identity"}))
    response = asyncio.run(run(plain, f"{server.url}/v1", headers={"x-api-key": "their-own", "host": "evil.example"}))
    assert (response.status_code, response.json()) == (418, {"error": "x"})
    assert server.requests[0].headers["x-api-key"] == "their-own"
    assert server.requests[0].headers["host"] == server.url.removeprefix("http://")
    server.behave(respond({}))
    asyncio.run(run(connect(server), f"{server.url}/v1", headers={"authorization": "Bearer their-own"}))
    assert server.requests[1].headers["authorization"] == f"Bearer {TOKEN}"
    with pytest.raises(
        AgentRejectedError, match="a request would go to http://127.0.0.1; accepted is the connection's"
    ):
        asyncio.run(run(plain, "http://127.0.0.1:9/v1"))
    server.behave(respond(b"", status=302, headers={"Location": "http://169.254.169.254/x"}))
    with pytest.raises(AgentRejectedError, match=r"a request would go to http://169\.254\.169\.254"):
        asyncio.run(run(plain, f"{server.url}/v1"))
    server.behave(respond({}))
    asyncio.run(run(connect(server, authentication=QueryKey(name="key", key="own")), f"{server.url}/v1?key=other&a=1"))
    assert server.requests[-1].target == "/v1?a=1&key=own"
    server.behave(drip(head(Content_Length=1_000_000), b" "))
    with pytest.raises(AgentUnavailableError, match="took longer than 0.5 s"):
        asyncio.run(run(plain, f"{server.url}/v1", extensions={DEADLINE: 0.5}))


MEASURE = """
import asyncio, sys, tracemalloc
from dataclasses import replace
from scaffolder.agents.connection import AgentConnection
from scaffolder.agents.http.transport import AgentClient, HttpRequest
from scaffolder.config import Settings
from scaffolder.errors import LimitExceededError

async def run():
    settings = replace(Settings(), max_agent_response_size=1_000_000)
    async with AgentClient(AgentConnection(conn_id="a", base_url=sys.argv[1]), settings=settings) as client:
        await client.send(HttpRequest(method="GET", path="/x"))
        tracemalloc.start()
        try:
            await client.send(HttpRequest(method="GET", path="/x"))
        except LimitExceededError:
            print(tracemalloc.get_traced_memory()[1])

asyncio.run(run())
"""


def test_a_bomb_takes_hardly_any_memory(server: MisbehavingServer) -> None:
    server.behave(respond({}), respond(make_bomb(100_000_000), headers=GZIP))
    finished = subprocess.run(
        [sys.executable, "-c", MEASURE, server.url], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(finished.stdout) < 4_000_000  # the limit is 1,000,000
