"""Connections of agents: what is read from their fields, and what is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from scaffolder.agents.connection import AgentConnection, find_origin, parse_connection
from scaffolder.agents.http.authentication import (
    BasicCredentials,
    BearerToken,
    ClientCredentials,
    HeaderKey,
    NoAuthentication,
    QueryKey,
)
from scaffolder.errors import AgentConfigurationError

URL = "https://agent.example.com"
SECRET = "s3cret-4f5a6b"
PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"


def parse(conn_id: str = "agent", **fields: Any) -> AgentConnection:
    return parse_connection(conn_id, **({"host": URL, "password": SECRET} | fields))


KINDS: list[tuple[dict[str, Any], Any]] = [
    ({}, BearerToken(token=SECRET)),
    ({"extra": {"auth": "bearer"}}, BearerToken(token=SECRET)),
    ({"extra": {"auth": "none"}}, NoAuthentication()),
    ({"extra": {"auth": "none"}, "password": None}, NoAuthentication()),
    ({"extra": {"auth": "basic"}, "login": "ada"}, BasicCredentials(username="ada", password=SECRET)),
    ({"extra": {"auth": "header", "key_name": "X-API-Key"}}, HeaderKey(name="X-API-Key", key=SECRET)),
    ({"extra": {"auth": "query", "key_name": "key"}}, QueryKey(name="key", key=SECRET)),
    (
        {"extra": {"auth": "oauth2", "oauth2_url": "https://login.example.com/token"}, "login": "client"},
        ClientCredentials(url="https://login.example.com/token", client_id="client", client_secret=SECRET),
    ),
    (
        {
            "extra": {
                "auth": "oauth2",
                "oauth2_url": "https://login.example.com/token?tenant=1",
                "oauth2_scope": "read write",
                "oauth2_audience": "agents",
                "oauth2_client_auth": "body",
            },
            "login": "client",
        },
        ClientCredentials(
            url="https://login.example.com/token?tenant=1",
            client_id="client",
            client_secret=SECRET,
            scope="read write",
            audience="agents",
            client_auth="body",
        ),
    ),
]


@pytest.mark.parametrize(("fields", "expected"), KINDS)
def test_reads_each_kind_of_authentication(fields: dict[str, Any], expected: Any) -> None:
    connection = parse(**fields)
    assert connection.authentication == expected
    assert SECRET not in repr(connection)
    assert (SECRET in connection.secrets) == (expected != NoAuthentication())


def test_fields_that_the_form_left_empty_count_as_not_given() -> None:
    empty = dict.fromkeys(("auth", "key_name", "oauth2_url", "ca_certificate", "description_path"), "")
    assert parse(extra=empty | {"client_private_key": None}) == parse()


URLS: list[tuple[dict[str, Any], str]] = [
    ({"host": "agent.example.com"}, "https://agent.example.com"),
    ({"host": "agent.example.com/", "port": 8443}, "https://agent.example.com:8443"),
    ({"host": "agent.example.com", "schema": "http", "port": 80}, "http://agent.example.com:80"),
    ({"host": "HTTPS://Agent.Example.com:443/API/"}, "https://agent.example.com/API"),
    ({"host": "http://127.0.0.1:8090", "port": 1}, "http://127.0.0.1:8090"),
    ({"host": "http://[::1]:8090/x"}, "http://[::1]:8090/x"),
]


@pytest.mark.parametrize(("fields", "expected"), URLS)
def test_reads_the_base_url(fields: dict[str, Any], expected: str) -> None:
    assert parse(**fields).base_url == expected


@pytest.mark.parametrize(
    ("conn_type", "extra", "expected"),
    [
        ("agent_api", {}, ("openapi", "/openapi.json")),
        ("agent_api", {"description_path": "/v1/openapi.yaml?x=1"}, ("openapi", "/v1/openapi.yaml?x=1")),
        ("agent_api", {"description_path": f"{URL}:443/openapi.json"}, ("openapi", f"{URL}:443/openapi.json")),
        ("agent_api", {"description_kind": "mcp"}, ("mcp", "/mcp")),
        ("a2a", {}, ("openapi", "/.well-known/agent-card.json")),
    ],
)
def test_reads_where_the_agent_describes_itself(
    conn_type: Any, extra: dict[str, Any], expected: tuple[str, str]
) -> None:
    connection = parse(conn_type=conn_type, extra=extra)
    assert (connection.description_kind, connection.description_path) == expected


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"password": None}, "has no token: set its password, or auth to 'none' in its extra"),
    ({"password": ""}, "has no token"),
    ({"password": f"{SECRET}\n"}, "has a token with characters that no header takes"),
    ({"password": f"{SECRET} "}, "has a token with characters that no header takes"),
    ({"password": f"{SECRET}ü"}, "has a token with characters that no header takes"),
    ({"extra": {"auth": "digest"}}, "has auth 'digest'; accepted are ['none', 'bearer', 'basic', 'header', 'query'"),
    ({"extra": {"auth": ["none"]}}, "has extras that are no text: ['auth']"),
    ({"extra": {"token": SECRET}}, "has unknown extras ['token']; accepted are ['auth', "),
    ({"extra": {"description_kind": "mcp"}, "conn_type": "a2a"}, "has unknown extras ['description_kind']"),
    ({"extra": {"description_kind": "wsdl"}}, "has description_kind 'wsdl'; accepted are ['openapi', 'mcp']"),
    ({"extra": {"key_name": "X-API-Key"}}, "has extras ['key_name'], which auth 'bearer' does not use"),
    ({"extra": {"auth": "none", "oauth2_url": URL}}, "has extras ['oauth2_url'], which auth 'none' does not use"),
    ({"extra": {"auth": "basic"}}, "has no user: set its login"),
    ({"extra": {"auth": "basic"}, "login": "a", "password": None}, "has no password: set its password"),
    ({"extra": {"auth": "basic"}, "login": "a:b"}, "has a user with a colon"),
    ({"extra": {"auth": "header"}}, "has no key_name in its extra; accepted is the name of a header such as"),
    ({"extra": {"auth": "header", "key_name": "X Key"}}, "has key_name 'X Key'; accepted is the name of a header"),
    ({"extra": {"auth": "header", "key_name": "Host"}}, "has key_name 'Host'"),
    ({"extra": {"auth": "header", "key_name": "X-Key"}, "password": "a\rb"}, "has a key with characters"),
    ({"extra": {"auth": "query"}}, "has no key_name in its extra; accepted is the name of a parameter"),
    ({"extra": {"auth": "query", "key_name": "key"}, "password": None}, "has no key: set its password"),
    ({"extra": {"auth": "oauth2"}, "login": "c"}, "has no oauth2_url in its extra"),
    ({"extra": {"auth": "oauth2", "oauth2_url": "https://x/t"}}, "has no client id: set its login"),
    ({"extra": {"auth": "oauth2", "oauth2_url": "https://x/t"}, "login": "c", "password": None}, "no client secret"),
    ({"extra": {"auth": "oauth2", "oauth2_url": "https://u:p@x/t"}, "login": "c"}, "has an oauth2_url that cannot"),
    ({"extra": {"auth": "oauth2", "oauth2_url": "file:///etc/passwd"}, "login": "c"}, "has an oauth2_url that cannot"),
    (
        {"extra": {"auth": "oauth2", "oauth2_url": "https://x/t", "oauth2_client_auth": "jwt"}, "login": "c"},
        "has oauth2_client_auth 'jwt'; accepted are ['basic', 'body']",
    ),
    ({"host": None}, "names no agent: accepted as host is a URL such as 'https://agent.example.com'"),
    ({"host": "ftp://agent.example.com"}, "names no agent"),
    ({"host": f"https://ada:{SECRET}@agent.example.com"}, "names no agent"),
    ({"host": f"{URL}?key={SECRET}"}, "names no agent"),
    ({"host": f"{URL}/#x"}, "names no agent"),
    ({"host": f"{URL}:99999"}, "names no agent"),
    ({"host": f"{URL}/a b"}, "names no agent"),
    ({"host": "https://ägent.example.com"}, "names no agent"),
    ({"host": "https://agent.example.com\\@evil.example"}, "names no agent"),
    ({"extra": {"description_path": "openapi.json"}}, "has description_path 'openapi.json'; accepted is a path such"),
    ({"extra": {"description_path": "//evil.example/x"}}, "has description_path '//evil.example/x'"),
    ({"extra": {"description_path": "https://evil.example/x"}}, "or a URL of the same origin"),
    ({"extra": {"ca_certificate": "ca.pem"}}, "has a ca_certificate that is neither PEM text nor the absolute path"),
    ({"extra": {"client_certificate": PEM}}, "only one of client_certificate and client_private_key"),
    ({"extra": {"client_private_key": PEM}}, "only one of client_certificate and client_private_key"),
    ({"extra": {"client_private_key_passphrase": "x"}}, "a client_private_key_passphrase without a client_private_key"),
    ({"extra": {"ca_certificate": PEM}, "host": "http://agent"}, "its URL is without TLS; accepted is https"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_a_connection_that_lacks_what_its_kind_needs_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AgentConfigurationError) as caught:
        parse("some_agent", **fields)
    assert str(caught.value).startswith("connection 'some_agent' ")
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


def test_all_forms_of_a_secret_are_known() -> None:
    basic = parse(login="ada", password="p4ss word", extra={"auth": "basic"})
    assert {"p4ss word", "YWRhOnA0c3Mgd29yZA=="} <= set(basic.secrets)
    query = parse(password="p4ss w/rd", extra={"auth": "query", "key_name": "k"})
    assert {"p4ss w/rd", "p4ss%20w%2Frd", "p4ss+w%2Frd"} <= set(query.secrets)
    key = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"
    tls = {"client_certificate": PEM, "client_private_key": key, "client_private_key_passphrase": "/pass-phrase"}
    assert {SECRET, key, "/pass-phrase"} <= set(parse(extra=tls).secrets)
    assert key not in repr(parse(extra=tls))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://A.example:443/x?y", "https://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("http://[::1]:80/", "http://[::1]"),
        ("https://user@a.example", None),
        ("//a.example", None),
        ("/x", None),
        ("https://", None),
        ("https://a.example:x", None),
        ("https://[::1", None),
    ],
)
def test_origins_are_compared_as_browsers_do(url: str, origin: str | None) -> None:
    assert find_origin(url) == origin
