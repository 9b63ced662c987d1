"""Webhooks as the Standard Webhooks specification has them (standardwebhooks.com): signed, with an id that stays.

Nothing is followed, and no more of an answer is read than says why it is a refusal.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import re
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2

from scaffolder.agents.connection import AgentConnection, TlsSettings, find_origin, is_plain
from scaffolder.agents.http.failures import clean, describe_refusal, parse_retry_after
from scaffolder.agents.http.tls import make_tls_context
from scaffolder.config import KIB
from scaffolder.errors import AgentConfigurationError, SettingsError
from scaffolder.notifications.delivery import Outcome, describe_notification
from scaffolder.records.notifications import Notification

CONNECTION_TYPES: Final = ("http", "generic")
_PREFIX: Final = "whsec_"
_KEY_BYTES: Final = (24, 64)  # Standard Webhooks, "Signature scheme"
_TOKEN_CHARACTERS: Final = 8
_EXTRAS: Final = ("ca_certificate",)
_USER_AGENT: Final = "airflow-scaffolder"
_ANSWER_SIZE: Final = 64 * KIB
# The status says what matters; its body is waited for no longer than this.
_ANSWER_SECONDS: Final = 2.0
#: Besides those from 500 on: try again later (RFC 9110, section 15.5.9; RFC 8470, section 5.2; RFC 6585, section 4).
_TRANSIENT: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where to, and the key that signs. Of the URL messages show the host only: the rest may be what lets us in.

    `secrets` are what must not be in a message.
    """

    conn_id: str
    url: str = field(repr=False)
    key: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    ca_certificate: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"webhook {self.conn_id!r} ({find_origin(self.url)})"


