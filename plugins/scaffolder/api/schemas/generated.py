"""Generated projects, their runs and commits."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from scaffolder.api.paging import Resource, get_example, with_example
from scaffolder.api.schemas.values import AT, COMMIT, GENERATED_ID, Body, JsonObject, Line, Moment, hide_directories
from scaffolder.records import models
from scaffolder.records.models import ExportStatus, GeneratedProjectStatus


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
        head_commit=COMMIT,
        file_count=24,
        size_bytes=51200,
        expires_at="2026-04-01T09:31:12Z",
        held=False,
        hold_reason=None,
        held_by=None,
        held_until=None,
        export_count=1,
        export_status="exported",
        ended_at="2026-03-02T09:31:12Z",
        removal_reason=None,
        regenerated_from=None,
        error=None,
        created_by="ada",
        created_at=AT,
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
    ended_at: datetime | None
    removal_reason: str | None
    regenerated_from: UUID | None
    error: str | None
    created_by: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def show(cls, record: models.GeneratedProject, *, base: str) -> GeneratedOut:
        """Return what is shown of a record; `base` is the path that Airflow itself is below."""
        columns = {name: value for name, value in vars(record).items() if name in cls.model_fields}
        columns["error"] = hide_directories(record.error)
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
    params: JsonObject = Field(default_factory=dict)


class RegenerationIn(Body):
    """Parameters that are to be other than those of the first run."""

    params: JsonObject = Field(default_factory=dict)


class HoldIn(Body):
    """Why retention is to leave it alone, and until when; without an end until it is released."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "in use by the demo", "until": "2026-12-31T00:00:00Z"}]}
    )

    reason: Line
    until: Moment | None = None


class CommitOut(Resource):
    """One step's commit."""

    model_config = with_example(position=0, step_id="files", commit=COMMIT)

    position: int
    step_id: str
    commit: str | None

    @classmethod
    def show(cls, record: models.ProjectCommit) -> CommitOut:
        """Return what is shown of a record."""
        return cls(**vars(record))
