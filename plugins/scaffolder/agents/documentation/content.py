"""What the pages say, made from the registry's rows: every text of an agent printable and cut, every list bounded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from scaffolder.agents.documentation.example_step import ExampleStep, ExampleSteps
from scaffolder.agents.documentation.operation import (
    DescribedOperation,
    get_parameter_schema,
    is_idempotency_key,
    is_required,
    list_contents,
)
from scaffolder.agents.documentation.outline import Fact, SchemaRow, describe_type, outline
from scaffolder.agents.documentation.references import as_list, as_mapping, as_text
from scaffolder.agents.documentation.remote_text import clean, clean_line
from scaffolder.records.models import AgentDescription, Endpoint

_MAX_LINE: Final = 200
_MAX_PATH: Final = 500
_MAX_PROSE: Final = 8_000
_MAX_WARNINGS: Final = 100
_MAX_PARAMETERS: Final = 200
_MAX_RESPONSES: Final = 20
_MAX_CONTENTS: Final = 3
_MAX_TAGS: Final = 10
_MAX_EXAMPLES: Final = 10
# Answers that say what went wrong are read less, and are much the same everywhere.
_ROWS_OF_FAILURE: Final = 40

_KINDS: Final = {
    "openapi": ("REST (OpenAPI)", "operation"),
    "a2a": ("A2A", "skill"),
    "mcp": ("MCP", "tool"),
}


@dataclass(frozen=True, kw_only=True)
class AgentPage:
    """An agent as a whole. `offers` is like ``12 operations``."""

    connection: str
    title: str
    version: str
    kind: str
    offers: str
    source: str
    description: str
    warnings: tuple[str, ...]
    checked_at: datetime
    changed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One endpoint in an index. `anchor` names its place on a page that has them all."""

    id: str
    method: str
    path: str
    summary: str
    gone_at: datetime | None
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter; `place` is ``path``, ``query``, ``header`` or ``cookie``."""

    name: str
    place: str
    type: str
    facts: tuple[Fact, ...]
    required: bool
    description: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """What goes in or comes out: `rows` of its schema, the whole first. `media_type` is empty where there is none."""

    media_type: str
    rows: list[SchemaRow]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section of an operation: what it takes, and what it says besides."""

    title: str
    required: bool = False
    description: str = ""
    contents: tuple[Content, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Response:
    """What an operation answers with one status; `summary` is the first line of its description."""

    status: str
    summary: str
    description: str
    contents: tuple[Content, ...]


@dataclass(frozen=True, kw_only=True)
class OperationPage:
    """All there is to say of one endpoint."""

    entry: Entry
    title: str
    description: str
    deprecated: bool
    tags: tuple[str, ...]
    step: ExampleStep
    parameters: tuple[Parameter, ...]
    parts: tuple[Part, ...]
    responses: tuple[Response, ...]


def describe_agent(description: AgentDescription, *, count: int) -> AgentPage:
    """Return what is said of an agent with `count` endpoints."""
    kind, noun = _KINDS[description.kind]
    warnings = [clean_line(warning, _MAX_LINE * 2) for warning in description.warnings[:_MAX_WARNINGS]]
    if len(description.warnings) > _MAX_WARNINGS:
        warnings.append(f"and {len(description.warnings) - _MAX_WARNINGS} more")
    return AgentPage(
        connection=clean_line(description.connection, _MAX_LINE),
        title=clean_line(description.title, _MAX_LINE) or clean_line(description.connection, _MAX_LINE),
        version=clean_line(description.version, _MAX_LINE),
        kind=kind,
        offers=f"{count:,} {noun if count == 1 else noun + 's'}",
        source=clean_line(_without_secrets(description.source), _MAX_PATH),
        description=clean(description.description, _MAX_PROSE),
        warnings=tuple(warnings),
        checked_at=description.checked_at,
        changed_at=description.changed_at,
    )


def describe_entry(endpoint: Endpoint) -> Entry:
    """Return one endpoint's line in an index; its definition may be empty."""
    return Entry(
        id=clean_line(endpoint.operation_id, _MAX_LINE),
        method=clean_line(endpoint.method, 20).upper(),
        path=clean_line(endpoint.path, _MAX_PATH),
        summary=clean_line(endpoint.summary, _MAX_LINE),
        gone_at=endpoint.gone_at,
        anchor=_make_anchor(endpoint.operation_id),
    )


def sort_endpoints(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Return `endpoints` as an index has them: what is there before what is gone, by path."""
    return sorted(endpoints, key=lambda one: (one.gone_at is not None, one.path, one.method, one.operation_id))


def describe_operation(endpoint: Endpoint, *, steps: ExampleSteps) -> OperationPage:
    """Return all there is to say of one endpoint."""
    definition, step = endpoint.definition, steps.make(endpoint)
    if "skill" in definition:
        return _describe_skill(endpoint, as_mapping(definition["skill"]), step)
    if "tool" in definition:
        return _describe_tool(endpoint, as_mapping(definition["tool"]), step)
    operation = DescribedOperation(document=definition)
    return _make_page(
        endpoint,
        step,
        # The registry's summary may be the beginning of the description, which is on the page anyway.
        title=as_text(operation.data.get("summary")),
        description=as_text(operation.data.get("description")),
        deprecated=operation.data.get("deprecated") is True,
        tags=as_list(operation.data.get("tags")),
        parameters=tuple(_describe_parameter(one, definition) for one in operation.parameters[:_MAX_PARAMETERS]),
        parts=tuple(_describe_request(operation)),
        responses=tuple(
            _describe_response(status, response, definition)
            for status, response in list(operation.responses.items())[:_MAX_RESPONSES]
        ),
    )


def _describe_skill(endpoint: Endpoint, skill: Mapping[str, Any], step: ExampleStep) -> OperationPage:
    examples = [clean_line(one, _MAX_LINE * 2) for one in as_list(skill.get("examples"))[:_MAX_EXAMPLES]]
    parts = [Part(title="Examples", description="\n".join(f"- {one}" for one in examples))] if examples else []
    for title, key in (("Takes", "inputModes"), ("Answers", "outputModes")):
        if modes := ", ".join(clean_line(one, _MAX_LINE) for one in as_list(skill.get(key))[:_MAX_EXAMPLES]):
            parts.append(Part(title=title, description=modes))
    return _make_page(
        endpoint,
        step,
        title=as_text(skill.get("name")),
        description=as_text(skill.get("description")),
        tags=as_list(skill.get("tags")),
        parts=tuple(parts),
    )


def _describe_tool(endpoint: Endpoint, tool: Mapping[str, Any], step: ExampleStep) -> OperationPage:
    parts = [
        Part(title=title, contents=(Content(media_type="", rows=outline(tool[key], as_mapping(tool[key]))),))
        for title, key in (("Takes", "inputSchema"), ("Answers", "outputSchema"))
        if tool.get(key)
    ]
    return _make_page(
        endpoint,
        step,
        title=as_text(tool.get("title")),
        description=as_text(tool.get("description")),
        parts=tuple(parts),
    )


def _make_page(
    endpoint: Endpoint,
    step: ExampleStep,
    *,
    description: str,
    title: str = "",
    deprecated: bool = False,
    tags: Iterable[Any] = (),
    parameters: tuple[Parameter, ...] = (),
    parts: tuple[Part, ...] = (),
    responses: tuple[Response, ...] = (),
) -> OperationPage:
    entry = describe_entry(endpoint)
    return OperationPage(
        entry=entry,
        title=clean_line(title, _MAX_LINE) or entry.id,
        description=clean(description, _MAX_PROSE),
        deprecated=deprecated,
        tags=tuple(clean_line(tag, _MAX_LINE) for tag in list(tags)[:_MAX_TAGS]),
        step=step,
        parameters=parameters,
        parts=parts,
        responses=responses,
    )


def _describe_parameter(parameter: Mapping[str, Any], document: Mapping[str, Any]) -> Parameter:
    kind, facts = describe_type(get_parameter_schema(parameter), document)
    if parameter.get("deprecated") is True:
        facts = (*facts, Fact("deprecated"))
    own = is_idempotency_key(parameter)
    if own:
        facts = (*facts, Fact("sent by the call itself"))
    return Parameter(
        name=clean_line(parameter["name"], _MAX_LINE),
        place=clean_line(as_text(parameter.get("in")), _MAX_LINE),
        type=kind,
        facts=facts,
        required=is_required(parameter) and not own,
        description=clean(as_text(parameter.get("description")), _MAX_PROSE // 4),
    )


def _describe_request(operation: DescribedOperation) -> Iterable[Part]:
    body = operation.request_body
    if body:
        yield Part(
            title="Request body",
            required=body.get("required") is True,
            description=clean(as_text(body.get("description")), _MAX_PROSE),
            contents=_describe_contents(body, operation.document),
        )


def _describe_response(status: str, response: Mapping[str, Any], document: Mapping[str, Any]) -> Response:
    description = clean(as_text(response.get("description")), _MAX_PROSE)
    failed = not status.startswith(("2", "d"))
    return Response(
        status=clean_line(status, 20),
        summary=clean_line(description.partition("\n")[0], _MAX_LINE),
        description=description,
        contents=_describe_contents(response, document, **({"max_rows": _ROWS_OF_FAILURE} if failed else {})),
    )


def _describe_contents(body: Mapping[str, Any], document: Mapping[str, Any], **bound: int) -> tuple[Content, ...]:
    return tuple(
        Content(media_type=clean_line(one.media_type, _MAX_LINE), rows=outline(one.schema, document, **bound))
        for one in list_contents(body)[:_MAX_CONTENTS]
    )


def _make_anchor(operation_id: str) -> str:
    """Return what names the operation in a page: readable, and different for each."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", operation_id).strip("-")[:60]
    return f"{readable}-{hashlib.sha256(operation_id.encode('utf-8', 'replace')).hexdigest()[:8]}".lower()


def _without_secrets(source: str) -> str:
    """Return a URL without user, password, query and fragment; a file's path as it is."""
    try:
        url = urlsplit(source)
        if not url.netloc:
            return source
        return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
    except ValueError:
        return ""
