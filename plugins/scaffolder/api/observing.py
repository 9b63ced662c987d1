"""What is observed of every request: its metrics, an id that its log lines and its answer carry, what it is about."""

from __future__ import annotations

import logging
import re
import time
from typing import Final
from uuid import UUID, uuid4

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scaffolder.observability import logs, metrics

log = logging.getLogger(__name__)

HEADER: Final = "X-Request-ID"
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Observing:
    """ASGI middleware around all others: counts and times requests, and gives each its id.

    The id is that of the header ``X-Request-ID``, where it is one of letters, digits, ``.``, ``_`` and ``-``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _ID.fullmatch(given) else uuid4().hex
        started = time.monotonic()
        # Airflow's, which leads here.
        outer = scope.get("route")
        has_begun = False

        async def begin(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start" and not has_begun:
                has_begun = True
                MutableHeaders(scope=message)[HEADER] = request_id
                _tell(scope, outer, status=message["status"], seconds=time.monotonic() - started)
            await send(message)

        with logs.bound(request_id=request_id):
            try:
                await self._app(scope, receive, begin)
            except Exception as error:
                if not has_begun:
                    _tell(scope, outer, status=500, seconds=time.monotonic() - started)
                # Whoever logs the traceback is outside, where no line has an id.
                log.error("A request failed: %s", type(error).__name__)  # noqa: TRY400  # see above
                raise


async def bind_subject(request: Request) -> None:
    """Let the log lines of a request carry what its path names, where that can be one; a dependency of all routes.

    It is asynchronous so that it runs in the request's own context.
    """
    project = request.path_params.get("project")
    logs.bind(
        project=project if isinstance(project, str) and _SLUG.fullmatch(project) else None,
        generated_project_id=_read_id(request.path_params.get("generated_id")),
    )


def _read_id(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None


def _tell(scope: Scope, outer: object, *, status: int, seconds: float) -> None:
    method, route = scope["method"], scope.get("route")
    tags = {
        "route": "none" if route is None or route is outer else route.path_format,
        "method": method if method in _METHODS else "other",
        "status": str(status),
    }
    metrics.count(metrics.API_REQUESTS, **tags)
    metrics.time(metrics.API_LATENCY, seconds, **tags)
