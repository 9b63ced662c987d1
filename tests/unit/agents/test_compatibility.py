"""Which steps no longer fit what their agents offer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scaffolder.agents.discovery.compatibility import find_breaks
from scaffolder.agents.openapi.document import read_offer
from scaffolder.config import Settings
from scaffolder.records.models import Endpoint
from scaffolder.workflows.definition import load_definition
from scaffolder.workflows.uses import list_uses

NOW = datetime(2026, 3, 4, tzinfo=UTC)
WORKFLOW = """
id: example
params: {name: {type: string}}
steps:
  - id: make
    type: api_call
    agent: agent
    operation: make
    parameters: {kind: small, count: "{{ params.name }}"}
    body: {name: "{{ params.name }}", title: "x-{{ params.name }}", size: 3, tags: [a, "{{ params.name }}"]}
  - id: other
    type: api_call
    agent: agent
    method: GET
    path: /anything
  - id: dynamic
    type: api_call
    agent: agent
    operation: "{{ params.name }}"
  - id: somewhere
    type: api_call
    agent: "{{ params.name }}"
    operation: make
"""
PARAMETERS: dict[str, Any] = {
    "kind": {"name": "kind", "in": "query", "schema": {"enum": ["small", "large"]}},
    "count": {"name": "count", "in": "query", "schema": {"type": "integer"}},
}
PROPERTIES: dict[str, Any] = {
    "name": {"type": "string", "maxLength": 5},
    "title": {"type": "string"},
    "size": {"type": "integer", "maximum": 5},
    "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
}


def make_endpoint(
    *, parameters: dict[str, Any] | None = None, gone_at: datetime | None = None, **schema: Any
) -> Endpoint:
    body = {"type": "object", "properties": PROPERTIES, "required": ["name"], "additionalProperties": False} | schema
    operation = {
        "operationId": "make",
        "parameters": list({**PARAMETERS, **(parameters or {})}.values()),
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
    }
    document = {"openapi": "3.1.0", "paths": {"/make": {"post": operation}}}
    (offered,) = read_offer(document, content=b"", source="x", base_url=None).endpoints
    return Endpoint(connection="agent", first_seen_at=NOW, changed_at=NOW, gone_at=gone_at, **vars(offered))


def find(endpoint: Endpoint | None, tmp_path: Path, settings: Settings) -> list[str]:
    path = tmp_path / "example.yaml"
    path.write_text(WORKFLOW)
    uses = list(list_uses([load_definition(path, settings=settings)]))
    assert [(use.step_id, use.operation) for use in uses] == [("make", "make")]
    found = list(find_breaks(uses, lambda _: endpoint))
    assert all((one.use.workflow, one.use.step_id) == ("example", "make") for one in found)
    return [reason for one in found for reason in one.reasons]


def test_a_step_that_fits_is_no_break(tmp_path: Path, settings: Settings) -> None:
    assert find(make_endpoint(), tmp_path, settings) == []


@pytest.mark.parametrize(
    ("endpoint", "reasons"),
    [
        (None, ["there is no operation 'make'"]),
        (make_endpoint(gone_at=NOW), ["operation 'make' is gone since 2026-03-04"]),
        (
            make_endpoint(parameters={"new": {"name": "new", "in": "query", "required": True}}),
            ["parameter 'new' is required"],
        ),
        (make_endpoint(required=["name", "owner"]), ["body lacks 'owner', which is required"]),
        (
            make_endpoint(parameters={"kind": {"name": "sort", "in": "query"}}),
            ["unknown parameter 'kind'; accepted are 'count', 'sort'"],
        ),
        (
            make_endpoint(parameters={"kind": {**PARAMETERS["kind"], "schema": {"enum": ["large"]}}}),
            ["parameter 'kind' is 'small'; accepted are ['large']"],
        ),
        (
            make_endpoint(properties={**PROPERTIES, "size": {"type": "integer", "maximum": 2}}),
            ["body.size is 3; accepted is what fits maximum 2"],
        ),
        (
            make_endpoint(properties={**PROPERTIES, "tags": {"items": {"enum": ["b"]}}}),
            ["body.tags.0 is 'a'; accepted are ['b']"],
        ),
        (
            make_endpoint(properties={"name": {}, "size": {}, "tags": {}}),
            ["body has no property 'title'; accepted are 'name', 'size', 'tags'"],
        ),
        # What an expression brings may be anything.
        (make_endpoint(properties={**PROPERTIES, "title": {"const": "y"}}), []),
        (
            make_endpoint(properties={**PROPERTIES, "size": {"$ref": "other.json"}}),
            ["the description's reference 'other.json' cannot be followed"],
        ),
    ],
)
def test_what_breaks_a_step_is_named(
    endpoint: Endpoint | None, reasons: list[str], tmp_path: Path, settings: Settings
) -> None:
    assert find(endpoint, tmp_path, settings) == reasons
