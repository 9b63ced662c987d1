"""Generated projects: lists, one, new ones, and what can be done to them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from scaffolder.api.airflow_api import AirflowApi
from scaffolder.api.links import Base, Root, link_generated
from scaffolder.api.paging import MOST_VALUES, Page, PageRequest, as_filters, dump, page_of
from scaffolder.api.permissions import (
    Caller,
    CanGenerateProject,
    IsProjectMemberOrReadOnly,
    MayUse,
    ProjectScope,
)
from scaffolder.api.problems import describe_answers
from scaffolder.api.records import open_records
from scaffolder.api.resources import Resource
from scaffolder.api.runs import find_workflows, plan_generation, start_generation
from scaffolder.api.schemas.generated import GeneratedDetail, GeneratedOut, GenerationIn, HoldIn, RegenerationIn
from scaffolder.api.schemas.values import GENERATED_ID, PRINTABLE, Moment, Username
from scaffolder.config import get_settings
from scaffolder.errors import InvalidParametersError, RecordConflictError, RecordNotFoundError
from scaffolder.records import listing
from scaffolder.records.models import ExportStatus, GeneratedProject, GeneratedProjectStatus
from scaffolder.retention.removal import remove_generated_project
from scaffolder.retention.rules import find_rules

router = APIRouter(tags=["generated projects"])

GeneratedId = Annotated[UUID, Path(description="A generated project's id.", examples=[GENERATED_ID])]
MemberOrReader = Annotated[ProjectScope, Depends(IsProjectMemberOrReadOnly(Resource.GENERATED))]
Generator = Annotated[ProjectScope, Depends(CanGenerateProject())]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key again, with the same request, starts nothing and returns what the first one did.",
    ),
]

_SORT: Final = ("-created_at", "name", "size_bytes", "expires_at")
_UNDER_WAY: Final = frozenset({GeneratedProjectStatus.PENDING, GeneratedProjectStatus.GENERATING})
_MASK: Final = "***"


def read_filters(
    status: Annotated[
        list[GeneratedProjectStatus] | None,
        Query(max_length=MOST_VALUES, description="Any of these; without it all but deleted ones."),
    ] = None,
    workflow: Annotated[str | None, Query(max_length=63, pattern="^[a-z][a-z0-9_]*$")] = None,
    created_by: Annotated[Username | None, Query()] = None,
    *,
    held: Annotated[bool | None, Query()] = None,
    export_status: Annotated[
        list[ExportStatus] | None, Query(max_length=MOST_VALUES, description="Any of these.")
    ] = None,
    name_prefix: Annotated[str | None, Query(min_length=1, max_length=250, pattern=PRINTABLE)] = None,
    created_from: Annotated[Moment | None, Query(description="From this time on.")] = None,
    created_until: Annotated[Moment | None, Query(description="Before this time.")] = None,
) -> dict[str, Any]:
    """Return the filters of a list of generated projects."""
    living = [one for one in GeneratedProjectStatus if one is not GeneratedProjectStatus.DELETED]
    return as_filters(
        status=status or living,
        workflow=workflow,
        created_by=created_by,
        held=held,
        export_status=export_status,
        name_prefix=name_prefix,
        created_from=created_from,
        created_until=created_until,
    )


Filters = Annotated[dict[str, Any], Depends(read_filters)]


@router.get("/generated", response_model=Page[GeneratedOut], responses=describe_answers())
def list_all_generated(
    caller: Annotated[Caller, Depends(MayUse(Resource.GENERATED))],
    request: Request,
    base: Base,
    page: Annotated[PageRequest, Depends(page_of(GeneratedOut, sort=("-created_at",)))],
    filters: Filters,
) -> JSONResponse:
    """List the generated projects of all projects that the caller sees."""
    with open_records() as records:
        found = page.read(
            records,
            listing.GENERATED,
            within={"sees_all": caller.is_administrator(), "username": caller.name},
            filters=filters,
        )
    return page.answer(found, request=request, show=lambda one: GeneratedOut.show(one, base=base))


@router.get("/projects/{project}/generated", response_model=Page[GeneratedOut], responses=describe_answers(404))
def list_generated(
    scope: MemberOrReader,
    request: Request,
    base: Base,
    page: Annotated[PageRequest, Depends(page_of(GeneratedOut, sort=_SORT))],
    filters: Filters,
) -> JSONResponse:
    """List a project's generated projects."""
    with open_records() as records:
        found = page.read(
            records,
            listing.GENERATED_OF_PROJECT,
            within={"project": scope.project},
            filters=filters,
        )
    return page.answer(found, request=request, show=lambda one: GeneratedOut.show(one, base=base))


