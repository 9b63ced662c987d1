"""Every byte to and from an agent: own origin only, bounded in time and size, every failure put into its class.

`AgentTransport` is what other libraries are given as their httpx2 transport; `AgentClient` is what our own code uses.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NoReturn, Self
from urllib.parse import quote, unquote, urlencode, urljoin

import httpx2

from scaffolder.agents.connection import AgentConnection, find_origin, is_plain
from scaffolder.agents.http.authentication import ClientCredentials, HeaderKey, NoAuthentication, QueryKey
from scaffolder.agents.http.content_encoding import ACCEPT_ENCODING, EncodingError, open_decoder
from scaffolder.agents.http.failures import clean, hide_secrets, printable, raise_for_status
from scaffolder.agents.http.messages import RESERVED_HEADERS, HttpAnswer, HttpRequest
from scaffolder.agents.http.oauth import TokenSource
from scaffolder.agents.http.tls import make_tls_context
from scaffolder.agents.http.urls import drop_parameter, set_parameter, show_origin
from scaffolder.config import KIB, Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentRejectedError,
    AgentUnavailableError,
    LimitExceededError,
    ScaffolderError,
)
from scaffolder.observability import traces

__all__ = [
    "DEADLINE",
    "AgentClient",
    "AgentTransport",
    "HttpAnswer",
    "HttpRequest",
]

#: The extension of a request that holds its deadline in seconds.
DEADLINE: Final = "scaffolder_deadline_seconds"
USER_AGENT: Final = "airflow-scaffolder"
_CONNECT_SECONDS: Final = 30.0
# In the triggerer a transport lives for weeks; what an agent repeats is one of the last ones.
_KEPT_TOKENS: Final = 10
_LIMITS: Final = httpx2.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=15.0)
# Of a refusal only the beginning is looked at, and not waited for as long as for an answer.
_REFUSAL_SIZE: Final = 64 * KIB
_REFUSAL_SECONDS: Final = 5.0
#: What an answer's body no longer is once it is here, and what one request must not leave for the next.
_CONSUMED_HEADERS: Final = frozenset({"content-encoding", "content-length", "transfer-encoding", "set-cookie"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
#: What Python's ssl raises for a connection that ends or has nothing to read yet: no disagreement.
_NO_TLS_FAILURES: Final = (
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ssl.SSLSyscallError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)


def _keep_nothing(_: str) -> None:
    """Take a secret that nobody has to be told of."""


@dataclass
class _Progress:
    """How far one request has come, and when it has to be over (the event loop's clock)."""

    ends_at: float
    sent: bool = False

    async def trace(self, event: str, _: Any) -> None:
        # From httpcore2: the first byte of a request, whichever version of HTTP it is.
        if event.endswith("send_request_headers.started"):
            self.sent = True


class AgentTransport(httpx2.AsyncBaseTransport):
    """Sends requests to one agent and returns complete answers of any status.

    The body of an answer is read completely and decoded, at most `Settings.max_agent_response_size` bytes of it; of
    an answer with a status of 400 or more the first 64 KiB. One deadline covers everything from the token's fetching
    to the body's last byte: the request's extension ``scaffolder_deadline_seconds``, by default
    `Settings.agent_timeout_seconds`. Cookies are not kept, redirects not followed, the environment not looked at.

    `on_secret` is told of each secret that comes up on the way (access tokens).

    Raises AgentRejectedError for other origins and for TLS that fails, LimitExceededError, AgentAnswerError for a
    body that cannot be decoded, and AgentUnavailableError, `in_doubt` from the first byte sent. The errors of
    `TokenSource.get` come through. One transport belongs to one event loop.
    """

    def __init__(
        self,
        connection: AgentConnection,
        *,
        settings: Settings,
        on_secret: Callable[[str], None] = _keep_nothing,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._on_secret = on_secret
        self._origin = connection.origin
        self._fetched: deque[str] = deque(maxlen=_KEPT_TOKENS)
        self._tokens = self._make_token_source()
        self._inner = httpx2.AsyncHTTPTransport(
            verify=make_tls_context(connection), trust_env=False, limits=_LIMITS, retries=0
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The connection's secrets, and those that came up since."""
        return (*self._connection.secrets, *self._fetched)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send `request` and return its complete answer."""
        if find_origin(str(request.url)) != self._origin:
            raise AgentRejectedError(
                f"{self._connection.name}: a request would go to {show_origin(str(request.url))}; accepted is the "
                f"connection's own origin {self._origin}"
            )
        deadline = float(request.extensions.get(DEADLINE, self._settings.agent_timeout_seconds))
        progress = _Progress(ends_at=asyncio.get_running_loop().time() + deadline)
        async with self._translated(progress, deadline):
            content = await request.aread()
            token = await self._tokens.get() if self._tokens else None
            response = await self._exchange(request, content, token, progress, deadline)
            if response.status_code == 401 and self._tokens:
                # The token may have been withdrawn before its time. Nothing was done with the request.
                progress.sent = False
                token = await self._tokens.get(refused=token)
                response = await self._exchange(request, content, token, progress, deadline)
            return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()

    def _make_token_source(self) -> TokenSource | None:
        credentials = self._connection.authentication
        if not isinstance(credentials, ClientCredentials):
            return None
        return TokenSource(self._connection, credentials, settings=self._settings, on_secret=self._learn_secret)

    def _learn_secret(self, secret: str) -> None:
        self._fetched.append(secret)
        self._on_secret(secret)

    async def _exchange(
        self, request: httpx2.Request, content: bytes, token: str | None, progress: _Progress, deadline: float
    ) -> httpx2.Response:
        signed = self._sign(request, content, token)
        signed.extensions = {
            "timeout": {"connect": min(_CONNECT_SECONDS, deadline), "read": None, "write": None, "pool": None},
            "trace": progress.trace,
        }
        response = await self._inner.handle_async_request(signed)
        try:
            if response.status_code >= 400:
                body = await self._read_refusal(response, ends_at=progress.ends_at)
            else:
                body = await self._read_answer(response, method=request.method)
        finally:
            await response.aclose()
        headers = [pair for pair in response.headers.multi_items() if pair[0].lower() not in _CONSUMED_HEADERS]
        return httpx2.Response(response.status_code, headers=headers, content=body, request=request)

    def _sign(self, request: httpx2.Request, content: bytes, token: str | None) -> httpx2.Request:
        """Return a copy of `request` with the credentials: what the caller has and logs stays without."""
        authentication = self._connection.authentication
        headers = request.headers.copy()
        headers["Host"] = request.url.netloc.decode("ascii")
        headers["Accept-Encoding"] = ACCEPT_ENCODING
        url = request.url
        if isinstance(authentication, QueryKey):
            url = httpx2.URL(set_parameter(str(url), authentication.name, authentication.key))
        elif token is not None:
            headers["Authorization"] = f"Bearer {token}"
        elif not isinstance(authentication, NoAuthentication | ClientCredentials):
            name, value = authentication.header
            headers[name] = value
        for name in ("Transfer-Encoding", "Content-Length"):
            headers.pop(name, None)
        return httpx2.Request(request.method, url, headers=headers, content=content or None)

    async def _read_answer(self, response: httpx2.Response, *, method: str) -> bytes:
        limit = self._settings.max_agent_response_size
        declared = response.headers.get("content-length", "")
        if method != "HEAD" and declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
            raise self._too_large(limit)
        body = bytearray()
        async for piece in _decode(response):
            body += piece
            if len(body) > limit:
                raise self._too_large(limit)
        return bytes(body)

    async def _read_refusal(self, response: httpx2.Response, *, ends_at: float) -> bytes:
        # The status says what matters: a body that is too long, too slow or broken off doesn't change its class.
        # Half of what is left of the deadline, so that it doesn't end here.
        left = ends_at - asyncio.get_running_loop().time()
        body = bytearray()
        with suppress(TimeoutError, httpx2.HTTPError, EncodingError):
            async with asyncio.timeout(min(_REFUSAL_SECONDS, left / 2)):
                async for piece in _decode(response):
                    body += piece
                    if len(body) >= _REFUSAL_SIZE:
                        break
        return bytes(body[:_REFUSAL_SIZE])

    def _too_large(self, limit: int) -> LimitExceededError:
        return LimitExceededError(
            f"{self._connection.name} answered more than {limit} bytes (SCAFFOLDER_MAX_AGENT_RESPONSE_SIZE)"
        )

    @asynccontextmanager
    async def _translated(self, progress: _Progress, deadline: float) -> AsyncIterator[None]:
        name = self._connection.name
        try:
            async with asyncio.timeout_at(progress.ends_at):
                yield
        except ScaffolderError:
            raise
        except TimeoutError as error:
            raise AgentUnavailableError(
                f"{name} took longer than {deadline:g} s (SCAFFOLDER_AGENT_TIMEOUT_SECONDS, or the step's own)",
                in_doubt=progress.sent,
            ) from error
        except EncodingError as error:
            raise AgentAnswerError(f"{name} answered {error}") from error
        except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
            raise AgentRejectedError(f"{name}: the request cannot be sent ({type(error).__name__})") from error
        except (httpx2.HTTPError, ssl.SSLError, OSError) as error:
            self._raise_for_failure(error, in_doubt=progress.sent)

    def _raise_for_failure(self, error: Exception, *, in_doubt: bool) -> NoReturn:
        name = self._connection.name
        causes = _causes(error)
        reason = clean(str(error), self.secrets, limit=200) or type(error).__name__
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            raise AgentRejectedError(f"{name} has a certificate that cannot be verified: {reason}") from error
        if any(isinstance(cause, ssl.SSLError) and not isinstance(cause, _NO_TLS_FAILURES) for cause in causes):
            raise AgentRejectedError(f"{name} and we don't agree on TLS: {reason}") from error
        # h11 suggests the status that a server would answer: 431 is "Request Header Fields Too Large".
        if any(getattr(cause, "error_status_hint", None) == 431 for cause in causes):
            raise LimitExceededError(f"{name} answered with headers that are too large") from error
        what = "did not answer completely" if in_doubt else "cannot be reached"
        raise AgentUnavailableError(f"{name} {what}: {reason}", in_doubt=in_doubt) from error


class AgentClient:
    """A client of one agent; an async context manager, for many requests at a time in one event loop.

    `secrets` are more than the connection's that must not be in a message. `is_traced`: the agent is told which
    trace a request belongs to (W3C Trace Context), where the settings allow it and a trace is kept.
    """

    def __init__(
        self,
        connection: AgentConnection,
        *,
        settings: Settings,
        on_secret: Callable[[str], None] = _keep_nothing,
        secrets: tuple[str, ...] = (),
        is_traced: bool = False,
    ) -> None:
        self.connection = connection
        self._is_traced = is_traced and settings.agent_trace_context
        self.settings = settings
        self._secrets = secrets
        self._transport = AgentTransport(connection, settings=settings, on_secret=on_secret)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be in a message: the connection's secrets and the tokens fetched since."""
        return (*self._transport.secrets, *self._secrets)

    async def send(
        self,
        request: HttpRequest,
        *,
        idempotency_key: str | None = None,
        timeout_seconds: float | None = None,
        accept: str = "application/json, application/problem+json",
        allow: frozenset[int] = frozenset(),
    ) -> HttpAnswer:
        """Send `request` once and return its answer, if that has a status of 2xx or one of `allow`.

        Raises AgentRejectedError for a request that may not be sent as it is, and the errors of `AgentTransport` and
        `raise_for_status`. `timeout_seconds` is the deadline, by default `Settings.agent_timeout_seconds`.
        """
        url = self._find_url(request)
        headers = {"Accept": accept, "User-Agent": USER_AGENT, **self._check_headers(request, idempotency_key)}
        if self._is_traced and "traceparent" not in map(str.lower, headers):
            headers |= {"traceparent": traceparent} if (traceparent := traces.get_traceparent()) else {}
        try:
            sent = httpx2.Request(request.method, url, headers=headers, content=request.content)
        except (httpx2.InvalidURL, ValueError) as error:
            raise self._error(f"the request cannot be sent ({type(error).__name__})") from error
        if timeout_seconds is not None:
            sent.extensions[DEADLINE] = timeout_seconds
        response = await self._transport.handle_async_request(sent)
        answer = HttpAnswer(
            status=response.status_code,
            headers=_join_headers(response.headers),
            content=response.content,
            url=url,
            agent=self.connection.name,
            max_json_depth=self.settings.max_agent_json_depth,
        )
        raise_for_status(answer, self.connection.name, self.secrets, allow=allow)
        return answer

    def resolve(self, url: str, *, base: str | None = None) -> str:
        """Return `url`, as in a Location or Link header of the answer from `base`, as a URL of our own origin.

        A credential that the agent put into its query is taken out. Raises AgentRejectedError for other origins,
        naming scheme and host only.
        """
        try:
            found = urljoin(base or f"{self.connection.base_url}/", url.strip())
        except ValueError as error:
            raise self._error("a link leads to an address that is none") from error
        if not is_plain(found) or find_origin(found) != self.connection.origin:
            raise self._error(
                f"a link leads to {show_origin(found)}; accepted is the connection's own origin "
                f"{self.connection.origin}"
            )
        authentication = self.connection.authentication
        return drop_parameter(found, authentication.name if isinstance(authentication, QueryKey) else None)

    def _find_url(self, request: HttpRequest) -> str:
        path = request.path
        if path.startswith("/"):
            self._check_path(path)
            url = self.connection.base_url + path
        else:
            url = self.resolve(path)
        if not request.query:
            return url
        authentication = self.connection.authentication
        if isinstance(authentication, QueryKey) and any(name == authentication.name for name, _ in request.query):
            raise self._error(f"the request sets the parameter {authentication.name!r}, which holds the credentials")
        try:
            added = urlencode(request.query, quote_via=quote)
        except UnicodeEncodeError as error:
            raise self._error("the query has half a character, which no URL takes") from error
        return f"{url}{'&' if '?' in url else '?'}{added}"

    def _check_path(self, path: str) -> None:
        """Refuse whatever some server might take for a path outside of the base URL's (RFC 3986, section 5.2.4)."""
        # Some servers decode first, and some take what follows a semicolon for no part of the name.
        parts = [part.partition(";")[0] for part in re.split(r"[/\\]", unquote(path.partition("?")[0]))]
        if path.startswith("//") or not is_plain(path) or "#" in path or any(part in {".", ".."} for part in parts):
            raise self._error(
                f"a request would go to {clean(path, self.secrets)!r}; accepted is a path below the agent"
            )

    def _check_headers(self, request: HttpRequest, idempotency_key: str | None) -> dict[str, str]:
        headers = dict(request.headers)
        reserved = RESERVED_HEADERS | {self._credential_header} | ({"idempotency-key"} if idempotency_key else set())
        if taken := sorted(name for name in headers if name.lower() in reserved):
            raise self._error(f"the request sets the headers {taken}, which are not its own to set")
        if request.content_type:
            headers["Content-Type"] = request.content_type
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        for name, value in headers.items():
            if not _TOKEN.fullmatch(name) or not (value.isascii() and value.isprintable()):
                raise self._error(f"the header {printable(name)[:100]!r} is not printable ASCII")
        return headers

    @property
    def _credential_header(self) -> str:
        authentication = self.connection.authentication
        return authentication.name.lower() if isinstance(authentication, HeaderKey) else "authorization"

    def _error(self, problem: str) -> AgentRejectedError:
        return AgentRejectedError(hide_secrets(f"{self.connection.name}: {problem}", self.secrets))


async def _decode(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Yield the decoded body of a response, whose stream nobody has touched, in small pieces."""
    decoder = open_decoder(response.headers.get_list("content-encoding", split_commas=True))
    async for data in response.aiter_raw():
        for piece in decoder.decode(data):
            yield piece
    decoder.finish()


def _join_headers(headers: httpx2.Headers) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers.multi_items():
        joined[name.lower()] = f"{joined[name.lower()]}, {value}" if name.lower() in joined else value
    return joined


def _causes(error: BaseException | None) -> list[BaseException]:
    """Return `error` and all that led to it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
