"""Pages of what agents offer: a list of agents, one agent, one of its operations, and the same as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, Response

from scaffolder.agents import documentation
from scaffolder.api.links import Root
from scaffolder.api.permissions import MayUse
from scaffolder.api.records import open_records
from scaffolder.api.resources import Resource
from scaffolder.records.models import Endpoint
from scaffolder.records.store import ProjectRecords
from scaffolder.ui.answering import PageRoute, send


def lend_records() -> Iterator[ProjectRecords]:
    """Yield the records for one request."""
    with open_records() as records:
        yield records


router = APIRouter(prefix="/agents", route_class=PageRoute, dependencies=[Depends(MayUse(Resource.CATALOGUE))])
Records = Annotated[ProjectRecords, Depends(lend_records)]


@router.get("", response_class=HTMLResponse)
def show_agents(records: Records, root: Root) -> HTMLResponse:
    """Show the agents that the registry knows."""
    agents = [
        (description, sum(row.gone_at is None for row in _list_endpoints(records, description.connection)))
        for description in records.endpoints.list_descriptions()
    ]
    return send(documentation.render_agents(agents, root=root))


@router.get("/{connection}.md", response_class=Response)
def download_markdown(connection: str, records: Records) -> Response:
    """Send all of one agent as a Markdown file."""
    description = records.endpoints.get_description(connection)
    rows = documentation.sort_endpoints(_list_endpoints(records, connection))
    # One definition at a time: those of a large agent would take much memory together.
    endpoints = (records.endpoints.get_endpoint(connection, row.operation_id) for row in rows)
    name = quote(f"{connection}.md", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}", "X-Content-Type-Options": "nosniff"}
    text = documentation.render_markdown(description, endpoints)
    return Response(text, media_type="text/markdown; charset=utf-8", headers=headers)


@router.get("/{connection}", response_class=HTMLResponse)
def show_agent(connection: str, records: Records, root: Root) -> HTMLResponse:
    """Show one agent: all of it, or where that is much, what leads to the pages of its operations."""
    description = records.endpoints.get_description(connection)
    endpoints = _list_endpoints(records, connection)
    if len(endpoints) <= documentation.MAX_OPERATIONS_ON_PAGE:
        endpoints = records.endpoints.list_endpoints(connection, with_definitions=True)
    return send(documentation.render_html(description, endpoints, root=root))


@router.get("/{connection}/operations/{operation_id:path}", response_class=HTMLResponse)
def show_operation(connection: str, operation_id: str, records: Records, root: Root) -> HTMLResponse:
    """Show one operation, skill or tool of an agent."""
    description = records.endpoints.get_description(connection)
    endpoint = records.endpoints.get_endpoint(connection, operation_id)
    return send(documentation.render_operation(description, endpoint, root=root))


def _list_endpoints(records: ProjectRecords, connection: str) -> list[Endpoint]:
    return records.endpoints.list_endpoints(connection, with_definitions=False)
