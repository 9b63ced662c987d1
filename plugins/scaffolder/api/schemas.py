"""What the API shows and accepts, with an example of each."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from scaffolder.api.paging import UNSTORABLE, Resource, get_example, with_example
from scaffolder.api.permissions import SLUG_PATTERN
from scaffolder.records import models
from scaffolder.records.models import AgentCallStatus, ExportStatus, GeneratedProjectStatus, MemberRole, Visibility

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Username = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=PRINTABLE)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=PRINTABLE)]
Value = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=PRINTABLE)]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]

_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT", re.IGNORECASE)
GENERATED_ID = "6a1f3c52-9d54-5c7e-8a5e-0d8c6f2b7e11"
EXPORT_ID = "c5b0e9a5-31f2-5b3c-8a10-7d6d8a3e52c1"
_AT = "2026-03-02T09:30:00Z"
_COMMIT = "3f786850e387550fdab836ed7e6dc881de23001b"


def _check_text(value: Any) -> Any:
    if not isinstance(value, str) or not _DATE_TIME.match(value):
        raise ValueError("accepted is a date and time with an offset (RFC 3339), such as 2026-03-02T09:30:00Z")
    return value


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is not within the years 1 to 9999 of UTC") from error


# Pydantic itself also takes numbers, and Postgres years that Python does not have.
Moment = Annotated[AwareDatetime, BeforeValidator(_check_text), AfterValidator(_to_utc)]


def _check_storable(data: dict[str, Any]) -> dict[str, Any]:
    parts: list[Any] = [data]
    while parts:
        part = parts.pop()
        if isinstance(part, str) and UNSTORABLE.search(part):
            raise ValueError(
                "there is a NUL or half of a character (a lone surrogate) in it; accepted is any other text"
            )
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"{part} is in it; accepted are the numbers of JSON (RFC 8259)")
        if isinstance(part, dict):
            parts += [*part, *part.values()]
        if isinstance(part, list):
            parts += part
    return data


# Anything that Postgres takes as JSON.
JsonObject = Annotated[dict[str, Any], AfterValidator(_check_storable)]


class Body(BaseModel):
    """What a request brings. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


# Projects


class ProjectOut(Resource):
    """A project."""

    model_config = with_example(
        slug="payments",
        name="Payments",
        description="Services around payments.",
        visibility="private",
        generated_count=12,
        created_by="ada",
        created_at=_AT,
        updated_at=_AT,
    )

    slug: str
    name: str
    description: str
    visibility: Visibility
    generated_count: int
    created_by: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def show(cls, record: models.Project) -> ProjectOut:
        """Return what is shown of a record."""
        return cls(**vars(record))


class ProjectIn(Body):
    """A project to be made; whoever makes it becomes its owner."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"slug": "payments", "name": "Payments", "visibility": "private"}]}
    )

    slug: Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
    name: Line | None = None
    description: Text = ""
    visibility: Visibility = Visibility.PRIVATE


class ProjectChanges(Body):
    """What is to be different; the rest stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"visibility": "public"}]})

    name: Line | None = None
    description: Text | None = None
    visibility: Visibility | None = None


class MemberOut(Resource):
    """A member of a project."""

    model_config = with_example(username="grace", role="member", created_at=_AT)

    username: str
    role: MemberRole
    created_at: datetime

    @classmethod
    def show(cls, record: models.ProjectMember) -> MemberOut:
        """Return what is shown of a record."""
        return cls(**vars(record))


