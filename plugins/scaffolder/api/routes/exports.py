"""Repository exports: lists, one, new ones, another try, and what there is to download."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from scaffolder.api.airflow_api import AirflowApi
from scaffolder.api.downloads import declare_headers, send_file
from scaffolder.api.links import Base, Root, link_generated
from scaffolder.api.paging import MOST_VALUES, Page, PageRequest, as_filters, dump, page_of
from scaffolder.api.permissions import CanExportRepository, IsProjectMemberOrReadOnly, ProjectScope
from scaffolder.api.problems import describe_answers
from scaffolder.api.records import open_records
from scaffolder.api.resources import Resource
from scaffolder.api.routes.generated import GeneratedId, IdempotencyKey
from scaffolder.api.runs import start_exports
from scaffolder.api.schemas.exports import ExportOut, ExportRequestOut, ExportsIn
from scaffolder.api.schemas.generated import RunOut
from scaffolder.api.schemas.values import EXPORT_ID, PRINTABLE
from scaffolder.config import get_settings
from scaffolder.errors import ExportConflictError, RecordNotFoundError
from scaffolder.generation.step_commit import get_project_directory
from scaffolder.records import listing
from scaffolder.records.models import ExportStatus, GeneratedProjectStatus, RepositoryExport

router = APIRouter(prefix="/projects/{project}/generated/{generated_id}/exports", tags=["repository exports"])

ExportId = Annotated[UUID, PathParameter(description="A repository export's id.", examples=[EXPORT_ID])]
ReadableExports = Annotated[ProjectScope, Depends(IsProjectMemberOrReadOnly(Resource.EXPORTS))]
Exporter = Annotated[ProjectScope, Depends(CanExportRepository())]

_OVER: Final = frozenset({ExportStatus.FAILED, ExportStatus.ROLLED_BACK})
_GONE: Final = frozenset({GeneratedProjectStatus.EXPIRED, GeneratedProjectStatus.DELETED})
_MAPPED = re.compile(r"(?P<task_id>.+)\[(?P<index>\d+)\]")
_ARCHIVE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The file.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    206: {"description": "The part that the header Range asks for."},
    304: {"description": "Unchanged: the ETag is one of If-None-Match."},
}


@router.get("", response_model=Page[ExportOut], responses=describe_answers(404))
def list_exports(
    scope: ReadableExports,
    generated_id: GeneratedId,
    request: Request,
    base: Base,
    page: Annotated[PageRequest, Depends(page_of(ExportOut, sort=("created_at",)))],
    status: Annotated[list[ExportStatus] | None, Query(max_length=MOST_VALUES, description="Any of these.")] = None,
    target: Annotated[str | None, Query(min_length=1, max_length=100, pattern="^[a-z][a-z0-9_]*$")] = None,
    run_id: Annotated[
        str | None, Query(min_length=1, max_length=250, pattern=PRINTABLE, description="The run that asked for them.")
    ] = None,
) -> JSONResponse:
    """List a generated project's exports."""
    with open_records() as records:
        scope.find_generated(records, generated_id)
        found = page.read(
            records,
            listing.EXPORTS,
            within={"generated_project_id": generated_id},
            filters=as_filters(status=status, target=target, run_id=run_id),
        )
    return page.answer(found, request=request, show=lambda one: ExportOut.show(one, base=base))


