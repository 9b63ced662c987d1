"""What `scaffolder doctor` compares: rows of the records, as its statements return them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from scaffolder.records.models import ExportStatus, GeneratedProjectStatus


@dataclass(frozen=True, kw_only=True)
class ExaminedProject:
    """One generated project, with what its totals say and what its rows come to.

    `is_settled` says that nobody has changed it for the grace; `kept_answers` counts calls of a deleted one that have
    their answers still; `stamp` is another text whenever it or one of its exports was changed.
    """

    id: UUID
    project: str
    name: str
    status: GeneratedProjectStatus
    head_commit: str | None
    dag_id: str
    run_id: str
    is_settled: bool
    file_count: int
    size_bytes: int
    counted_files: int
    counted_bytes: int
    export_count: int
    export_status: ExportStatus | None
    counted_exports: int
    newest_export_status: ExportStatus | None
    last_commit: str | None
    kept_answers: int
    stamp: str


@dataclass(frozen=True, kw_only=True)
class KnownStatus:
    """The status of one generated project, and its project."""

    id: UUID
    status: GeneratedProjectStatus
    project: str


@dataclass(frozen=True, kw_only=True)
class RecordedCommit:
    """One step's commit."""

    step_id: str
    commit: str


@dataclass(frozen=True, kw_only=True)
class RecordedFile:
    """One file at the head. `mode` is git's."""

    path: str
    sha256: str
    size_bytes: int
    mode: int


@dataclass(frozen=True, kw_only=True)
class RecordedArchive:
    """One export that has arrived or is under way, with the files that it names."""

    id: UUID
    status: ExportStatus
    target: str
    commit: str
    archive_path: str | None
    archive_sha256: str | None
    result: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class OpenExport:
    """One export that has been under way for longer than the grace, and the run that makes it."""

    id: UUID
    status: ExportStatus
    target: str
    generated_project_id: UUID
    project: str
    dag_id: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class RemoteExport:
    """One export that has arrived at a host. `is_request` says that it is a pull or merge request."""

    id: UUID
    target: str
    connection: str | None
    location: str | None
    remote_name: str | None
    remote_id: str | None
    url: str | None
    branch: str
    exported_commit: str
    is_request: bool
    generated_project_id: UUID
    project: str


@dataclass(frozen=True, kw_only=True)
class MiscountedProject:
    """One project whose `generated_count` is not what its rows come to."""

    slug: str
    generated_count: int
    counted: int
