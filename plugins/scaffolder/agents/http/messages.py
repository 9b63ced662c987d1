"""One HTTP request to an agent and its complete answer, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from scaffolder.agents.http.failures import printable
from scaffolder.config import Settings
from scaffolder.errors import AgentAnswerError, LimitExceededError

#: What a request cannot set: who it comes from, where it goes, how it is framed (RFC 9110, sections 7.2 and 7.6.1).
RESERVED_HEADERS: Final = frozenset(
    {
        *("host", "authorization", "cookie", "content-length", "transfer-encoding", "connection", "keep-alive"),
        *("te", "trailer", "upgrade", "expect", "proxy-authorization", "proxy-connection", "accept-encoding"),
        *("content-type", "accept", "user-agent"),
    }
)
_DEFAULT_DEPTH: Final = Settings().max_agent_json_depth


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """A request. `path` begins with a slash and is below the connection's base URL, or is a URL of the same origin.

    The path is percent-encoded already; `query` is not, and is added to what the path has. `headers` are those of the
    request itself: credentials, Host and framing are the transport's.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes | None = field(default=None, repr=False)
    content_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class HttpAnswer:
    """A complete answer, decoded. `headers` have lower-case names; of several with one name the values are joined.

    `url` is where the request went, without credentials. `agent` is what messages call the agent, and
    `max_json_depth` the levels of nesting that `json` accepts.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    url: str
    agent: str = "the agent"
    max_json_depth: int = _DEFAULT_DEPTH

    @property
    def media_type(self) -> str:
        """The media type without parameters, lower-case; empty where none is given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """Return the content as plain JSON data (RFC 8259), None where it is empty.

        Raises AgentAnswerError for another media type and for what is not JSON: NaN, numbers out of range, names given
        twice, text that is no Unicode. Raises LimitExceededError for nesting deeper than `max_json_depth`.
        """
        if not self.content:
            return None
        media_type = self.media_type
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise AgentAnswerError(
                f"{self.agent} answered {self.status} as {printable(media_type)[:100]!r}; accepted is application/json"
            )
        try:
            return parse_json(self.content, max_depth=self.max_json_depth)
        except _TooDeepError as error:
            raise LimitExceededError(
                f"{self.agent} answered with JSON nested deeper than {self.max_json_depth} levels "
                "(SCAFFOLDER_MAX_AGENT_JSON_DEPTH)"
            ) from error
        except ValueError as error:
            raise AgentAnswerError(
                f"{self.agent} answered {len(self.content)} bytes that are no JSON: {_describe(error)}"
            ) from error


class _TooDeepError(ValueError):
    """JSON nested too deep."""


class _NotJsonError(ValueError):
    """What json.loads would let through; the message is fit to be shown."""


def parse_json(content: bytes, *, max_depth: int) -> Any:
    """Return strict JSON as plain data. Raises ValueError."""
    try:
        data = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_make_object,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
        )
    except RecursionError as error:
        raise _TooDeepError from error
    _check_depth(data, max_depth)
    if b"\\ud" in content or b"\\uD" in content:
        _check_text(data)
    return data


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _NotJsonError("an object has one name twice")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise _NotJsonError(f"{name} is none")


def _parse_float(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise _NotJsonError("a number is out of range")
    return value


def _check_depth(data: Any, max_depth: int) -> None:
    # Level by level instead of by recursion, which has a limit of its own.
    level = [data] if isinstance(data, dict | list) else []
    for _ in range(max_depth):
        if not level:
            return
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    if level:
        raise _TooDeepError


def _check_text(data: Any) -> None:
    # An escape may stand for half a character (RFC 8259, section 8.2), which no UTF-8 and no Postgres takes.
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _NotJsonError("text with half a character") from error


def _describe(error: ValueError) -> str:
    if isinstance(error, _NotJsonError):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}: {error.msg}"
    return type(error).__name__
