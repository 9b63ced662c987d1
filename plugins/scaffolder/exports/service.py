"""Exports with their records: the intent is written before anything is made, the result after it was verified."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid5

from scaffolder.config import Settings
from scaffolder.errors import (
    ExportConflictError,
    ExportTargetError,
    HostWaitError,
    RecordsUnavailableError,
    ScaffolderError,
    TransientError,
)
from scaffolder.exports.contract import Exporter, ExportRequest, SecretReference
from scaffolder.exports.identity import CommitIdentity
from scaffolder.exports.ledger import ExportLedger
from scaffolder.exports.registry import get_exporter
from scaffolder.generation.step_commit import get_project_directory, get_repository
from scaffolder.observability import logs, metrics, traces
from scaffolder.records.models import (
    ExportStatus,
    GeneratedProject,
    GeneratedProjectStatus,
    RepositoryExport,
    RunIdentity,
)
from scaffolder.records.store import ProjectRecords

log = logging.getLogger(__name__)

_EXPORTABLE = frozenset({GeneratedProjectStatus.GENERATING, GeneratedProjectStatus.READY})


def check_target(target: str, options: Mapping[str, Any], *, has_connection: bool) -> Exporter:
    """Return the exporter. Raises ExportTargetError where target, options or connection cannot work."""
    exporter = get_exporter(target)
    exporter.check_options(options)
    if exporter.needs_connection and not has_connection:
        raise ExportTargetError(f"target {target!r} needs a connection: name it as target_conn_id")
    return exporter


def refuse_secrets(reference: SecretReference) -> str:
    """Refuse to read a secret: there are no connections here."""
    raise ExportTargetError(f"the secret of connection {reference.connection!r} cannot be read here")


def export_generated_project(
    records: ProjectRecords,
    generated_project_id: UUID,
    *,
    step_id: str,
    target: str,
    options: Mapping[str, Any],
    settings: Settings,
    connection: Any = None,
    connection_id: str | None = None,
    identity: CommitIdentity | None = None,
    rollback: bool = False,
    run: RunIdentity | None = None,
    read_secret: Callable[[SecretReference], str] = refuse_secrets,
) -> RepositoryExport:
    """Export the head of a generated project, once: the same export again finds the first one's work.

    What makes two exports the same is target, connection, options, commit and identity, whichever step or run asks.
    `connection` is what the exporter's `connect` returned for `connection_id`; `run` is the one that asks, the
    generated project's own by default. Raises the errors of the exporter; the
    record holds the reason then. A HostWaitError leaves the export under way: the same call goes on with it later.
    """
    exporter = check_target(target, options, has_connection=connection is not None)
    generated_project = records.get_generated_project(generated_project_id)
    location = exporter.locate(connection) if connection is not None else None
    _check_exportable(generated_project)
    sameness = {
        "target": target,
        "location": location,
        "connection": connection_id,  # another account may have another place by the same name
        "options": dict(options),
        "commit": generated_project.head_commit,
        "identity": identity.signature if identity else None,
    }
    key = hashlib.sha256(json.dumps(sameness, sort_keys=True).encode()).hexdigest()
    export = records.exports.intend(
        uuid5(generated_project.id, key),
        generated_project_id=generated_project.id,
        step_id=step_id,
        target=target,
        connection=connection_id,
        location=location,
        options=dict(options),
        rollback=rollback,
        dag_id=run.dag_id if run else generated_project.dag_id,
        run_id=run.run_id if run else generated_project.run_id,
        idempotency_key=f"{generated_project.id}:{key}",
        commit=str(generated_project.head_commit),
    )
    with _observing(export):
        _export(
            records,
            export,
            exporter,
            make_request=lambda: _make_request(
                records,
                generated_project,
                export,
                settings=settings,
                connection=connection,
                identity=identity,
                read_secret=read_secret,
            ),
        )
    return records.exports.get(export.id)


def _export(
    records: ProjectRecords, export: RepositoryExport, exporter: Exporter, *, make_request: Callable[[], ExportRequest]
) -> None:
    exported_before = export.status is ExportStatus.EXPORTED
    if not exported_before:
        records.exports.mark_exporting(export.id)
    request = make_request()
    try:
        result = exporter.export(request)
    except (HostWaitError, RecordsUnavailableError):
        raise
    except BaseException as error:  # also a task that is told to stop: its export is over
        if not exported_before:
            reason = str(error) if isinstance(error, ScaffolderError) else type(error).__name__
            records.exports.mark_failed(export.id, error=reason)
        raise
    records.exports.mark_exported(
        export.id,
        url=result.url,
        archive_path=str(result.archive_path) if result.archive_path else None,
        archive_sha256=result.archive_sha256,
        exported_commit=result.exported_commit,
        result=dict(result.result),
    )


@contextmanager
def _observing(export: RepositoryExport) -> Iterator[None]:
    # None where nobody can tell what is the target's.
    outcome: str | None = "interrupted"
    started = time.monotonic()
    with (
        logs.bound(export_id=export.id),
        traces.span(
            "scaffolder.export",
            no_errors=(HostWaitError,),
            export_id=str(export.id),
            generated_project_id=str(export.generated_project_id),
            target=export.target,
            commit=export.commit,
        ) as span,
    ):
        try:
            yield
            outcome = "again" if export.status is ExportStatus.EXPORTED else "exported"
        except HostWaitError:
            outcome = "waiting"
            raise
        except RecordsUnavailableError:
            outcome = None
            raise
        except Exception:
            outcome = "failed"
            raise
        finally:
            span.set(outcome=outcome)
            if outcome is not None:
                tags = {"target": export.target, "outcome": outcome}
                metrics.count(metrics.EXPORT_FINISHED, **tags)
                metrics.time(metrics.EXPORT_DURATION, time.monotonic() - started, **tags)


def roll_back_exports(
    records: ProjectRecords,
    generated_project_id: UUID,
    *,
    settings: Settings,
    connect: Callable[[Exporter, str], Any] = lambda exporter, conn_id: exporter.connect(conn_id),
) -> list[str]:
    """Take away what the exports of a failed run made that are to be rolled back, and say what is left behind.

    Something at a host goes only where the records prove that this run made it and nobody has used it since. Each
    sentence that is returned is also on the export's record. Raises TransientErrors of the hosts, at the end.
    """
    generated_project = records.get_generated_project(generated_project_id)
    left: list[str] = []
    away: TransientError | None = None
    for export in records.exports.list(generated_project_id):
        if not export.rollback or export.status in {ExportStatus.ROLLED_BACK, ExportStatus.PENDING}:
            continue
        try:
            sentence = _roll_back(records, generated_project, export, settings=settings, connect=connect)
        except RecordsUnavailableError:
            raise
        except ScaffolderError as error:
            sentence = f"{export.url or export.remote_name or export.target} is left behind: {error}"
            away = error if isinstance(error, TransientError) else away
        if sentence is None:
            log.info("Rolled back the export %s to %s", export.id, export.url or export.remote_name)
            continue
        records.exports.record_error(export.id, error=f"not rolled back: {sentence}")
        left.append(sentence)
    if away is not None:
        raise away
    return left


def _roll_back(
    records: ProjectRecords,
    generated_project: GeneratedProject,
    export: RepositoryExport,
    *,
    settings: Settings,
    connect: Callable[[Exporter, str], Any],
) -> str | None:
    exporter = get_exporter(export.target)
    connection = connect(exporter, export.connection) if export.connection and exporter.needs_connection else None
    if connection is not None and (location := exporter.locate(connection)) != export.location:
        return (
            f"{export.url or export.remote_name} is left behind: connection {export.connection!r} is for {location!r} "
            f"now, not for {export.location!r}"
        )
    request = _make_request(records, generated_project, export, settings=settings, connection=connection)
    sentence = exporter.roll_back(request)
    if sentence is None:
        records.exports.mark_rolled_back(export.id, reason="its run failed, so what it had made was removed")
        metrics.count(metrics.EXPORT_ROLLED_BACK, target=export.target)
    return sentence


def _make_request(
    records: ProjectRecords,
    generated_project: GeneratedProject,
    export: RepositoryExport,
    *,
    settings: Settings,
    connection: Any,
    identity: CommitIdentity | None = None,
    read_secret: Callable[[SecretReference], str] = refuse_secrets,
) -> ExportRequest:
    directory = get_project_directory(generated_project.id, settings=settings)
    return ExportRequest(
        ledger=ExportLedger(records.exports, records.exports.get(export.id)),
        generated_project=generated_project,
        repository=get_repository(generated_project.id, settings=settings),
        directory=directory / "archives",
        options=export.options,
        connection=connection,
        identity=identity,
        settings=settings,
        read_files=lambda: records.list_files(
            generated_project.id, at=records.find_commit(generated_project.id, export.commit)
        ),
        read_secret=read_secret,
    )


def _check_exportable(generated_project: GeneratedProject) -> None:
    if generated_project.status not in _EXPORTABLE:
        accepted = sorted(status.value for status in _EXPORTABLE)
        raise ExportConflictError(
            f"generated project {generated_project.id} is {generated_project.status.value!r}; accepted are {accepted}"
        )
    if generated_project.head_commit is None:
        raise ExportConflictError(
            f"generated project {generated_project.id} has no commit yet; a file_generation step comes first"
        )
