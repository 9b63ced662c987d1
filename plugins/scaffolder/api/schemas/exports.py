"""Repository exports."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from scaffolder.api.paging import Resource, get_example, with_example
from scaffolder.api.schemas.generated import RunOut
from scaffolder.api.schemas.values import (
    AT,
    COMMIT,
    EXPORT_ID,
    GENERATED_ID,
    PRINTABLE,
    Body,
    JsonObject,
    hide_directories,
)
from scaffolder.records import models
from scaffolder.records.models import ExportStatus


class ExportOut(Resource):
    """One attempt to put a generated project somewhere. `archive` says that there is something to download."""

    model_config = with_example(
        id=EXPORT_ID,
        generated_project_id=GENERATED_ID,
        step_id="publish",
        target="github",
        connection="github_default",
        status="exported",
        commit=COMMIT,
        exported_commit=COMMIT,
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
        created_at=AT,
        updated_at=AT,
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
        columns["error"] = hide_directories(record.error)
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