@router.post("", status_code=202, response_model=ExportRequestOut, responses=describe_answers(404, 409))
async def create_exports(
    scope: Exporter,
    generated_id: GeneratedId,
    request: Request,
    root: Root,
    base: Base,
    body: ExportsIn,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Start a run that exports a generated project that is ready, to one target or several at once."""

    def read() -> Any:
        with open_records() as records:
            return scope.find_generated(records, generated_id)

    generated_project = await run_in_threadpool(read)
    entries = [entry.model_dump(exclude_none=True) for entry in body.exports]
    requested = await start_exports(request, scope, generated_project, entries, idempotency_key=idempotency_key)
    location = f"{link_generated(root, scope.project, generated_id)}/exports?run_id={quote(requested.run_id, safe='')}"
    shown = ExportRequestOut(
        generated_project_id=generated_id,
        run=RunOut.show(requested.dag_id, requested.run_id, base=base),
        exports_url=location,
    )
    return JSONResponse(dump(shown), status_code=202, headers={"Location": location})


@router.get("/{export_id}", response_model=ExportOut, responses=describe_answers(404))
def read_export(scope: ReadableExports, generated_id: GeneratedId, export_id: ExportId, base: Base) -> JSONResponse:
    """Show an export."""
    with open_records() as records:
        found = scope.find_export(records, generated_id, export_id)
    return JSONResponse(dump(ExportOut.show(found, base=base)))


@router.post("/{export_id}/retry", status_code=202, response_model=ExportOut, responses=describe_answers(404, 409))
async def retry_export(
    scope: Exporter, generated_id: GeneratedId, export_id: ExportId, request: Request, root: Root, base: Base
) -> JSONResponse:
    """Run the task of an export that has failed or was rolled back again, and what comes after it in its run."""

    def read() -> RepositoryExport:
        with open_records() as records:
            generated_project = scope.find_generated(records, generated_id)
            found = scope.find_export(records, generated_id, export_id)
            if generated_project.status in _GONE:
                raise ExportConflictError(
                    f"generated project {generated_id} is {generated_project.status.value!r}; accepted is one that is "
                    "still there"
                )
            if found.status not in _OVER:
                raise ExportConflictError(
                    f"repository export {export_id} is {found.status.value!r}; accepted is one that is 'failed' or "
                    "'rolled_back'"
                )
            return found

    found = await run_in_threadpool(read)
    if found.dag_id is None or found.run_id is None:
        raise ExportConflictError(f"repository export {export_id} does not know its run; accepted is a new export")
    await run_in_threadpool(scope.caller.check_may_trigger, found.dag_id)
    mapped = _MAPPED.fullmatch(found.step_id)
    task_id, index = (mapped["task_id"], int(mapped["index"])) if mapped else (found.step_id, None)
    airflow = AirflowApi(request)
    try:
        if not await airflow.is_over(found.dag_id, found.run_id):
            raise ExportConflictError(
                f"the run of repository export {export_id} is under way; accepted is to wait for its end"
            )
        await airflow.clear_task(found.dag_id, found.run_id, task_id, map_index=index)
    except RecordNotFoundError as error:
        raise ExportConflictError(
            f"the run of repository export {export_id} is not in Airflow any more; accepted is a new export"
        ) from error
    location = f"{link_generated(root, scope.project, generated_id)}/exports/{export_id}"
    return JSONResponse(dump(ExportOut.show(found, base=base)), status_code=202, headers={"Location": location})


@router.get(
    "/{export_id}/archive",
    response_class=Response,
    dependencies=[Depends(declare_headers)],
    responses=_ARCHIVE | describe_answers(404, 416),
)
def download_archive(
    scope: ReadableExports, generated_id: GeneratedId, export_id: ExportId, request: Request
) -> Response:
    """Send an exported archive."""
    export, path = _find_archive(scope, generated_id, export_id)
    return send_file(request, path, digest=str(export.archive_sha256))


@router.get(
    "/{export_id}/manifest",
    response_class=Response,
    dependencies=[Depends(declare_headers)],
    responses=_ARCHIVE | describe_answers(404, 416),
)
def download_manifest(
    scope: ReadableExports, generated_id: GeneratedId, export_id: ExportId, request: Request
) -> Response:
    """Send the manifest of an exported archive: what is in it, with digests and origins."""
    return _send_companion(scope, generated_id, export_id, request, kind="manifest")


@router.get(
    "/{export_id}/bundle",
    response_class=Response,
    dependencies=[Depends(declare_headers)],
    responses=_ARCHIVE | describe_answers(404, 416),
)
def download_bundle(
    scope: ReadableExports, generated_id: GeneratedId, export_id: ExportId, request: Request
) -> Response:
    """Send the git bundle beside an exported archive, where it was made with one."""
    return _send_companion(scope, generated_id, export_id, request, kind="bundle")


def _send_companion(
    scope: ProjectScope, generated_id: UUID, export_id: UUID, request: Request, *, kind: str
) -> Response:
    export, archive = _find_archive(scope, generated_id, export_id)
    written = export.result.get(f"{kind}_path")
    path = archive.parent / Path(str(written)).name
    if not written or not path.is_file():
        raise RecordNotFoundError(f"repository export {str(export_id)!r} has no {kind}")
    # A manifest follows from what it describes.
    described = f"{kind} {export.archive_sha256} {export.result.get('bundle_sha256')}"
    return send_file(request, path, digest=hashlib.sha256(described.encode()).hexdigest())


def _find_archive(scope: ProjectScope, generated_id: UUID, export_id: UUID) -> tuple[RepositoryExport, Path]:
    with open_records() as records:
        export = scope.find_export(records, generated_id, export_id)
    if export.status is not ExportStatus.EXPORTED or export.archive_path is None:
        raise RecordNotFoundError(f"repository export {str(export.id)!r} has no archive")
    directory = get_project_directory(export.generated_project_id, settings=get_settings()) / "archives"
    path = directory / Path(export.archive_path).name
    if not path.is_file():
        raise RecordNotFoundError(f"the archive of repository export {str(export.id)!r} is not on this machine")
    return export, path
