"""The FastAPI app that Airflow mounts under ``/scaffolder``. Every route needs a user; none is anonymous."""

from __future__ import annotations

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

import scaffolder
from scaffolder.api import problems
from scaffolder.api.description import DescribedApp, name_operation
from scaffolder.api.links import PREFIX
from scaffolder.api.observing import Observing, bind_subject
from scaffolder.api.requests import BodyLimit, KnownQuery, check_media_type
from scaffolder.api.routes import catalogue, events, exports, files, generated, projects
from scaffolder.observability.hook import send_from_server
from scaffolder.ui import agents
from scaffolder.ui import projects as ui_projects

ROUTERS = (projects.router, generated.router, files.router, exports.router, events.router, catalogue.router)


def create_app() -> FastAPI:
    """Return the app. FastAPI's own documentation routes are off: they would be open to everyone."""
    app = DescribedApp(
        title="Scaffolder",
        version=scaffolder.__version__,
        description="Projects, what was generated for them and how, and where it went. Errors are "
        "`application/problem+json` (RFC 9457); lists continue after `next_cursor`; state changes need the token in "
        "the `Authorization` header.",
        dependencies=[Depends(bind_subject), Depends(get_user), Depends(KnownQuery())],
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=name_operation,
    )
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX, dependencies=[Depends(check_media_type)])

    @app.get(f"{PREFIX}/openapi.json", include_in_schema=False)
    def describe(request: Request) -> JSONResponse:
        """Send the OpenAPI description of the API."""
        root = request.scope.get("root_path", "")
        return JSONResponse(app.openapi() | {"servers": [{"url": root or "/"}]})

    for pages in (ui_projects.router, agents.router):
        app.include_router(pages, include_in_schema=False)
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Observing)
    send_from_server()
    return app
