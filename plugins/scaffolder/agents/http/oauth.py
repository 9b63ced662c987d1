"""Access tokens of OAuth 2.0 clients: fetched once, shared by all that use them in this process, renewed in time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit
from weakref import WeakKeyDictionary

from scaffolder.agents.connection import AgentConnection, TlsSettings
from scaffolder.agents.http.authentication import BasicCredentials, ClientCredentials, NoAuthentication
from scaffolder.agents.http.messages import HttpAnswer, HttpRequest
from scaffolder.config import KIB, Settings
from scaffolder.errors import AgentAnswerError, AgentUnavailableError

#: What is taken where the token endpoint does not say (RFC 6749, section 5.1, only recommends that it does).
DEFAULT_LIFETIME_SECONDS: Final = 300.0
#: A token is renewed so long before it expires, or at half its life where that is shorter than twice this.
LEEWAY_SECONDS: Final = 30.0
_FETCH_SECONDS: Final = 30
_ANSWER_SIZE: Final = 64 * KIB


@dataclass(frozen=True, kw_only=True)
class AccessToken:
    """A token. `renew_at` is on this process's monotonic clock."""

    text: str = field(repr=False)
    renew_at: float


_tokens: Final[dict[str, AccessToken]] = {}
# A lock belongs to one event loop, and a task may run several, one after the other.
_locks: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]]] = WeakKeyDictionary()


class TokenSource:
    """The tokens of one connection with `ClientCredentials`."""

    def __init__(
        self,
        connection: AgentConnection,
        credentials: ClientCredentials,
        *,
        settings: Settings,
        on_secret: Callable[[str], None],
    ) -> None:
        self._credentials = credentials
        self._on_secret = on_secret
        self._settings = replace(
            settings,
            max_agent_response_size=min(_ANSWER_SIZE, settings.max_agent_response_size),
            agent_timeout_seconds=min(_FETCH_SECONDS, settings.agent_timeout_seconds),
        )
        self._endpoint = _make_endpoint(connection, credentials)
        self._key = _digest(connection, credentials)
        self._announced: str | None = None

    async def get(self, *, refused: str | None = None) -> str:
        """Return a token that is still good; never `refused`, which the agent has just not accepted.

        Raises the errors of `AgentClient.send`, never in doubt: nothing was asked of the agent yet.
        """
        token = self._find(refused)
        if token is None:
            locks = _locks.setdefault(asyncio.get_running_loop(), {})
            async with locks.setdefault(self._key, asyncio.Lock()):
                token = self._find(refused) or await self._fetch()
                _tokens[self._key] = token
        if token.text != self._announced:
            self._announced = token.text
            self._on_secret(token.text)
        return token.text

    def _find(self, refused: str | None) -> AccessToken | None:
        token = _tokens.get(self._key)
        usable = token is not None and token.text != refused and time.monotonic() < token.renew_at
        return token if usable else None

    async def _fetch(self) -> AccessToken:
        from scaffolder.agents.http.transport import AgentClient

        asked_at = time.monotonic()
        secrets = self._credentials.secrets
        try:
            async with AgentClient(self._endpoint, settings=self._settings, secrets=secrets) as client:
                answer = await client.send(self._make_request())
        except AgentUnavailableError as error:
            raise AgentUnavailableError(str(error), retry_after_seconds=error.retry_after_seconds) from error
        return _read_token(answer, asked_at)

    def _make_request(self) -> HttpRequest:
        credentials = self._credentials
        form = {"grant_type": "client_credentials", "scope": credentials.scope, "audience": credentials.audience}
        if credentials.client_auth == "body":
            form |= {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
        return HttpRequest(
            method="POST",
            path=credentials.url,
            content=urlencode({name: value for name, value in form.items() if value}).encode(),
            content_type="application/x-www-form-urlencoded",
        )


def _make_endpoint(connection: AgentConnection, credentials: ClientCredentials) -> AgentConnection:
    # The connection itself names the endpoint, so the secret may go there, wherever that is.
    parts = urlsplit(credentials.url)
    # In the header both parts are form-encoded first (RFC 6749, section 2.3.1).
    client = BasicCredentials(
        username=quote_plus(credentials.client_id), password=quote_plus(credentials.client_secret)
    )
    return AgentConnection(
        conn_id=f"{connection.conn_id}, token endpoint",
        base_url=f"{parts.scheme}://{parts.netloc}",
        authentication=client if credentials.client_auth == "basic" else NoAuthentication(),
        tls=connection.tls if parts.scheme == "https" else TlsSettings(),
    )


def _read_token(answer: HttpAnswer, asked_at: float) -> AccessToken:
    data = answer.json()
    text = data.get("access_token") if isinstance(data, dict) else None
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable() or " " in text:
        raise AgentAnswerError(f"{answer.agent} answered without an access_token that a header can carry")
    kind = data.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise AgentAnswerError(f"{answer.agent} answered with a token of another token_type than 'Bearer'")
    lifetime = _read_lifetime(data.get("expires_in"))
    return AccessToken(text=text, renew_at=asked_at + lifetime - min(LEEWAY_SECONDS, lifetime / 2))


def _read_lifetime(value: Any) -> float:
    # Some endpoints send the number as text.
    text = str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else ""
    try:
        seconds = float(text)
    except ValueError:
        return DEFAULT_LIFETIME_SECONDS
    return seconds if 0 <= seconds < float("inf") else DEFAULT_LIFETIME_SECONDS


def _digest(connection: AgentConnection, credentials: ClientCredentials) -> str:
    parts = [
        credentials.url,
        credentials.client_id,
        credentials.client_secret,
        credentials.scope,
        credentials.audience,
        credentials.client_auth,
        connection.tls.client_certificate,
        connection.tls.ca_certificate,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
