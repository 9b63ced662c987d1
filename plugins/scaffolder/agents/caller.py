"""Sends one request to an agent: own origin only, bounded in time and size, every failure put into its class."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from scaffolder.agents.connection import AgentConnection
from scaffolder.agents.description import AgentRequest
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    LimitExceededError,
)

if TYPE_CHECKING:
    import httpx2

_TRANSIENT_STATUSES: Final = frozenset({408, 425})
_DETAIL_BYTES: Final = 16_384
_DETAIL_CHARACTERS: Final = 500


@dataclass(frozen=True, kw_only=True)
class AgentAnswer:
    """A successful answer: plain JSON data, None where the body is empty."""

    status: int
    data: Any


class AgentCaller:
    """A client of one agent. Use it as a context manager."""

    def __init__(self, connection: AgentConnection, *, settings: Settings) -> None:
        import httpx2

        self._connection = connection
        self._settings = settings
        # trust_env would add credentials of .netrc and proxies that the connection does not name.
        self._client = httpx2.Client(
            base_url=connection.base_url,
            headers={**connection.headers, "Accept": "application/json, application/problem+json"},
            timeout=httpx2.Timeout(settings.agent_timeout_seconds, connect=min(30, settings.agent_timeout_seconds)),
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def fetch_description(self) -> Any:
        """Return the agent's OpenAPI description."""
        request = AgentRequest(
            operation_id="description",
            method="GET",
            path=self._connection.description_path,
            query=(),
            headers=(),
            body=None,
        )
        return self.send(request).data

    def send(self, request: AgentRequest, *, idempotency_key: str | None = None) -> AgentAnswer:
        """Send `request` once.

        Raises AgentUnavailableError and AgentRateLimitedError (worth a retry), AgentRejectedError (4xx, redirect),
        AgentAnswerError (not JSON) and LimitExceededError (too large).
        """
        headers = dict(request.headers)
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        content = None
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(request.body, allow_nan=False).encode()
        deadline = time.monotonic() + self._settings.agent_timeout_seconds
        sent = self._client.build_request(
            request.method, request.path, params=list(request.query), headers=headers, content=content
        )
        # The base URL is only a default to the client: an absolute path would carry the token elsewhere.
        if not str(sent.url).startswith(f"{self._connection.base_url}/"):
            raise AgentRejectedError(f"{self._name}: {_printable(request.path)!r} leads away from the agent")
        with self._translated(), closing(self._client.send(sent, stream=True)) as response:
            if not response.is_success:
                self._refuse(response, deadline)
            body = self._read(response, limit=self._settings.max_agent_response_size, deadline=deadline)
            return AgentAnswer(status=response.status_code, data=self._parse(response, body))

    def _read(self, response: httpx2.Response, *, limit: int, deadline: float) -> bytes:
        body = bytearray()
        # Chunks as they come: waiting for full ones would let a slow drip pass. httpx2 inflates bit by bit.
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > limit:
                raise LimitExceededError(
                    f"{self._name} answered more than {limit} bytes (SCAFFOLDER_MAX_AGENT_RESPONSE_SIZE)"
                )
            if time.monotonic() > deadline:
                raise AgentUnavailableError(
                    f"{self._name} took longer than {self._settings.agent_timeout_seconds} s "
                    "(SCAFFOLDER_AGENT_TIMEOUT_SECONDS)"
                )
        return bytes(body)

    def _parse(self, response: httpx2.Response, body: bytes) -> Any:
        if not body:
            return None
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise AgentAnswerError(f"{self._name} answered {_printable(media_type)!r}; accepted is application/json")
        try:
            return json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise AgentAnswerError(
                f"{self._name} answered {len(body)} bytes that are no JSON: {type(error).__name__}"
            ) from error

    def _refuse(self, response: httpx2.Response, deadline: float) -> NoReturn:
        status = response.status_code
        if response.is_redirect:
            raise AgentRejectedError(f"{self._name} answered {status}, a redirect; redirects are not followed")
        message = f"{self._name} answered {status}: {self._read_detail(response, deadline)}"
        if status == 429:
            raise AgentRateLimitedError(message, retry_after_seconds=_retry_after(response))
        if status >= 500 or status in _TRANSIENT_STATUSES:
            raise AgentUnavailableError(message, retry_after_seconds=_retry_after(response))
        if status in {401, 403}:
            message += f". Check the token of connection {self._connection.conn_id!r}"
        raise AgentRejectedError(message)

    def _read_detail(self, response: httpx2.Response, deadline: float) -> str:
        """Return what the agent says of its refusal (RFC 9457), printable and cut."""
        try:
            body = self._read(response, limit=_DETAIL_BYTES, deadline=deadline)
            problem = json.loads(body)
        except (LimitExceededError, ValueError, RecursionError):
            return "no reason given"
        detail = (problem.get("detail") or problem.get("title")) if isinstance(problem, dict) else None
        text = detail if isinstance(detail, str) else json.dumps(detail) if detail else "no reason given"
        return _printable(self._without_token(text))[:_DETAIL_CHARACTERS]

    def _without_token(self, text: str) -> str:
        # Some agents repeat the token that they refuse.
        return text.replace(self._connection.token, "***") if self._connection.token else text

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx2

        try:
            yield
        except httpx2.TimeoutException as error:
            raise AgentUnavailableError(f"{self._name} did not answer in time ({type(error).__name__})") from error
        except httpx2.DecodingError as error:
            raise AgentAnswerError(f"{self._name} answered with a broken encoding") from error
        except httpx2.HTTPError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise AgentRejectedError(f"{self._name} has a certificate that cannot be verified") from error
            raise AgentUnavailableError(
                f"{self._name} cannot be reached: {_printable(str(error))[:200] or type(error).__name__}"
            ) from error

    @property
    def _name(self) -> str:
        return f"agent {self._connection.conn_id!r} ({self._connection.base_url})"


def _retry_after(response: httpx2.Response) -> float | None:
    # Retry-After as seconds or as a date (RFC 9110, section 10.2.3).
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _printable(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