class MemberIn(Body):
    """The role somebody is to have."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "member"}]})

    role: MemberRole


# Generated projects


class RunOut(Resource):
    """A DAG run."""

    model_config = with_example(
        dag_id="openapi_service",
        run_id="api__2026-03-02T09:30:00+00:00__5f2c1d3e",
        url="/dags/openapi_service/runs/api__2026-03-02T09:30:00+00:00__5f2c1d3e",
    )

    dag_id: str
    run_id: str
    url: str

    @classmethod
    def show(cls, dag_id: str, run_id: str, *, base: str) -> RunOut:
        """Return a run with its link; `base` is the path that Airflow itself is below."""
        url = f"{base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
        return cls(dag_id=dag_id, run_id=run_id, url=url)


class GeneratedOut(Resource):
    """A generated project, without its parameters."""

    model_config = with_example(
        id=GENERATED_ID,
        project="payments",
        name="invoices",
        workflow="openapi_service",
        run=get_example(RunOut),
        status="ready",
        head_commit=_COMMIT,
        file_count=24,
        size_bytes=51200,
        expires_at="2026-04-01T09:31:12Z",
        held=False,
        hold_reason=None,
        held_by=None,
        held_until=None,
        export_count=1,
        export_status="exported",
        regenerated_from=None,
        error=None,
        created_by="ada",
        created_at=_AT,
        updated_at="2026-03-02T09:31:12Z",
    )

    id: UUID
    project: str
    name: str
    workflow: str
    run: RunOut
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
    regenerated_from: UUID | None
    error: str | None
    created_by: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def show(cls, record: models.GeneratedProject, *, base: str) -> GeneratedOut:
        """Return what is shown of a record; `base` is the path that Airflow itself is below."""
        columns = {name: value for name, value in vars(record).items() if name in cls.model_fields}
        return cls(**columns, run=RunOut.show(record.dag_id, record.run_id, base=base))


class GeneratedDetail(GeneratedOut):
    """A generated project."""

    model_config = with_example(
        **get_example(GeneratedOut),
        params={"name": "invoices", "project": "payments"},
    )

    params: dict[str, Any] = Field(description="What the run was started with; what is secret is masked.")


class GenerationIn(Body):
    """A workflow to be run, and its parameters; `project` is that of the path."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "workflow": "openapi_service",
                    "params": {"name": "invoices", "document": {"openapi": "3.1.0", "paths": {}}},
                }
            ]
        }
    )

    workflow: Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]{0,62}$")]
    params: JsonObject = {}


class RegenerationIn(Body):
    """Parameters that are to be other than those of the first run."""

    params: JsonObject = {}


class HoldIn(Body):
    """Why retention is to leave it alone, and until when; without an end until it is released."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "in use by the demo", "until": "2026-12-31T00:00:00Z"}]}
    )

    reason: Line
    until: Moment | None = None


class CommitOut(Resource):
    """One step's commit."""

    model_config = with_example(position=0, step_id="files", commit=_COMMIT)

    position: int
    step_id: str
    commit: str | None

    @classmethod
    def show(cls, record: models.ProjectCommit) -> CommitOut:
        """Return what is shown of a record."""
        return cls(**vars(record))


# Files


class FileOut(Resource):
    """One file at one commit."""

    model_config = with_example(
        path="app/main.py",
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        size_bytes=1834,
        executable=False,
        origin="template:fastapi_service@1.0.0",
        step_id="files",
    )

    path: str
    sha256: str
    size_bytes: int
    executable: bool
    origin: str
    step_id: str

    @classmethod
    def show(cls, record: models.ProjectFile) -> FileOut:
        """Return what is shown of a record."""
        columns = {name: value for name, value in vars(record).items() if name != "mode"}
        return cls(**columns, executable=bool(record.mode & 0o111))


class EntryOut(Resource):
    """One entry of a directory; of a directory, `size_bytes` and `files` count all that is below it."""

    model_config = with_example(name="app", kind="directory", size_bytes=20480, files=9)

    name: str
    kind: Literal["directory", "file"]
    size_bytes: int
    files: int


