"""Pages of generated projects: all that somebody sees, one of them, and that of a DAG run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode, urlsplit
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator

from scaffolder.api.links import PREFIX, Base, Root
from scaffolder.api.paging import decode_cursor, encode_cursor
from scaffolder.api.permissions import (
    Caller,
    CallerDep,
    IsProjectMemberOrReadOnly,
    MayUse,
    ProjectScope,
    find_readable_project,
)
from scaffolder.api.records import open_records
from scaffolder.api.resources import Resource
from scaffolder.api.routes.generated import GeneratedId
from scaffolder.api.schemas.values import PRINTABLE
from scaffolder.errors import RecordNotFoundError
from scaffolder.records import listing
from scaffolder.records.listing import Order
from scaffolder.records.models import GeneratedProject, GeneratedProjectStatus, RepositoryExport
from scaffolder.ui.answering import PageRoute, show

router = APIRouter(route_class=PageRoute)

ROWS: Final = 50
FILES: Final = 200
_NEWEST: Final = Order(key="created_at", descending=True)
_BY_PATH: Final = Order(key="path")
_LIVING: Final = [one.value for one in GeneratedProjectStatus if one is not GeneratedProjectStatus.DELETED]

Cursor = Annotated[str | None, Query(max_length=8_000, pattern="^[A-Za-z0-9_-]*$")]
ReadableGenerated = Annotated[ProjectScope, Depends(IsProjectMemberOrReadOnly(Resource.GENERATED))]


def _empty_is_none(value: Any) -> Any:
    # What a form sends for a field that was left alone.
    return value or None


@router.get("/projects", response_class=HTMLResponse)
def show_projects(
    caller: Annotated[Caller, Depends(MayUse(Resource.GENERATED))],
    root: Root,
    base: Base,
    status: Annotated[GeneratedProjectStatus | None, BeforeValidator(_empty_is_none), Query()] = None,
    project: Annotated[str, Query(max_length=250, pattern=PRINTABLE)] = "",
    name: Annotated[str, Query(max_length=250, pattern=PRINTABLE)] = "",
    cursor: Cursor = None,
) -> HTMLResponse:
    """List the generated projects that the caller sees, the newest first."""
    filters = {"status": [status.value] if status else _LIVING, "name_prefix": name or None}
    within: dict[str, Any] = {"sees_all": caller.is_administrator(), "username": caller.name}
    if project:
        within["project"] = find_readable_project(project, caller=caller).project
    with open_records() as records:
        page = records.listing.list(
            listing.GENERATED_OF_PROJECT if project else listing.GENERATED,
            order=_NEWEST,
            limit=ROWS,
            after=decode_cursor(cursor, _NEWEST) if cursor else None,
            within=within,
            filters=filters,
        )
    chosen = {"status": status or "", "project": project, "name": name}
    return show(
        "projects.html.jinja",
        rows=[_describe(one, root=root, base=base) for one in page.items],
        statuses=[one.value for one in GeneratedProjectStatus],
        chosen=chosen,
        action=f"{root}/projects",
        is_first=cursor is None,
        next_href=_next(f"{root}/projects", chosen, page, _NEWEST),
    )


@router.get("/projects/{project}/generated/{generated_id}", response_class=HTMLResponse)
def show_generated(
    scope: ReadableGenerated, generated_id: GeneratedId, root: Root, base: Base, cursor: Cursor = None
) -> HTMLResponse:
    """Show one generated project: its facts, files, exports, agent calls and events."""
    return _show_generated(scope, generated_id, root=root, base=base, cursor=cursor)


@router.get("/runs", response_class=HTMLResponse)
def show_run(
    caller: CallerDep,
    root: Root,
    base: Base,
    dag_id: Annotated[str, Query(max_length=250)],
    run_id: Annotated[str, Query(max_length=250)],
) -> HTMLResponse:
    """Show the generated project of a DAG run, or that it has none."""
    caller.check_may("GET", Resource.GENERATED)
    with open_records() as records:
        found = records.find_generated_project(dag_id.replace("\0", ""), run_id.replace("\0", ""))
    if found is not None:
        with suppress(RecordNotFoundError):
            scope = find_readable_project(found.project, caller=caller)
            return _show_generated(scope, found.id, root=root, base=base, cursor=None)
    # Whether there is none or one of a project that is hidden is not told.
    return show("no_project.html.jinja", href=f"{root}/projects")


def _show_generated(
    scope: ProjectScope, generated_id: UUID, *, root: str, base: str, cursor: str | None
) -> HTMLResponse:
    within = {"generated_project_id": generated_id}
    with open_records() as records:
        generated = scope.find_generated(records, generated_id)
        commits = records.list_commits(generated_id)
        position = commits[-1].position if commits else -1
        files = records.listing.list(
            listing.FILES,
            order=_BY_PATH,
            limit=FILES,
            after=decode_cursor(cursor, _BY_PATH) if cursor else None,
            within={**within, "position": position},
        )
        exports, calls, events = (
            records.listing.list(what, order=order, limit=ROWS, within=within)
            for what, order in (
                (listing.EXPORTS, _NEWEST),
                (listing.AGENT_CALLS, _NEWEST),
                (listing.EVENTS_OF_GENERATED, Order(key="id", descending=True)),
            )
        )
    described = _describe(generated, root=root, base=base)
    api = f"{root}{PREFIX}/projects/{scope.project}/generated/{generated_id}"
    return show(
        "generated.html.jinja",
        generated=described,
        commits=commits,
        files=[{"record": one, "href": f"{api}/content/{quote(one.path)}"} for one in files.items],
        next_href=_next(described["href"], {}, files, _BY_PATH, anchor="#files"),
        exports=[_describe_export(one, api=api) for one in exports.items],
        calls=calls,
        events=events,
        trail=[("Projects", f"{root}/projects"), (scope.project, f"{root}/projects?project={scope.project}")],
        rows=ROWS,
    )


def _describe(one: GeneratedProject, *, root: str, base: str) -> dict[str, Any]:
    href = f"{root}/projects/{one.project}/generated/{one.id}"
    dag, run = (quote(text, safe="") for text in (one.dag_id, one.run_id))
    is_held = one.held and (one.held_until is None or one.held_until > datetime.now(UTC))
    return {"record": one, "href": href, "run_href": f"{base}/dags/{dag}/runs/{run}", "is_held": is_held}


def _describe_export(one: RepositoryExport, *, api: str) -> dict[str, Any]:
    download = f"{api}/exports/{one.id}/archive" if one.archive_path and one.status == "exported" else None
    outside = one.url if one.url and _is_web_address(one.url) else None
    return {"record": one, "download_href": download, "outside_href": outside}


def _is_web_address(url: str) -> bool:
    """Say whether what a host has answered may become a link."""
    try:
        found = urlsplit(url)
    except ValueError:
        return False
    return found.scheme in {"http", "https"} and bool(found.netloc)


def _next(
    path: str, query: Mapping[str, str], page: listing.PageOf[Any], order: Order, *, anchor: str = ""
) -> str | None:
    if page.after is None:
        return None
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode({**given, 'cursor': encode_cursor(order, page.after)})}{anchor}"
