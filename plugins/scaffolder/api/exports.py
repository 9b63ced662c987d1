"""Routes of repository exports: download an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse

from scaffolder.config import get_settings
from scaffolder.errors import RecordNotFoundError
from scaffolder.generation.step_commit import get_project_directory
from scaffolder.records.hook import ProjectRecordsHook
from scaffolder.records.membership import may_read
from scaffolder.records.models import ExportStatus, RepositoryExport

router = APIRouter(prefix="/exports", tags=["exports"])


def get_readable_export(export_id: UUID, user: GetUserDep) -> RepositoryExport:
    """Return the export where the user may read its run and its project; otherwise it is not there (404)."""
    missing = RecordNotFoundError(f"there is no repository export {str(export_id)!r}")
    with ProjectRecordsHook().open() as records:
        export = records.exports.get(export_id)
        generated_project = records.get_generated_project(export.generated_project_id)
        member = may_read(records, generated_project.project, username=user.get_name())
    authorized = get_auth_manager().is_authorized_dag(
        method="GET",
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=generated_project.dag_id, team_name=DagModel.get_team_name(generated_project.dag_id)),
        user=user,
    )
    if not (authorized and member):
        raise missing
    return export


@router.get("/{export_id}/archive", response_class=FileResponse)
def download_archive(export: Annotated[RepositoryExport, Depends(get_readable_export)]) -> FileResponse:
    """Send an exported archive as a file."""
    if export.status is not ExportStatus.EXPORTED or export.archive_path is None:
        raise RecordNotFoundError(f"repository export {str(export.id)!r} has no archive")
    directory = get_project_directory(export.generated_project_id, settings=get_settings()) / "archives"
    path = directory / Path(export.archive_path).name
    if not path.is_file():
        raise RecordNotFoundError(f"the archive of repository export {str(export.id)!r} is not on this machine")
    headers = {"ETag": f'"{export.archive_sha256}"', "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, filename=path.name, headers=headers)
