"""Projects and their members."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from scaffolder.api.links import PREFIX, Root
from scaffolder.api.paging import MOST_VALUES, Page, PageRequest, as_filters, dump, page_of
from scaffolder.api.permissions import Caller, IsProjectMemberOrReadOnly, MayUse, ProjectScope
from scaffolder.api.problems import describe_answers
from scaffolder.api.records import open_records
from scaffolder.api.resources import Resource
from scaffolder.api.schemas.events import EventOut
from scaffolder.api.schemas.projects import MemberIn, MemberOut, ProjectChanges, ProjectIn, ProjectOut
from scaffolder.api.schemas.values import PRINTABLE, Username
from scaffolder.errors import RecordNotFoundError
from scaffolder.records import listing
from scaffolder.records.models import MemberRole, Visibility

router = APIRouter(prefix="/projects", tags=["projects"])

ReadableProject = Annotated[ProjectScope, Depends(IsProjectMemberOrReadOnly(Resource.PROJECTS))]
OwnedProject = Annotated[ProjectScope, Depends(IsProjectMemberOrReadOnly(Resource.PROJECTS, role=MemberRole.OWNER))]
User = Annotated[Caller, Depends(MayUse(Resource.PROJECTS))]
MemberName = Annotated[Username, Path(description="The user's name in Airflow.", examples=["grace"])]


@router.get("", response_model=Page[ProjectOut], responses=describe_answers())
def list_projects(
    caller: User,
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(ProjectOut, sort=("slug", "name", "created_at")))],
    visibility: Annotated[list[Visibility] | None, Query(max_length=MOST_VALUES, description="Any of these.")] = None,
    search: Annotated[
        str | None,
        Query(min_length=1, max_length=100, pattern=PRINTABLE, description="Part of the slug or the name."),
    ] = None,
    member: Annotated[Username | None, Query(description="Projects that this user is a member of.")] = None,
) -> JSONResponse:
    """List the projects that the caller sees."""
    with open_records() as records:
        found = page.read(
            records,
            listing.PROJECTS,
            within={"sees_all": caller.is_administrator(), "username": caller.name},
            filters=as_filters(visibility=visibility, search=search, member=member),
        )
    return page.answer(found, request=request, show=ProjectOut.show)


@router.post("", status_code=201, response_model=ProjectOut, responses=describe_answers(409))
def create_project(caller: User, body: ProjectIn, root: Root) -> JSONResponse:
    """Make a project; the caller becomes its owner."""
    with open_records(actor=caller.name) as records:
        made = records.projects.create(
            body.slug,
            name=body.name or body.slug,
            description=body.description,
            visibility=body.visibility,
            owner=caller.name,
        )
    location = f"{root}{PREFIX}/projects/{made.slug}"
    return JSONResponse(dump(ProjectOut.show(made)), status_code=201, headers={"Location": location})


@router.get("/{project}", response_model=ProjectOut, responses=describe_answers(404))
def read_project(scope: ReadableProject) -> JSONResponse:
    """Show a project."""
    with open_records() as records:
        return JSONResponse(dump(ProjectOut.show(records.projects.get(scope.project))))


@router.patch("/{project}", response_model=ProjectOut, responses=describe_answers(404, 409))
def update_project(scope: OwnedProject, body: ProjectChanges) -> JSONResponse:
    """Change a project's name, description or visibility. For its owners."""
    with open_records(actor=scope.caller.name) as records:
        changed = records.projects.update(
            scope.project, name=body.name, description=body.description, visibility=body.visibility
        )
    return JSONResponse(dump(ProjectOut.show(changed)))


@router.delete("/{project}", status_code=204, responses=describe_answers(404, 409))
def delete_project(scope: OwnedProject) -> Response:
    """Remove a project that has no records of generated projects. For its owners."""
    with open_records(actor=scope.caller.name) as records:
        records.projects.delete(scope.project)
    return Response(status_code=204)


@router.get("/{project}/members", response_model=Page[MemberOut], responses=describe_answers(404))
def list_members(
    scope: ReadableProject,
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(MemberOut, sort=("username", "created_at")))],
    role: Annotated[list[MemberRole] | None, Query(max_length=MOST_VALUES, description="Any of these.")] = None,
) -> JSONResponse:
    """List a project's members."""
    return _answer_page(scope, page, request, listing.MEMBERS, MemberOut.show, filters=as_filters(role=role))


@router.put("/{project}/members/{username}", response_model=MemberOut, responses=describe_answers(404, 409))
def set_member(scope: OwnedProject, username: MemberName, body: MemberIn) -> JSONResponse:
    """Make somebody a member, or give a member another role. For owners."""
    with open_records(actor=scope.caller.name) as records:
        records.projects.set_member(scope.project, username=username, role=body.role)
        member = _find_member(records.projects.list_members(scope.project), username, scope.project)
    return JSONResponse(dump(MemberOut.show(member)))


@router.get("/{project}/members/{username}", response_model=MemberOut, responses=describe_answers(404))
def read_member(scope: ReadableProject, username: MemberName) -> JSONResponse:
    """Show a member."""
    with open_records() as records:
        member = _find_member(records.projects.list_members(scope.project), username, scope.project)
    return JSONResponse(dump(MemberOut.show(member)))


@router.delete("/{project}/members/{username}", status_code=204, responses=describe_answers(404, 409))
def remove_member(scope: OwnedProject, username: MemberName) -> Response:
    """Take a member out. For owners."""
    with open_records(actor=scope.caller.name) as records:
        records.projects.remove_member(scope.project, username=username)
    return Response(status_code=204)


@router.get("/{project}/events", response_model=Page[EventOut], responses=describe_answers(404))
def list_project_events(
    scope: ReadableProject,
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(EventOut, sort=("id",)))],
) -> JSONResponse:
    """List what happened to the project itself and to its members."""
    return _answer_page(scope, page, request, listing.EVENTS_OF_PROJECT, EventOut.show)


def _answer_page(
    scope: ProjectScope, page: PageRequest, request: Request, what: Any, show: Any, *, filters: Any = None
) -> JSONResponse:
    with open_records() as records:
        found = page.read(
            records,
            what,
            within={"project": scope.project},
            filters=filters,
        )
    return page.answer(found, request=request, show=show)


def _find_member(members: Any, username: str, project: str) -> Any:
    for member in members:
        if member.username == username:
            return member
    raise RecordNotFoundError(f"user {username!r} is no member of project {project!r}")
