"""Requests to operations that no description mentions: a method, a path below the base URL, and what goes with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from scaffolder.agents.http.messages import HttpRequest
from scaffolder.errors import AgentRejectedError

_PLACEHOLDER: Final = re.compile(r"\{([^{}/]*)\}")
# What RFC 3986 allows in a path, and the percent sign of what is encoded already.
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~"
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class _Unfit(ValueError):  # noqa: N818  # never leaves this module
    """A part of a request that cannot be sent; the message says why."""


def build_request(method: str, path: str, *, parameters: Mapping[str, Any], body: Any) -> HttpRequest:
    """Return the request: parameters fill the ``{placeholders}`` of `path`, the others are the query.

    Lists are repeated in the query; None leaves a parameter out; booleans are ``true`` and ``false``. The body is JSON.
    Raises AgentRejectedError with everything that is wrong.
    """
    names = set(_PLACEHOLDER.findall(path))
    problems = [*_find_problems(path), *(f"parameter {name!r} is missing" for name in names - parameters.keys())]
    filled, query, content = path, [], None
    for name, value in parameters.items():
        try:
            if name in names:
                filled = filled.replace(f"{{{name}}}", _to_segment(value))
            else:
                query += [(name, _to_text(one)) for one in _to_list(value)]
        except _Unfit as error:
            problems.append(f"parameter {name!r} {error}")
    try:
        content = _encode(method, body)
    except _Unfit as error:
        problems.append(f"body {error}")
    if problems:
        raise AgentRejectedError(f"{method} {path!r} was not sent: {'; '.join(problems)}")
    return HttpRequest(
        method=method,
        path=quote(filled, safe=_PATH_CHARACTERS),
        query=tuple(query),
        content=content,
        content_type=None if content is None else "application/json",
    )


def _find_problems(path: str) -> Iterator[str]:
    if not path.startswith("/") or path.startswith("//"):
        yield "accepted as path is one below the agent's base URL, such as '/v1/items/{item}'"
    if any(one in path for one in "?#\\") or not path.isprintable():
        yield "accepted as path is one without '?', '#', '\\' and control characters; the query is made of parameters"
    if any(part in {".", ".."} for part in unquote(path).split("/")):
        yield "accepted as path is one without '.' and '..'"


def _to_segment(value: Any) -> str:
    text = _to_text(value)
    if text in {"", ".", ".."}:
        raise _Unfit(f"is {text!r}; accepted is what can be part of a path")
    return quote(text, safe="")


def _to_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise _Unfit(
        f"is a {type(value).__name__}; accepted are text, numbers, true and false, in the query also lists of them"
    )


def _encode(method: str, body: Any) -> bytes | None:
    if body is None:
        return None
    if method in _WITHOUT_BODY:
        raise _Unfit(f"goes with {method}; accepted are parameters (RFC 9110, section 9.3)")
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise _Unfit(f"is not JSON: {error}") from error
