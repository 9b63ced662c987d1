"""TLS to agents: whom we trust, and whom we say we are, with certificates made for the test."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scaffolder.agents.connection import AgentConnection, TlsSettings
from scaffolder.agents.http.authentication import BearerToken, ClientCredentials
from scaffolder.agents.http.transport import AgentClient, HttpAnswer, HttpRequest
from scaffolder.config import Settings
from scaffolder.errors import AgentConfigurationError, AgentRejectedError, AgentUnavailableError
from tests.certificates import Authority
from tests.misbehaving import MisbehavingServer, misbehave, respond

AUTHORITY = Authority("Test authority")
OTHER_AUTHORITY = Authority("Other authority")
CLIENT = AUTHORITY.issue("client.example")
STRANGER = OTHER_AUTHORITY.issue("client.example")


@contextmanager
def serve(
    directory: Path, name: str = "127.0.0.1", *, expired: bool = False, mutual: bool = False
) -> Iterator[MisbehavingServer]:
    certificate = AUTHORITY.issue(name, expired=expired)
    context = certificate.make_server_context(directory, client_authority=AUTHORITY if mutual else None)
    with misbehave(respond({"ok": True}), tls=context) as server:
        yield server


def send(server: MisbehavingServer, settings: Settings, **tls: Any) -> HttpAnswer:
    connection = AgentConnection(
        conn_id="test_agent",
        base_url=server.url,
        authentication=BearerToken(token="t0ken-1a2b"),
        tls=TlsSettings(**tls),
    )

    async def run() -> HttpAnswer:
        async with AgentClient(connection, settings=settings) as client:
            return await client.send(HttpRequest(method="GET", path="/x"))

    return asyncio.run(run())


def one_line(pem: str) -> str:
    return " ".join(pem.split("\n"))


def test_an_authority_of_the_connection_is_trusted(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "authority.pem"
    path.write_text(AUTHORITY.certificate)
    both = OTHER_AUTHORITY.certificate + AUTHORITY.certificate
    with serve(tmp_path) as server:
        for authority in (AUTHORITY.certificate, one_line(AUTHORITY.certificate), both, one_line(both), str(path)):
            assert send(server, settings, ca_certificate=authority).json() == {"ok": True}


@pytest.mark.parametrize(
    ("server_values", "authority", "message"),
    [
        ({}, None, "has a certificate that cannot be verified"),
        ({}, OTHER_AUTHORITY.certificate, "has a certificate that cannot be verified"),
        ({"name": "elsewhere.example"}, AUTHORITY.certificate, "has a certificate that cannot be verified: .*mismatch"),
        ({"expired": True}, AUTHORITY.certificate, "has a certificate that cannot be verified: .*expired"),
    ],
)
def test_a_certificate_that_cannot_be_verified_is_permanent(
    tmp_path: Path, settings: Settings, server_values: dict[str, Any], authority: str | None, message: str
) -> None:
    with serve(tmp_path, **server_values) as server, pytest.raises(AgentRejectedError, match=message):
        send(server, settings, ca_certificate=authority)
    assert server.requests == []


def test_the_environment_makes_nobody_trusted(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "authority.pem"
    path.write_text(AUTHORITY.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with serve(tmp_path) as server, pytest.raises(AgentRejectedError, match="cannot be verified"):
        send(server, settings)


def test_a_client_certificate_is_shown(tmp_path: Path, settings: Settings) -> None:
    certificate, key, locked = CLIENT.certificate, CLIENT.key_text(), CLIENT.key_text("p4ss phrase")
    (tmp_path / "client.pem").write_text(certificate)
    (tmp_path / "key.pem").write_text(key)
    ways: list[dict[str, str]] = [
        {"client_certificate": certificate, "client_private_key": key},
        {"client_certificate": one_line(certificate), "client_private_key": one_line(key)},
        {"client_certificate": str(tmp_path / "client.pem"), "client_private_key": str(tmp_path / "key.pem")},
        {
            "client_certificate": certificate,
            "client_private_key": locked,
            "client_private_key_passphrase": "p4ss phrase",
        },
    ]
    with serve(tmp_path, mutual=True) as server:
        for way in ways:
            assert send(server, settings, ca_certificate=AUTHORITY.certificate, **way).json() == {"ok": True}


@pytest.mark.parametrize("client", [None, STRANGER])
def test_an_agent_that_wants_another_client_certificate_is_permanent(
    tmp_path: Path, settings: Settings, client: Any
) -> None:
    own = {"client_certificate": client.certificate, "client_private_key": client.key_text()} if client else {}
    with (
        serve(tmp_path, mutual=True) as server,
        pytest.raises(AgentRejectedError, match="and we don't agree on TLS: .*(certificate required|unknown ca)"),
    ):
        send(server, settings, ca_certificate=AUTHORITY.certificate, **own)
    assert server.requests == []


UNUSABLE: list[tuple[dict[str, str], str]] = [
    ({"ca_certificate": "/nowhere/authority.pem"}, r"ca_certificate that cannot be used \(No such file or directory\)"),
    ({"ca_certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, "ca_certificate that cannot"),
    (
        {"client_certificate": CLIENT.certificate, "client_private_key": STRANGER.key_text()},
        "client_certificate with its client_private_key that cannot be used",
    ),
    (
        {"client_certificate": CLIENT.certificate, "client_private_key": CLIENT.key_text("p4ss phrase")},
        "client_certificate with its client_private_key that cannot be used",
    ),
    (
        {"client_certificate": CLIENT.certificate, "client_private_key": "/nowhere/key.pem"},
        "client_certificate with its client_private_key that cannot be used",
    ),
]


@pytest.mark.parametrize(("tls", "message"), UNUSABLE)
def test_certificates_that_cannot_be_used_are_the_connections_error(
    tmp_path: Path, settings: Settings, tls: dict[str, str], message: str
) -> None:
    with serve(tmp_path) as server, pytest.raises(AgentConfigurationError, match=message) as caught:
        send(server, settings, **tls)
    assert "BEGIN" not in str(caught.value)
    assert server.connections == 0


def test_keys_leave_no_file_behind(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    own = {"client_certificate": CLIENT.certificate, "client_private_key": CLIENT.key_text()}
    with serve(tmp_path, mutual=True) as server:
        send(server, settings, ca_certificate=AUTHORITY.certificate, **own)
    assert list(directory.iterdir()) == []


@contextmanager
def answer_the_handshake(data: bytes) -> Iterator[str]:
    """Serve one connection: whatever comes, answer with `data` and end it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_once() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(data)

    thread = threading.Thread(target=serve_once)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    thread.join()
    listener.close()