def parse_webhook(
    conn_id: str,
    *,
    host: str | None,
    port: int | None = None,
    schema: str | None = None,
    login: str | None = None,
    password: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Webhook:
    """Read a connection's fields: host is the URL, password the secret. Raises SettingsError; nothing is guessed."""
    if login:
        raise _error(conn_id, "has a login; accepted is none: the password is the secret that signs, and is not sent")
    given = {name: value for name, value in (extra or {}).items() if value not in (None, "")}
    if unknown := sorted(set(given) - set(_EXTRAS)):
        raise _error(conn_id, f"has the extras {unknown}; accepted are {list(_EXTRAS)}")
    authority = given.get("ca_certificate")
    if authority is not None and not (
        isinstance(authority, str) and ("-----BEGIN " in authority or authority.startswith("/"))
    ):
        raise _error(conn_id, "has a ca_certificate that is neither PEM text nor the absolute path of a file")
    url = _find_url(conn_id, host=host, port=port, schema=schema)
    text = (password or "").strip()
    key = parse_secret(conn_id, text)
    return Webhook(
        conn_id=conn_id,
        url=url,
        key=key,
        secrets=(text, text.removeprefix(_PREFIX), *_find_tokens(url)),
        ca_certificate=authority,
    )


def parse_secret(conn_id: str, text: str) -> bytes:
    """Return the key that signs. Raises SettingsError; the message has nothing of the secret."""
    accepted = f"accepted is {_PREFIX} and base64 of {_KEY_BYTES[0]} to {_KEY_BYTES[1]} bytes, or text of 24 characters"
    if not text:
        raise _error(conn_id, f"has no secret: set its password; {accepted} or more")
    if text.startswith(_PREFIX):
        try:
            key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise _error(
                conn_id, f"has a secret that begins with {_PREFIX} but is no base64; {accepted} or more"
            ) from None
        if not _KEY_BYTES[0] <= len(key) <= _KEY_BYTES[1]:
            raise _error(conn_id, f"has a secret of {len(key)} bytes; {accepted} or more")
        return key
    if len(text) < _KEY_BYTES[0]:
        raise _error(conn_id, f"has a secret of {len(text)} characters; {accepted} or more")
    return text.encode()


def sign(key: bytes, *, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header ``webhook-signature``: HMAC-SHA256 of id, timestamp and body, joined by dots."""
    content = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac.digest(key, content, 'sha256')).decode()}"


def make_message_id(notification: Notification) -> str:
    """Return the header ``webhook-id``: the same for every attempt, so that a second delivery can be told."""
    return f"evt_{notification.event_id}"


def make_body(notification: Notification) -> bytes:
    """Return the message."""
    data = describe_notification(notification)
    event = data["event"]
    told = {name: event[name] for name in ("id", "actor", "from", "to", "error")}
    message = {"type": event["type"], "timestamp": event["timestamp"], "data": {**data, "event": told}}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


class WebhookClient:
    """Sends to one webhook; an async context manager that belongs to one event loop."""

    def __init__(self, webhook: Webhook, *, timeout_seconds: float) -> None:
        self._webhook = webhook
        self._timeout_seconds = timeout_seconds
        self._transport = httpx2.AsyncHTTPTransport(verify=_make_context(webhook), trust_env=False, retries=0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def send(self, notification: Notification) -> Outcome:
        """Send `notification` once, within the time-out."""
        request = self._make_request(notification)
        name = self._webhook.name
        try:
            async with asyncio.timeout(self._timeout_seconds):
                # The transport itself, not httpx2's client: that one logs whole URLs.
                response = await self._transport.handle_async_request(request)
        except TimeoutError:
            reason = f"{name} took longer than {self._timeout_seconds:g} s (SCAFFOLDER_NOTIFICATION_TIMEOUT_SECONDS)"
            return Outcome(state="unavailable", reason=reason)
        except (httpx2.HTTPError, ssl.SSLError, OSError) as error:
            detail = clean(str(error), self._webhook.secrets, limit=200) or type(error).__name__
            return Outcome(state="unavailable", reason=f"{name} did not answer: {detail}")
        try:
            content = await _read_beginning(response)
        finally:
            await response.aclose()
        return self._judge(response, content)

    def _make_request(self, notification: Notification) -> httpx2.Request:
        body = make_body(notification)
        message_id, timestamp = make_message_id(notification), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": _USER_AGENT,
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._webhook.key, message_id=message_id, timestamp=timestamp, body=body),
        }
        return httpx2.Request("POST", self._webhook.url, headers=headers, content=body)

    def _judge(self, response: httpx2.Response, content: bytes) -> Outcome:
        status, name = response.status_code, self._webhook.name
        if 200 <= status < 300:
            return Outcome(state="sent")
        if 300 <= status < 400:
            reason = f"{name} answered {status}, a redirect; redirects are not followed"
            return Outcome(state="refused", reason=reason)
        reason = f"{name} answered {status}: {describe_refusal(content, self._webhook.secrets)}"
        if status in _TRANSIENT or status >= 500:
            seconds = parse_retry_after(response.headers.get("retry-after"))
            return Outcome(state="unavailable", reason=reason, retry_after_seconds=seconds)
        return Outcome(state="refused", reason=reason)


async def _read_beginning(response: httpx2.Response) -> bytes:
    """Return what comes of the body in short time; a body that is read to its end leaves the connection usable."""
    body = bytearray()
    with suppress(TimeoutError, httpx2.HTTPError, OSError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            async for piece in response.aiter_raw():
                body += piece
                if len(body) >= _ANSWER_SIZE:
                    break
    return bytes(body[:_ANSWER_SIZE])


def _find_url(conn_id: str, *, host: str | None, port: int | None, schema: str | None) -> str:
    text = (host or "").strip()
    url = text if "://" in text else f"{schema or 'https'}://{text}"
    origin = find_origin(url)
    parts = urlsplit(url if origin else "")
    if origin is None or parts.fragment or not is_plain(url):
        raise _error(
            conn_id,
            "names no webhook: accepted as host is a URL such as 'https://ci.example.com/hooks/1' without user or "
            "fragment",
        )
    authority = origin if parts.port or not port else f"{origin}:{port}"
    return f"{authority}{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"


def _find_tokens(url: str) -> list[str]:
    """Return what in a URL may be what lets us in: names in its path and values of its query, unless they are short."""
    parts = urlsplit(url)
    return [one for one in re.split(r"[/&=]", f"{parts.path}&{parts.query}") if len(one) >= _TOKEN_CHARACTERS]


def _make_context(webhook: Webhook) -> ssl.SSLContext:
    tls = TlsSettings(ca_certificate=webhook.ca_certificate)
    try:
        return make_tls_context(
            AgentConnection(conn_id=webhook.conn_id, base_url=find_origin(webhook.url) or "", tls=tls)
        )
    except AgentConfigurationError as error:
        raise SettingsError(str(error)) from error


def _error(conn_id: str, problem: str) -> SettingsError:
    return SettingsError(f"connection {conn_id!r} {problem}")