class DifferenceOut(Resource):
    """One path that two commits have differently."""

    model_config = with_example(
        path="app/main.py",
        change="changed",
        before={"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "size_bytes": 1834},
        after={"sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752", "size_bytes": 1902},
    )

    path: str
    change: Literal["added", "changed", "removed"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @classmethod
    def show(cls, record: models.FileDifference) -> DifferenceOut:
        """Return what is shown of a record."""
        change = "added" if record.before is None else "removed" if record.after is None else "changed"
        return cls(path=record.path, change=change, before=_show_side(record.before), after=_show_side(record.after))  # type: ignore[arg-type]


def _show_side(file: models.ProjectFile | None) -> dict[str, Any] | None:
    if file is None:
        return None
    return FileOut.show(file).model_dump(mode="json", exclude={"path"})


# Exports


class ExportOut(Resource):
    """One attempt to put a generated project somewhere. `archive` says that there is something to download."""

    model_config = with_example(
        id=EXPORT_ID,
        generated_project_id=GENERATED_ID,
        step_id="publish",
        target="github",
        connection="github_default",
        status="exported",
        commit=_COMMIT,
        exported_commit=_COMMIT,
        branch="main",
        remote_name="acme/invoices",
        created_remote=True,
        rollback=False,
        url="https://github.com/acme/invoices",
        archive=False,
        archive_sha256=None,
        result={},
        error=None,
        run=get_example(RunOut),
        created_at=_AT,
        updated_at=_AT,
    )

    id: UUID
    generated_project_id: UUID
    step_id: str
    target: str
    connection: str | None
    status: ExportStatus
    commit: str
    exported_commit: str | None
    branch: str | None
    remote_name: str | None
    created_remote: bool
    rollback: bool
    url: str | None
    archive: bool
    archive_sha256: str | None
    result: dict[str, Any]
    error: str | None
    run: RunOut | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def show(cls, record: models.RepositoryExport, *, base: str) -> ExportOut:
        """Return what is shown of a record; `base` is the path that Airflow itself is below."""
        columns = {name: value for name, value in vars(record).items() if name in cls.model_fields}
        run = RunOut.show(record.dag_id, record.run_id, base=base) if record.dag_id and record.run_id else None
        if record.archive_path:
            # Paths of the machine that made it.
            columns["url"] = None
            columns["result"] = {name: value for name, value in record.result.items() if not name.endswith("_path")}
        return cls(**columns, archive=record.archive_path is not None, run=run)


class ExportRequestOut(Resource):
    """A run that exports; its exports are listed at `exports_url` as they begin."""

    model_config = with_example(
        generated_project_id=GENERATED_ID,
        run=get_example(RunOut),
        exports_url=f"/scaffolder/api/v1/projects/payments/generated/{GENERATED_ID}/exports?run_id=api__1",
    )

    generated_project_id: UUID
    run: RunOut
    exports_url: str


class ExportEntry(Body):
    """One target: what it is, through which connection, with which options."""

    target: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern="^[a-z][a-z0-9_]*$")]
    connection: Annotated[str, StringConstraints(max_length=250, pattern=PRINTABLE)] | None = None
    options: JsonObject | None = None


