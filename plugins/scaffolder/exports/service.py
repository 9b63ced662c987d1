"""Exports with their records: the intent is written before anything is made, the result after it was verified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from scaffolder.config import Settings
from scaffolder.errors import ExportConflictError, ExportTargetError, ScaffolderError
from scaffolder.exports.contract import Exporter, ExportRequest
from scaffolder.exports.registry import get_exporter
from scaffolder.generation.git_remote import GitRemote
from scaffolder.generation.step_commit import get_project_directory, get_repository
from scaffolder.records.models import ExportStatus, GeneratedProject, GeneratedProjectStatus, RepositoryExport
from scaffolder.records.store import ProjectRecords

_EXPORTABLE = frozenset({GeneratedProjectStatus.GENERATING, GeneratedProjectStatus.READY})


def check_target(target: str, options: Mapping[str, Any], *, has_connection: bool) -> Exporter:
    """Return the exporter. Raises ExportTargetError where target, options or connection cannot work."""
    exporter = get_exporter(target)
    exporter.check_options(options)
    if exporter.needs_connection and not has_connection:
        raise ExportTargetError(f"target {target!r} needs a connection: name it as target_conn_id")
    return exporter


def export_generated_project(
    records: ProjectRecords,
    generated_project_id: UUID,
    *,
    step_id: str,
    target: str,
    options: Mapping[str, Any],
    remote: GitRemote | None,
    settings: Settings,
) -> RepositoryExport:
    """Export the head of a generated project, once: the same export again finds the first one's work.

    Raises the errors of the exporter; the record holds the reason then.
    """
    exporter = check_target(target, options, has_connection=remote is not None)
    generated_project = records.get_generated_project(generated_project_id)
    export = _intend(records, generated_project, step_id=step_id, target=target, options=options, remote=remote)
    exported_before = export.status is ExportStatus.EXPORTED
    if not exported_before:
        records.mark_exporting(export.id)
    directory = get_project_directory(generated_project_id, settings=settings)
    request = ExportRequest(
        name=generated_project.name,
        commit=export.commit,
        repository=get_repository(generated_project_id, settings=settings),
        directory=directory / "archives",
        options=options,
        remote=remote,
        settings=settings,
    )
    try:
        result = exporter.export(request)
    except BaseException as error:  # also a task that is told to stop: its export is over
        if not exported_before:
            reason = str(error) if isinstance(error, ScaffolderError) else type(error).__name__
            records.mark_export_failed(export.id, error=reason)
        raise
    records.mark_exported(
        export.id,
        url=result.url,
        archive_path=str(result.archive_path) if result.archive_path else None,
        archive_sha256=result.archive_sha256,
    )
    return records.get_export(export.id)


def _intend(
    records: ProjectRecords,
    generated_project: GeneratedProject,
    *,
    step_id: str,
    target: str,
    options: Mapping[str, Any],
    remote: GitRemote | None,
) -> RepositoryExport:
    if generated_project.status not in _EXPORTABLE:
        accepted = sorted(status.value for status in _EXPORTABLE)
        raise ExportConflictError(
            f"generated project {generated_project.id} is {generated_project.status.value!r}; accepted are {accepted}"
        )
    if generated_project.head_commit is None:
        raise ExportConflictError(
            f"generated project {generated_project.id} has no commit yet; a file_generation step comes first"
        )
    identity = {
        "step": step_id,
        "target": target,
        "options": dict(options),
        "url": remote.url if remote else None,
        "commit": generated_project.head_commit,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return records.intend_export(
        uuid5(generated_project.id, key),
        generated_project_id=generated_project.id,
        step_id=step_id,
        target=target,
        options=dict(options),
        idempotency_key=f"{generated_project.id}:{key}",
        commit=generated_project.head_commit,
    )
