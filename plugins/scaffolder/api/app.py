"""The FastAPI app that Airflow mounts under ``/scaffolder``. Every route needs a user; none is anonymous."""

from __future__ import annotations

import logging
from typing import Final

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from scaffolder import errors
from scaffolder.api import agents, exports

log = logging.getLogger(__name__)

_STATUSES: Final[tuple[tuple[type[errors.ScaffolderError], int], ...]] = (
    (errors.RecordNotFoundError, 404),
    (errors.PermissionDeniedError, 403),
    (errors.ExportConflictError, 409),
    (errors.RecordsUnavailableError, 503),
    (errors.SchemaVersionError, 503),
    (errors.SettingsError, 500),
    (errors.PermanentError, 422),
    (errors.ScaffolderError, 502),
)


def create_app() -> FastAPI:
    """Return the app. Its own documentation pages are off: they would be open to everyone."""
    app = FastAPI(
        title="Scaffolder",
        dependencies=[Depends(get_user)],
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(exports.router, prefix="/api/v1")
    app.include_router(agents.router)
    app.add_exception_handler(errors.ScaffolderError, answer_problem)
    return app


def answer_problem(_: Request, error: Exception) -> JSONResponse:
    """Answer an error of the package as ``application/problem+json`` (RFC 9457)."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if status >= 500:
        log.error("A request failed: %s", error)
    # What is wrong inside (hosts, users, settings) is for the log.
    detail = str(error) if status < 500 else "The records cannot be read now; the API server's log says why"
    problem = {"type": "about:blank", "title": type(error).__name__, "status": status, "detail": detail}
    return JSONResponse(problem, status_code=status, media_type="application/problem+json")