class ExportsIn(Body):
    """Exports to be made by one run."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"exports": [{"target": "archive", "options": {"format": "zip"}}]}]}
    )

    exports: Annotated[list[ExportEntry], Field(min_length=1, max_length=20)]


# What happened


class EventOut(Resource):
    """Something that happened to a record. `kind` status has `from`, `to` and `error` in its detail."""

    model_config = with_example(
        id=4711,
        generated_project_id=GENERATED_ID,
        subject="generated_project",
        subject_id=GENERATED_ID,
        kind="status",
        detail={"from": "generating", "to": "ready"},
        actor="ada",
        at=_AT,
    )

    id: int
    generated_project_id: UUID | None
    subject: str
    subject_id: str
    kind: str
    detail: dict[str, Any]
    actor: str | None
    at: datetime

    @classmethod
    def show(cls, record: models.Event) -> EventOut:
        """Return what is shown of a record."""
        return cls(**{name: value for name, value in vars(record).items() if name != "project"})


class AgentCallOut(Resource):
    """One request to an agent, without what was asked and answered."""

    model_config = with_example(
        id="0d8c6f2b-7e11-4c7e-8a5e-6a1f3c529d54",
        step_id="models",
        part_of=None,
        connection="demo_agent",
        operation="generateModels",
        model=None,
        request_digest="2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        status="answered",
        http_status=200,
        attempts=1,
        latency_ms=840,
        input_tokens=None,
        output_tokens=None,
        cost=None,
        replayed_from=None,
        in_doubt=False,
        error=None,
        created_at=_AT,
        updated_at=_AT,
    )

    id: UUID
    step_id: str
    part_of: UUID | None
    connection: str
    operation: str
    model: str | None
    request_digest: str
    status: AgentCallStatus
    http_status: int | None
    attempts: int
    latency_ms: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost: Decimal | None
    replayed_from: UUID | None
    in_doubt: bool
    error: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def show(cls, record: models.AgentCall) -> AgentCallOut:
        """Return what is shown of a record."""
        return cls(**{name: value for name, value in vars(record).items() if name in cls.model_fields})


# What there is to work with


class WorkflowOut(Resource):
    """A workflow. `params` are JSON Schemas by name."""

    model_config = with_example(
        id="openapi_service",
        title="Service from an OpenAPI document",
        description="",
        params={"name": {"type": "string"}},
        steps=[{"id": "models", "type": "api_call", "needs": []}],
    )

    id: str
    title: str
    description: str
    params: dict[str, Any]
    steps: list[dict[str, Any]]


class StepTypeOut(Resource):
    """A step type: the operator that runs it, and the keys it accepts as a JSON Schema."""

    model_config = with_example(
        name="file_generation",
        operator="FileGenerationOperator",
        description="Write files of templates and agents, move and delete.",
        definition={"type": "object"},
    )

    name: str
    operator: str
    description: str
    definition: dict[str, Any]


class TemplateOut(Resource):
    """A template of the templates directory. `values` is a JSON Schema where the template has one."""

    model_config = with_example(
        name="fastapi_service", kind="native", version="1.0.0", description="", values={"type": "object"}, problem=None
    )

    name: str
    kind: str
    version: str | None
    description: str
    values: dict[str, Any] | None
    problem: str | None = Field(description="Why it cannot be used.")


class AgentOut(Resource):
    """An agent that the registry knows, and the page that documents it."""

    model_config = with_example(
        connection="demo_agent",
        kind="openapi",
        title="Demo agent",
        version="1.0.0",
        description="",
        warnings=[],
        checked_at=_AT,
        changed_at=_AT,
        documentation_url="/scaffolder/agents/demo_agent",
    )

    connection: str
    kind: str
    title: str
    version: str
    description: str
    warnings: list[str]
    checked_at: datetime
    changed_at: datetime
    documentation_url: str

    @classmethod
    def show(cls, record: models.AgentDescription, *, root: str) -> AgentOut:
        """Return what is shown of a record; `root` is the path that our app is below."""
        columns = {name: value for name, value in vars(record).items() if name in cls.model_fields}
        return cls(**columns, documentation_url=f"{root}/agents/{quote(record.connection, safe='')}")


class EndpointOut(Resource):
    """One operation of an agent, and the page that documents it."""

    model_config = with_example(
        operation_id="generateModels",
        method="POST",
        path="/models",
        summary="Models from an OpenAPI document",
        first_seen_at=_AT,
        changed_at=_AT,
        gone_at=None,
        documentation_url="/scaffolder/agents/demo_agent/operations/generateModels",
    )

    operation_id: str
    method: str
    path: str
    summary: str
    first_seen_at: datetime
    changed_at: datetime
    gone_at: datetime | None
    documentation_url: str

    @classmethod
    def show(cls, record: models.Endpoint, *, root: str) -> EndpointOut:
        """Return what is shown of a record; `root` is the path that our app is below."""
        columns = {name: value for name, value in vars(record).items() if name in cls.model_fields}
        agent, operation = (quote(text, safe="") for text in (record.connection, record.operation_id))
        return cls(**columns, documentation_url=f"{root}/agents/{agent}/operations/{operation}")
