"""What the records hold, as dataclasses, one for each table that others read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class GeneratedProjectStatus(StrEnum):
    """Moves ``pending -> generating -> ready -> expired -> deleted``; ``failed`` from the first two.

    A failed run that is cleared in Airflow goes on: ``failed -> generating``. The database enforces the moves.
    """

    PENDING = "pending"
    GENERATING = "generating"
    READY = "ready"
    FAILED = "failed"
    EXPIRED = "expired"
    DELETED = "deleted"


class ExportStatus(StrEnum):
    """Moves ``pending -> exporting -> exported | failed``; a failed export may be tried again."""

    PENDING = "pending"
    EXPORTING = "exporting"
    EXPORTED = "exported"
    FAILED = "failed"


class AgentCallStatus(StrEnum):
    """Whether an agent call has its answer."""

    PENDING = "pending"
    ANSWERED = "answered"
    FAILED = "failed"


class MemberRole(StrEnum):
    """What a member of a project may do: look, generate and export, or manage."""

    VIEWER = "viewer"
    MEMBER = "member"
    OWNER = "owner"


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """The DAG run a generated project belongs to. `run_at` (aware) dates its commits."""

    dag_id: str
    run_id: str
    run_at: datetime
    triggered_by: str | None


@dataclass(frozen=True, kw_only=True)
class GeneratedProject:
    """The result of one workflow run."""

    id: UUID
    project: str
    name: str
    workflow: str
    dag_id: str
    run_id: str
    run_at: datetime
    params: dict[str, Any]
    status: GeneratedProjectStatus
    head_commit: str | None
    file_count: int
    size_bytes: int
    expires_at: datetime | None
    held: bool
    error: str | None
    created_by: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class ProjectFile:
    """One file of a generated project. `mode` is git's (0o100644 or 0o100755); `origin` says who made it.

    `step_id` is the step that wrote or moved it last.
    """

    path: str
    sha256: str
    size_bytes: int
    mode: int
    origin: str
    step_id: str


@dataclass(frozen=True, kw_only=True)
class ProjectCommit:
    """One step's commit; `position` counts from 0, oldest first.

    `commit` is None in records that were made before it was kept.
    """

    position: int
    step_id: str
    commit: str | None


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """What a step did to one path: `file` is what is there since, None where the step took it away.

    `moved_from` is the path that a moved file had before.
    """

    path: str
    file: ProjectFile | None
    moved_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class FileDifference:
    """One path that two commits have differently; `before` or `after` is None where that commit doesn't have it."""

    path: str
    before: ProjectFile | None
    after: ProjectFile | None


@dataclass(frozen=True, kw_only=True)
class AgentCall:
    """One request to an agent and its answer. `attempts` counts the tries of its task."""

    id: UUID
    generated_project_id: UUID
    step_id: str
    connection: str
    operation: str
    request_digest: str
    status: AgentCallStatus
    http_status: int | None
    response: Any
    error: str | None
    attempts: int
    latency_ms: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class RepositoryExport:
    """One generated project put somewhere. `archive_sha256` and `archive_path` are set for archives only."""

    id: UUID
    generated_project_id: UUID
    step_id: str
    target: str
    options: dict[str, Any]
    status: ExportStatus
    idempotency_key: str
    commit: str
    url: str | None
    archive_path: str | None
    archive_sha256: str | None
    error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a record; written by the database in the same transaction."""

    id: int
    generated_project_id: UUID | None
    subject: str
    subject_id: str
    kind: str
    detail: dict[str, Any]
    actor: str | None
    at: datetime
