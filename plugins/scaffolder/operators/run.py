"""Which generated project a DAG run has: made by the run's first task, found by the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from scaffolder.config import get_settings
from scaffolder.errors import ExportConflictError, InvalidParametersError, PermissionDeniedError
from scaffolder.generation.disk import check_free_space
from scaffolder.records.membership import check_may_export, check_may_generate
from scaffolder.records.models import GeneratedProject, GeneratedProjectStatus, RunIdentity
from scaffolder.records.quotas import load_quotas
from scaffolder.records.store import ProjectRecords

if TYPE_CHECKING:
    from airflow.sdk import Context

DEFAULT_PROJECT: Final = "default"

_NAMESPACE: Final = UUID("7d6d8a3e-52c1-5b0e-9a53-1f2f5b3c6a10")
# Names become directories, archives' names and repositories' names.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,249}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def read_identity(context: Context) -> RunIdentity:
    """Return the DAG run's identity. Its date is that of the run (``run_after``), the same for every try."""
    dag_run: Any = context["dag_run"]
    return RunIdentity(
        dag_id=dag_run.dag_id,
        run_id=dag_run.run_id,
        run_at=dag_run.run_after,
        triggered_by=getattr(dag_run, "triggering_user_name", None),
    )


def get_generated_project_id(dag_id: str, run_id: str) -> UUID:
    """Return the id of a run's generated project; it follows from the run, so that the same run is the same project."""
    return uuid5(_NAMESPACE, f"{dag_id}\n{run_id}")


def open_generated_project(
    records: ProjectRecords,
    run: RunIdentity,
    *,
    project: str,
    name: str,
    workflow: str,
    params: dict[str, Any],
    writes_files: bool = True,
) -> GeneratedProject:
    """Record the run's generated project, or take up the one of an earlier try, and set it ``generating``.

    Raises InvalidParametersError for a name or project that cannot be one, and PermissionDeniedError where the
    triggering user may not generate into `project`, unless the API has let that user in for this run. Where nothing
    could be written, nothing begins: QuotaExceededError, and DiskSpaceError where the run `writes_files` from here on.
    """
    if flaw := find_slug_flaw(project):
        raise InvalidParametersError(f"project {flaw}")
    if flaw := find_name_flaw(name):
        raise InvalidParametersError(f"name {flaw}")
    key = get_generated_project_id(run.dag_id, run.run_id)
    found = records.find_generated_project(run.dag_id, run.run_id)
    if found is not None and found.project != project:
        raise PermissionDeniedError(f"run {run.run_id!r} belongs to another project than {project!r}")
    if not _is_let_in(records, run, key):
        check_may_generate(records, project, username=run.triggered_by)
    settings = get_settings()
    if writes_files:
        check_free_space(settings)
    return records.open_generated_project(
        key,
        project=project,
        name=name,
        workflow=workflow,
        params=params,
        run=run,
        quotas=load_quotas(settings.quotas),
    )


def is_administrator(username: str | None) -> bool:
    """Say whether the setting ``administrators`` names a user."""
    return username in {name.strip() for name in get_settings().administrators.split(",")} - {""}


def _is_let_in(records: ProjectRecords, run: RunIdentity, generated_project_id: UUID) -> bool:
    """Say whether membership is not asked after: of administrators, and of those whom the API has let in."""
    return is_administrator(run.triggered_by) or records.requested_runs.is_granted(
        dag_id=run.dag_id,
        run_id=run.run_id,
        username=run.triggered_by,
        generated_project_id=generated_project_id,
    )


def find_or_open(
    records: ProjectRecords, run: RunIdentity, *, project: str, name: str, writes_files: bool
) -> GeneratedProject:
    """Return the run's generated project, ready to be written to where `writes_files`."""
    found = records.find_generated_project(run.dag_id, run.run_id)
    if found is None:
        return open_generated_project(
            records, run, project=project, name=name, workflow=run.dag_id, params={}, writes_files=writes_files
        )
    if found.status is GeneratedProjectStatus.GENERATING:
        return found
    if found.status is GeneratedProjectStatus.READY and not writes_files:
        return found
    # A task of a failed run was cleared: the run goes on.
    return open_generated_project(
        records,
        run,
        project=found.project,
        name=found.name,
        workflow=found.workflow,
        params=found.params,
        writes_files=writes_files,
    )


def find_exportable(records: ProjectRecords, generated_project_id: str, *, run: RunIdentity) -> GeneratedProject:
    """Return a generated project of any run that is ready and that the user who triggered `run` may export.

    Raises InvalidParametersError, RecordNotFoundError, PermissionDeniedError and ExportConflictError (not ready).
    """
    try:
        key = UUID(generated_project_id)
    except ValueError:
        raise InvalidParametersError(
            f"generated project {generated_project_id!r}; accepted is the id (a UUID) of one that is ready"
        ) from None
    found = records.get_generated_project(key)
    if not _is_let_in(records, run, key):
        # To others it is not there.
        missing = f"there is no generated project {str(key)!r}"
        check_may_export(records, found.project, username=run.triggered_by, missing=missing)
    if found.status is not GeneratedProjectStatus.READY:
        raise ExportConflictError(
            f"generated project {found.id} is {found.status.value!r}; accepted is one that is 'ready'"
        )
    return found


def find_name_flaw(name: Any) -> str | None:
    """Return why `name` cannot be a generated project's, or None where it can."""
    return None if isinstance(name, str) and _NAME.fullmatch(name) else f"{name!r}; accepted is {_NAME.pattern}"


def find_slug_flaw(slug: Any) -> str | None:
    """Return why `slug` cannot be a project's, or None where it can."""
    return None if isinstance(slug, str) and _SLUG.fullmatch(slug) else f"{slug!r}; accepted is {_SLUG.pattern}"
