"""What the records hold, as dataclasses, one for each table that others read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
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
    """Moves ``pending -> exporting -> exported | failed``, and to ``rolled_back`` where its run failed.

    A failed or rolled back export may be tried again.
    """

    PENDING = "pending"
    EXPORTING = "exporting"
    EXPORTED = "exported"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class AgentCallStatus(StrEnum):
    """Moves ``pending -> answered | failed``, by way of ``waiting`` where the agent has accepted a long job.

    An answered or failed call may be sent again: ``-> pending``.
    """

    PENDING = "pending"
    WAITING = "waiting"
    ANSWERED = "answered"
    FAILED = "failed"


class CircuitState(StrEnum):
    """``closed`` lets calls through, ``open`` none, ``half_open`` one, which decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class MemberRole(StrEnum):
    """What a member of a project may do: look, generate and export, or manage."""

    VIEWER = "viewer"
    MEMBER = "member"
    OWNER = "owner"


class Visibility(StrEnum):
    """Who sees a project: ``open`` lets all read and generate, ``public`` all read, ``private`` its members alone."""

    OPEN = "open"
    PUBLIC = "public"
    PRIVATE = "private"


@dataclass(frozen=True, kw_only=True)
class Project:
    """What members belong to. `slug` names it for good; `generated_count` leaves deleted ones out."""

    slug: str
    name: str
    description: str
    visibility: Visibility
    generated_count: int
    created_by: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class ProjectMember:
    """One user's part in a project."""

    username: str
    role: MemberRole
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class ProjectAccess:
    """What decides whether one user may do something to a project; `role` is None for those who are no members."""

    project: str
    visibility: Visibility
    role: MemberRole | None


@dataclass(frozen=True, kw_only=True)
class RequestedRun:
    """A DAG run that the API was asked for by `username`, kept before it was started.

    `request_digest` (SHA-256) is that of the request: the same key with another one is a mistake. `as_administrator`
    says that the user passes membership, `started` that Airflow has the run, or had it.
    """

    key: str
    dag_id: str
    run_id: str
    generated_project_id: UUID
    username: str
    request_digest: str
    as_administrator: bool
    started: bool
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """The DAG run a generated project belongs to. `run_at` (aware) dates its commits."""

    dag_id: str
    run_id: str
    run_at: datetime
    triggered_by: str | None


@dataclass(frozen=True, kw_only=True)
class GeneratedProject:
    """The result of one workflow run.

    `ended_at` is when it became ready or failed, `expires_at` when it goes by the rules of retention, None for never.
    `removal_reason` says why it went. While it is `held`, until `held_until` where that is set, it stays.
    `export_count` counts exports that have arrived, `export_status` is that of the one that changed last.
    """

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
    hold_reason: str | None
    held_by: str | None
    held_until: datetime | None
    export_count: int
    export_status: ExportStatus | None
    ended_at: datetime | None
    removal_reason: str | None
    regenerated_from: UUID | None
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
    """One request to an agent and its answer. `attempts` counts how often it was sent.

    `part_of` is the call that this one is a part of: a language model is asked several times for one step. Tokens and
    `cost` are a call's own, all attempts together, without those of its parts; None where the agent doesn't say or
    the model has no price. `replayed_from` is the call whose answer was used instead of asking again. `in_doubt` says
    that it was sent and nobody knows what became of it, `is_settled` that the same would come of `idempotency_key`
    again. `job` is where its last long job is, or was, asked after:
    ``{"handle", "poll_seconds", "until"}``, the end in seconds since 1970.
    """

    id: UUID
    generated_project_id: UUID
    step_id: str
    part_of: UUID | None
    connection: str
    operation: str
    model: str | None
    request_digest: str
    status: AgentCallStatus
    http_status: int | None
    response: Any
    error: str | None
    attempts: int
    latency_ms: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost: Decimal | None
    replayed_from: UUID | None
    idempotency_key: str
    in_doubt: bool
    is_settled: bool
    job: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What one attempt of a call has consumed; None is unknown."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What calls have consumed together."""

    tokens: int
    cost: Decimal


@dataclass(frozen=True, kw_only=True)
class AgentCircuit:
    """The circuit breaker of one connection. `wait_seconds` is how long no call is let through."""

    connection: str
    state: CircuitState
    failures: int
    wait_seconds: float
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class AgentDescription:
    """What a connection says it offers, as of `checked_at`. `source` is the URL or file it was read from.

    `base_url` is what the connection had then: paths of endpoints are below it. It is empty where nobody calls them.
    `digest` (SHA-256) and `etag` are those of the text; `warnings` are sentences about what could not be used.
    """

    connection: str
    kind: Literal["openapi", "a2a", "mcp"]
    source: str
    title: str
    version: str
    description: str
    etag: str | None
    digest: str
    warnings: list[str]
    checked_at: datetime
    changed_at: datetime
    base_url: str = ""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One operation discovered from an agent's description.

    `definition` stands alone: of OpenAPI, a document with this one operation and all that it refers to; of A2A
    ``{"skill": ...}``; of MCP ``{"tool": ...}``, with method ``SKILL`` or ``TOOL`` and an empty path. `digest` is that
    of the definition. `gone_at` is set where the description no longer has it.
    """

    connection: str
    operation_id: str
    method: str
    path: str
    summary: str
    definition: dict[str, Any]
    digest: str
    first_seen_at: datetime
    changed_at: datetime
    gone_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class RepositoryExport:
    """One generated project put somewhere. `archive_sha256` and `archive_path` are set for archives only.

    `location` is the host as a URL without credentials. `nonce` marks a repository as made by this export until
    `remote_id` is recorded: the repository's id at its host, which stays when it is renamed. `remote_name` is the name
    it has, or was about to get; `created_remote` says that this export made it. `exported_commit` is what was pushed to
    `branch`: `commit` itself, or what was made of it (author, signature, place in somebody's repository). `steps_done`
    are the names of settings that were made there. `result` is what the exporter has to tell besides, as JSON.
    `rollback` says that what it made goes again if its run fails. `dag_id` and `run_id` are the run that asked for it
    last, `step_id` the task there.
    """

    id: UUID
    generated_project_id: UUID
    step_id: str
    target: str
    connection: str | None
    location: str | None
    options: dict[str, Any]
    status: ExportStatus
    idempotency_key: str
    nonce: str
    commit: str
    remote_name: str | None
    remote_id: str | None
    created_remote: bool
    exported_commit: str | None
    branch: str | None
    steps_done: list[str]
    result: dict[str, Any]
    rollback: bool
    url: str | None
    archive_path: str | None
    archive_sha256: str | None
    error: str | None
    dag_id: str | None
    run_id: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a record; written by the database in the same transaction.

    `kind` is ``created``, ``status`` (`detail` is ``{"from", "to", "error"}``), ``changed`` (`detail` holds
    ``{"from", "to"}`` for each column) or ``deleted``. `project_id` is set for projects and their members.
    """

    id: int
    generated_project_id: UUID | None
    project_id: int | None
    subject: str
    subject_id: str
    kind: str
    detail: dict[str, Any]
    actor: str | None
    at: datetime
