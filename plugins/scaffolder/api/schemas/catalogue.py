"""What there is to work with."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import Field

from scaffolder.api.paging import Resource, with_example
from scaffolder.api.schemas.values import AT
from scaffolder.records import models


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
        checked_at=AT,
        changed_at=AT,
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
        first_seen_at=AT,
        changed_at=AT,
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