def test_a_connection_that_ends_in_the_handshake_is_transient_and_not_in_doubt(settings: Settings) -> None:
    with answer_the_handshake(b"") as url, pytest.raises(AgentUnavailableError, match="cannot be reached") as caught:
        send(MisbehavingServer(url=url), settings)
    assert not caught.value.in_doubt


def test_an_agent_without_tls_is_permanent(settings: Settings) -> None:
    with (
        answer_the_handshake(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url,
        pytest.raises(AgentRejectedError, match="and we don't agree on TLS: .*wrong version number"),
    ):
        send(MisbehavingServer(url=url), settings)


def test_old_tls_is_refused(tmp_path: Path, settings: Settings) -> None:
    context = AUTHORITY.issue("127.0.0.1").make_server_context(tmp_path)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with misbehave(respond({}), tls=context) as server, pytest.raises(AgentRejectedError, match="don't agree on TLS"):
        send(server, settings, ca_certificate=AUTHORITY.certificate)


def test_the_token_endpoint_gets_the_same_certificates(tmp_path: Path, settings: Settings) -> None:
    context = AUTHORITY.issue("127.0.0.1").make_server_context(tmp_path, client_authority=AUTHORITY)
    with (
        misbehave(respond({"access_token": "t0ken", "expires_in": 0}), tls=context) as endpoint,
        serve(tmp_path) as agent,
    ):
        connection = AgentConnection(
            conn_id="test_agent",
            base_url=agent.url,
            authentication=ClientCredentials(url=f"{endpoint.url}/token", client_id="c", client_secret="s3cret"),
            tls=TlsSettings(
                ca_certificate=AUTHORITY.certificate,
                client_certificate=CLIENT.certificate,
                client_private_key=CLIENT.key_text(),
            ),
        )

        async def run() -> None:
            async with AgentClient(connection, settings=settings) as client:
                await client.send(HttpRequest(method="GET", path="/x"))

        asyncio.run(run())
    assert agent.requests[0].headers["authorization"] == "Bearer t0ken"
