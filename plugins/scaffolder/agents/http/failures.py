"""Failures of agents put into our error classes, and what an agent says of them made fit for a message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from scaffolder.errors import (
    AgentAnswerError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
)

MAX_DETAIL_CHARACTERS: Final = 500
NO_REASON: Final = "no reason given"
#: No agent means more than this; as a number of seconds it still stands for "too long".
_MAX_RETRY_AFTER_SECONDS: Final = 1e9
#: Shorter ones would be found in ordinary words.
_MIN_SECRET_CHARACTERS: Final = 4
#: No agent puts its reason deeper than this.
_MAX_REASON_DEPTH: Final = 8
#: Told to try again before anything was done (RFC 9110, sections 15.5.9 and 15.6.4; RFC 8470, section 5.2; 529 is
#: Anthropic's "overloaded").
_NOT_ACTED_UPON: Final = frozenset({408, 425, 503, 529})
#: Server errors that another try does not change: method, version, the agent's own set-up (RFC 9110, 2295, 5842).
_FINAL_SERVER_ERRORS: Final = frozenset({501, 505, 506, 508})


class StatusAnswer(Protocol):
    """What `raise_for_status` looks at: an `HttpAnswer` is one."""

    @property
    def status(self) -> int:
        """The status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers by lower-case name."""
        ...

    @property
    def content(self) -> bytes:
        """The decoded body."""
        ...


def raise_for_status(
    answer: StatusAnswer, name: str, secrets: Iterable[str] = (), *, allow: frozenset[int] = frozenset()
) -> None:
    """Raise the error of `answer`'s status; those of 2xx and `allow` pass. `name` is what the message calls the agent.

    429, and 403 with Retry-After, are AgentRateLimitedError; 5xx, 408 and 425 AgentUnavailableError, in doubt unless
    the status itself says that nothing was done; the rest is AgentRejectedError. None of `secrets` is in a message.
    """
    status = answer.status
    if 200 <= status < 300 or status in allow:
        return
    if not 300 <= status < 600:
        raise AgentAnswerError(f"{name} answered with status {status}; accepted are 200 to 599")
    if status < 400:
        raise AgentRejectedError(f"{name} answered {status}, a redirect; redirects are not followed")
    message = f"{name} answered {status}: {describe_refusal(answer.content, secrets)}"
    retry_after_seconds = parse_retry_after(answer.headers.get("retry-after"))
    # GitHub and others limit rates with 403; Retry-After tells that from a refusal.
    if status == 429 or (status == 403 and retry_after_seconds is not None):
        raise AgentRateLimitedError(message, retry_after_seconds=retry_after_seconds)
    if status in _NOT_ACTED_UPON or (status >= 500 and status not in _FINAL_SERVER_ERRORS):
        raise AgentUnavailableError(
            message, retry_after_seconds=retry_after_seconds, in_doubt=status not in _NOT_ACTED_UPON
        )
    hint = ". Check the credentials of its connection" if status in {401, 403, 407} else ""
    raise AgentRejectedError(message + hint)


def describe_refusal(content: bytes, secrets: Iterable[str] = ()) -> str:
    """Return what an agent says of its refusal: printable, on one line, without `secrets`, cut.

    Understood are problem details (RFC 9457), OAuth's errors (RFC 6749, section 5.2), FastAPI's lists, and the shapes
    of OpenAI, Anthropic and GitHub. Other text is not repeated: it may be a page, or our own request.
    """
    try:
        problem = json.loads(content)
    except (ValueError, RecursionError):
        return NO_REASON
    text = _find_reason(problem)
    return clean(text, secrets) if text else NO_REASON


def clean(text: str, secrets: Iterable[str] = (), *, limit: int = MAX_DETAIL_CHARACTERS) -> str:
    """Return an agent's `text` printable, on one line, with ``***`` for `secrets`, and cut at `limit` characters."""
    return printable(hide_secrets(printable(hide_secrets(text, secrets)), secrets))[:limit]


def hide_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with ``***`` in the place of each of `secrets`; the longest first, as one may hold another."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET_CHARACTERS:
            text = text.replace(secret, "***")
    return text


def printable(text: str) -> str:
    """Return `text` on one line, with a space for whatever isn't printable (controls, bidirectional marks)."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def parse_retry_after(text: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), or None where it says nothing.

    A date that has passed is 0.
    """
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    text = (text or "").strip()
    if re.fullmatch("[0-9]+", text):
        return min(float(text), _MAX_RETRY_AFTER_SECONDS)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    # The older forms of dates name no zone and mean UTC (section 5.6.7).
    moment = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), _MAX_RETRY_AFTER_SECONDS)


def _find_reason(problem: Any, depth: int = 0) -> str | None:
    if isinstance(problem, str):
        return problem
    if not isinstance(problem, list | dict) or depth == _MAX_REASON_DEPTH:
        return None
    if isinstance(problem, list):
        return "; ".join(filter(None, (_find_reason(one, depth + 1) for one in problem[:10]))) or None
    if isinstance(problem.get("loc"), list) and isinstance(problem.get("msg"), str):
        return f"{'.'.join(str(part) for part in problem['loc'] if isinstance(part, str | int))}: {problem['msg']}"
    for name in ("detail", "title", "message", "error_description", "error", "errors", "msg"):
        if reason := _find_reason(problem.get(name), depth + 1):
            return reason
    return None