@router.post(
    "/projects/{project}/generated",
    status_code=202,
    response_model=GeneratedDetail,
    responses=describe_answers(404, 409, 507),
)
async def create_generated(
    scope: Generator,
    request: Request,
    root: Root,
    base: Base,
    body: GenerationIn,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Start a run of a workflow. The generated project is there at once, ``pending``."""
    plan = await run_in_threadpool(plan_generation, body.workflow, body.params, scope=scope)
    found = await start_generation(request, scope, plan, idempotency_key=idempotency_key)
    return _accept(found, root=root, base=base)


@router.get(
    "/projects/{project}/generated/{generated_id}", response_model=GeneratedDetail, responses=describe_answers(404)
)
def read_generated(scope: MemberOrReader, generated_id: GeneratedId, base: Base) -> JSONResponse:
    """Show a generated project."""
    with open_records() as records:
        return JSONResponse(_show(scope.find_generated(records, generated_id), base=base))


@router.delete("/projects/{project}/generated/{generated_id}", status_code=204, responses=describe_answers(404, 409))
def delete_generated(scope: MemberOrReader, generated_id: GeneratedId) -> Response:
    """Remove a generated project's files for good; what it was and where it went stays known.

    Refused (409) while it is under way, held or being exported.
    """
    with open_records(actor=scope.caller.name) as records:
        scope.find_generated(records, generated_id)
        remove_generated_project(records, generated_id, settings=get_settings())
    return Response(status_code=204)


@router.post(
    "/projects/{project}/generated/{generated_id}/hold",
    response_model=GeneratedDetail,
    responses=describe_answers(404, 409),
)
def hold_generated(scope: MemberOrReader, generated_id: GeneratedId, body: HoldIn, base: Base) -> JSONResponse:
    """Keep retention and removal away from a generated project."""
    if body.until is not None and body.until <= datetime.now(UTC):
        sentence = f"it is {body.until.isoformat()!r}, which is over; accepted is a time to come"
        raise InvalidParametersError(sentence, pointers={"/until": sentence})
    with open_records(actor=scope.caller.name) as records:
        scope.find_generated(records, generated_id)
        records.hold(generated_id, reason=body.reason, username=scope.caller.name, until=body.until)
        return JSONResponse(_show(records.get_generated_project(generated_id), base=base))


@router.post(
    "/projects/{project}/generated/{generated_id}/release",
    response_model=GeneratedDetail,
    responses=describe_answers(404),
)
def release_generated(scope: MemberOrReader, generated_id: GeneratedId, base: Base) -> JSONResponse:
    """Let retention have a generated project again. Without a hold it changes nothing."""
    with open_records(actor=scope.caller.name) as records:
        scope.find_generated(records, generated_id)
        records.release(generated_id)
        return JSONResponse(_show(records.get_generated_project(generated_id), base=base))


@router.post(
    "/projects/{project}/generated/{generated_id}/regenerate",
    status_code=202,
    response_model=GeneratedDetail,
    responses=describe_answers(404, 409, 507),
)
async def regenerate(
    scope: Generator,
    generated_id: GeneratedId,
    request: Request,
    root: Root,
    base: Base,
    body: Annotated[RegenerationIn | None, Body(examples=[{"params": {"name": "invoices-2"}}])] = None,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Run the same workflow again, with the same parameters where none are given: a new generated project."""

    def plan() -> Any:
        with open_records() as records:
            first = scope.find_generated(records, generated_id)
        if first.workflow not in find_workflows(get_settings()):
            raise RecordConflictError(
                f"workflow {first.workflow!r} is not there any more; accepted is a generated project of one that is"
            )
        changes = body.params if body else {}
        return plan_generation(first.workflow, {**first.params, **changes}, scope=scope)

    found = await start_generation(
        request,
        scope,
        await run_in_threadpool(plan),
        idempotency_key=idempotency_key,
        regenerated_from=generated_id,
    )
    return _accept(found, root=root, base=base)


@router.post(
    "/projects/{project}/generated/{generated_id}/cancel",
    response_model=GeneratedDetail,
    responses=describe_answers(404, 409),
)
async def cancel_generated(
    scope: MemberOrReader, generated_id: GeneratedId, request: Request, base: Base
) -> JSONResponse:
    """End the run of a generated project that is under way, which fails it."""
    reason = f"cancelled by {scope.caller.name}"

    def check() -> GeneratedProject:
        with open_records() as records:
            found = scope.find_generated(records, generated_id)
        if found.status not in _UNDER_WAY:
            raise RecordConflictError(
                f"generated project {generated_id} is {found.status.value!r}; accepted is one that is under way"
            )
        return found

    def finish() -> GeneratedProject:
        with open_records(actor=scope.caller.name) as records:
            # Where Airflow had the run, its listener was first, but knows less.
            if records.mark_failed(generated_id, error=reason, rules=find_rules(get_settings())):
                records.exports.mark_left_behind(generated_id)
            else:
                records.explain_end(generated_id, error=reason)
            return records.get_generated_project(generated_id)

    found = await run_in_threadpool(check)
    # Its run may have been removed from Airflow, or never have come to be.
    with suppress(RecordNotFoundError):
        await AirflowApi(request).end_run(found.dag_id, found.run_id)
    return JSONResponse(_show(await run_in_threadpool(finish), base=base))


def _accept(found: GeneratedProject, *, root: str, base: str) -> JSONResponse:
    location = link_generated(root, found.project, found.id)
    return JSONResponse(_show(found, base=base), status_code=202, headers={"Location": location})


def _show(found: GeneratedProject, *, base: str) -> Any:
    shown = GeneratedDetail(**vars(GeneratedOut.show(found, base=base)), params=_mask(found))
    return dump(shown)


def _mask(found: GeneratedProject) -> dict[str, Any]:
    """Return the parameters without what the workflow declares to be secret; all of them where nobody knows."""
    definition = find_workflows(get_settings()).get(found.workflow)
    if definition is None:
        return dict.fromkeys(found.params, _MASK)
    return {name: _mask_value(value, definition.params.get(name)) for name, value in found.params.items()}


def _mask_value(value: Any, schema: Any) -> Any:
    if not isinstance(schema, Mapping) or (value and (schema.get("format") == "password" or schema.get("writeOnly"))):
        return _MASK
    if isinstance(value, dict) and isinstance(schema.get("properties"), Mapping):
        inner = schema["properties"]
        return {name: _mask_value(one, inner[name]) if name in inner else one for name, one in value.items()}
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [_mask_value(one, schema["items"]) for one in value]
    return value
