"""What every request keeps: a body that is not too large, and no query parameters but those of its route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scaffolder.api.problems import refuse
from scaffolder.config import get_settings
from scaffolder.errors import InvalidParametersError


class BodyLimit:
    """ASGI middleware: answers 413 to bodies of more than the setting ``api_max_body_size``, before they are read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while it is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = get_settings().api_max_body_size
        length = dict(scope["headers"]).get(b"content-length", b"0")
        # What says nothing about its size, or lies, is counted.
        messages: list[Message] = []
        size = int(length) if length.isdigit() else 0
        if scope["method"] not in {"GET", "HEAD"}:
            size, messages = await _read(receive, size, limit)
        if size > limit:
            problem = refuse(
                413,
                f"the body is larger than {limit} bytes; accepted are up to that (SCAFFOLDER_API_MAX_BODY_SIZE)",
            )
            await problem(scope, receive, send)
            return
        remaining = iter(messages)

        async def replay() -> Message:
            return next(remaining, None) or await receive()

        await self._app(scope, replay, send)


async def _read(receive: Receive, size: int, limit: int) -> tuple[int, list[Message]]:
    """Return the size of a body, and it as messages, up to `limit`."""
    messages: list[Message] = []
    if size > limit:
        return size, messages
    counted = 0
    more = True
    while more and counted <= limit:
        message = await receive()
        messages.append(message)
        counted += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    return counted, messages


def check_media_type(request: Request) -> None:
    """Refuse a body that does not say it is JSON where a route takes one (RFC 9110, 15.5.16)."""
    takes_body = getattr(request.scope["route"], "body_field", None) is not None
    is_there = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if takes_body and is_there and media_type != "application/json":
        raise HTTPException(415, f"the body's type is {media_type!r}; accepted is 'application/json'")


class KnownQuery:
    """Refuses query parameters that a route does not have, and those that are there twice but are no lists."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Mapping[str, bool]] | None = None

    def __call__(self, request: Request) -> None:
        """Raise InvalidParametersError naming the parameter and those that are accepted."""
        if not request.query_params:
            return
        app: FastAPI = request.app
        if self._known is None:
            self._known = _list_parameters(app.openapi())
        route: Any = request.scope["route"]
        known = self._known.get((route.path_format, request.method.lower()))
        if known is None:
            return
        for name in request.query_params:
            if name not in known:
                raise InvalidParametersError(f"it is unknown; accepted are {sorted(known)}", parameter=name)
            if not known[name] and len(request.query_params.getlist(name)) > 1:
                raise InvalidParametersError("it is there more than once; accepted is once", parameter=name)


def _list_parameters(document: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, bool]]:
    """Return the query parameters of each path and method, and whether each takes a list."""
    return {
        (path, method): {
            parameter["name"]: _takes_list(parameter["schema"])
            for parameter in operation.get("parameters", ())
            if parameter["in"] == "query"
        }
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def _takes_list(schema: Mapping[str, Any]) -> bool:
    return any(one.get("type") == "array" for one in (schema, *schema.get("anyOf", ())))
