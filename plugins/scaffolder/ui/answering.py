"""How pages are answered: with headers that let nothing in, and errors as pages, too."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from scaffolder.api.problems import describe_error
from scaffolder.errors import ScaffolderError
from scaffolder.page_layout import get_security_policy, make_environment
from scaffolder.ui.words import format_amount, format_size, tell_age

if TYPE_CHECKING:
    from jinja2 import Environment

_PAGES: Final = Path(__file__).parent / "pages"


class PageRoute(APIRoute):
    """A route whose errors are pages that people can read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except (ScaffolderError, HTTPException, RequestValidationError) as error:
                status, title, detail = describe_error(error)
                root = request.scope.get("root_path", "")
                return show("error.html.jinja", status=status, title=title, detail=detail, root=root)

        return answer


def show(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page made of one of our templates."""
    return send(_environment().get_template(template).render(values), status=status)


def send(html: str, *, status: int = 200) -> HTMLResponse:
    """Return a page."""
    headers = {
        # Airflow shows the pages in a frame of its own origin.
        "Content-Security-Policy": f"{get_security_policy()}; frame-ancestors 'self'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-cache",
    }
    return HTMLResponse(html, status_code=status, headers=headers)


@cache
def _environment() -> Environment:
    environment = make_environment(_PAGES)
    environment.filters |= {"age": tell_age, "amount": format_amount, "size": format_size}
    return environment
