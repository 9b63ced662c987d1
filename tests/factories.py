"""Short ways to records and files that tests need but aren't about."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from scaffolder.generation.repository import CommitInfo
from scaffolder.generation.tree import GeneratedFile
from scaffolder.operators.run import open_generated_project
from scaffolder.records.models import GeneratedProject, RunIdentity
from scaffolder.records.store import ProjectRecords

RUN_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
_runs = itertools.count()


def make_run(*, dag_id: str = "openapi_service", run_id: str | None = None, user: str | None = "ada") -> RunIdentity:
    return RunIdentity(dag_id=dag_id, run_id=run_id or f"manual__{next(_runs)}", run_at=RUN_AT, triggered_by=user)


def open_project(records: ProjectRecords, *, run: RunIdentity | None = None, **values: Any) -> GeneratedProject:
    given: dict[str, Any] = {"project": "default", "name": "bookings", "workflow": "openapi_service", "params": {}}
    return open_generated_project(records, run or make_run(), **(given | values))


def make_file(path: str, content: bytes | str = b"content\n", *, executable: bool = False) -> GeneratedFile:
    data = content.encode() if isinstance(content, str) else content
    return GeneratedFile(path=path, content=data, origin="step:files", executable=executable)


def describe_commit(step_id: str) -> CommitInfo:
    return CommitInfo(step_id=step_id, subject=step_id, trailers=(), author="ada", email="ada@x", at=RUN_AT)


def begin_call(records: ProjectRecords, call_id: UUID, generated_project: GeneratedProject) -> None:
    records.agent_calls.begin(
        call_id,
        generated_project_id=generated_project.id,
        step_id="models",
        connection="demo_agent",
        operation="generateModels",
        request_digest="0" * 64,
    )
