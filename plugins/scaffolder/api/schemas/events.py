"""What happened, and what agents were asked for."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from scaffolder.api.paging import Resource, with_example
from scaffolder.api.schemas.values import AT, GENERATED_ID, hide_directories
from scaffolder.records import models
from scaffolder.records.models import AgentCallStatus


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
        at=AT,
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
        columns = {name: value for name, value in vars(record).items() if name != "project_id"}
        if isinstance(record.detail.get("error"), str):
            columns["detail"] = record.detail | {"error": hide_directories(record.detail["error"])}
        return cls(**columns)


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
        created_at=AT,
        updated_at=AT,
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
        columns = {name: value for name, value in vars(record).items() if name in cls.model_fields}
        return cls(**columns | {"error": hide_directories(record.error)})
