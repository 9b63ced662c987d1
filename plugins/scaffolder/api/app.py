"""The FastAPI app that Airflow mounts under ``/scaffolder``. Every route needs a user; none is anonymous."""

from __future__ import annotations

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

import scaffolder
from scaffolder.api import agents, problems
from scaffolder.api.links import PREFIX
from scaffolder.api.requests import BodyLimit, KnownQuery
from scaffolder.api.routes import catalogue, events, exports, files, generated, projects

ROUTERS = (projects.router, generated.router, files.router, exports.router, events.router, catalogue.router)


def create_app() -> FastAPI:
    """Return the app. FastAPI's own documentation routes are off: they would be open to everyone."""
    app = FastAPI(
        title="Scaffolder",
        version=scaffolder.__version__,
        description="Projects, what was generated for them and how, and where it went. Errors are "
        "`application/problem+json` (RFC 9457); lists continue after `next_cursor`; state changes need the token in "
        "the `Authorization` header.",
        dependencies=[Depends(get_user), Depends(KnownQuery())],
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)

    @app.get(f"{PREFIX}/openapi.json", include_in_schema=False)
    def describe(request: Request) -> JSONResponse:
        """Send the OpenAPI description of the API."""
        root = request.scope.get("root_path", "")
        return JSONResponse(app.openapi() | {"servers": [{"url": root or "/"}]})

    app.include_router(agents.router, include_in_schema=False)
    problems.install(app)
    app.add_middleware(BodyLimit)
    return app
