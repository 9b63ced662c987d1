"""What the pages say, made from the registry's rows: every text of an agent printable and cut, every list bounded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from scaffolder.agents.documentation.budget import Budget
from scaffolder.agents.documentation.example_step import ExampleStep, ExampleSteps
from scaffolder.agents.documentation.operation import Content as BodyContent
from scaffolder.agents.documentation.operation import (
    DescribedOperation,
    get_parameter_schema,
    is_idempotency_key,
    is_required,
    list_contents,
)
from scaffolder.agents.documentation.outline import MAX_ROWS, Fact, SchemaRow, outline, outline_top
from scaffolder.agents.documentation.references import as_list, as_text, follow
from scaffolder.agents.documentation.remote_text import clean, clean_line
from scaffolder.agents.openapi.bodies import as_mapping
from scaffolder.records.models import AgentDescription, Endpoint

_REQUEST: Final = "Request body"
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
    """What goes in or comes out: `rows` of its schema, the whole first. `media_type` is empty where there is none.

    Where the same schema is written out before (`shown_at`, such as ``response 200``), `rows` is the first alone.
    """

    media_type: str
    rows: list[SchemaRow]
    shown_at: str = ""


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
    """All there is to say of one endpoint. `shortened` says what is left out; empty where all is there.

    `characters` is how much of what the agent wrote it has, about.
    """

    entry: Entry
    title: str
    description: str
    deprecated: bool
    tags: tuple[str, ...]
    step: ExampleStep
    parameters: tuple[Parameter, ...]
    parts: tuple[Part, ...]
    responses: tuple[Response, ...]
    shortened: str
    characters: int


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
    """Return all there is to say of one endpoint, within a `Budget`."""
    definition, step = endpoint.definition, steps.make(endpoint)
    if "skill" in definition:
        return _describe_skill(endpoint, as_mapping(definition["skill"]), step)
    if "tool" in definition:
        return _describe_tool(endpoint, as_mapping(definition["tool"]), step)
    budget = Budget()
    operation, bodies = DescribedOperation(document=definition), _Bodies(definition, budget)
    # The registry's summary may be the beginning of the description, which is on the page anyway.
    title, description = as_text(operation.data.get("summary")), as_text(operation.data.get("description"))
    parameters = tuple(bodies.describe_parameters(operation.parameters))
    parts = tuple(bodies.describe_request(operation.request_body))
    responses = tuple(bodies.describe_responses(operation.responses))
    counts = {"parameters": (parameters, operation.parameters), "responses": (responses, operation.responses)}
    return _make_page(
        endpoint,
        step,
        title=title,
        description=description,
        deprecated=operation.data.get("deprecated") is True,
        tags=as_list(operation.data.get("tags")),
        parameters=parameters,
        parts=parts,
        responses=responses,
        shortened="; ".join(
            f"{len(shown):,} of {len(declared):,} {name} are shown"
            for name, (shown, declared) in counts.items()
            if len(shown) < len(declared)
        ),
        characters=budget.taken,
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
    budget = Budget()
    parts = [
        Part(
            title=title,
            contents=(Content(media_type="", rows=outline(tool[key], as_mapping(tool[key]), budget=budget)),),
        )
        for title, key in (("Takes", "inputSchema"), ("Answers", "outputSchema"))
        if tool.get(key)
    ]
    return _make_page(
        endpoint,
        step,
        title=as_text(tool.get("title")),
        description=as_text(tool.get("description")),
        parts=tuple(parts),
        characters=budget.taken,
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
    shortened: str = "",
    characters: int = 0,
) -> OperationPage:
    entry, prose = describe_entry(endpoint), clean(description, _MAX_PROSE)
    return OperationPage(
        entry=entry,
        title=clean_line(title, _MAX_LINE) or entry.id,
        description=prose,
        deprecated=deprecated,
        tags=tuple(clean_line(tag, _MAX_LINE) for tag in list(tags)[:_MAX_TAGS]),
        step=step,
        parameters=parameters,
        parts=parts,
        responses=responses,
        shortened=shortened,
        characters=characters + len(prose),
    )


class _Bodies:
    """What one operation takes and answers, out of one budget; no schema is written out twice."""

    def __init__(self, document: Mapping[str, Any], budget: Budget) -> None:
        self._document = document
        self._budget = budget
        # Where each schema is written out, by its reference or, without one, what it is in memory.
        self._shown_at: dict[str | int, str] = {}

    def describe_parameters(self, parameters: Iterable[Mapping[str, Any]]) -> Iterator[Parameter]:
        for parameter in islice(parameters, _MAX_PARAMETERS):
            if self._budget.is_spent:
                return
            yield self._describe_parameter(parameter)

    def describe_request(self, body: Mapping[str, Any]) -> Iterator[Part]:
        if body:
            yield Part(
                title=_REQUEST,
                required=body.get("required") is True,
                description=self._budget.take(as_text(body.get("description")), _MAX_PROSE),
                contents=self._describe_contents(body, place=_REQUEST.lower()),
            )

    def describe_responses(self, responses: Mapping[str, Mapping[str, Any]]) -> Iterator[Response]:
        for status, response in islice(responses.items(), _MAX_RESPONSES):
            if self._budget.is_spent:
                return
            yield self._describe_response(clean_line(status, 20), response)

    def _describe_parameter(self, parameter: Mapping[str, Any]) -> Parameter:
        top = outline_top(get_parameter_schema(parameter), self._document, budget=self._budget)
        facts = top.facts
        if parameter.get("deprecated") is True:
            facts = (*facts, Fact("deprecated"))
        own = is_idempotency_key(parameter)
        if own:
            facts = (*facts, Fact("sent by the call itself"))
        return Parameter(
            name=clean_line(parameter["name"], _MAX_LINE),
            place=clean_line(as_text(parameter.get("in")), _MAX_LINE),
            type=top.type,
            facts=facts,
            required=is_required(parameter) and not own,
            description=self._budget.take(as_text(parameter.get("description")), _MAX_PROSE // 4),
        )

    def _describe_response(self, status: str, response: Mapping[str, Any]) -> Response:
        description = self._budget.take(as_text(response.get("description")), _MAX_PROSE)
        failed = not status.startswith(("2", "d"))
        return Response(
            status=status,
            summary=clean_line(description.partition("\n")[0], _MAX_LINE),
            description=description,
            contents=self._describe_contents(
                response, place=f"response {status}", max_rows=_ROWS_OF_FAILURE if failed else MAX_ROWS
            ),
        )

    def _describe_contents(
        self, body: Mapping[str, Any], *, place: str, max_rows: int = MAX_ROWS
    ) -> tuple[Content, ...]:
        contents = list_contents(body)[:_MAX_CONTENTS]
        return tuple(self._describe_content(one, place=place, max_rows=max_rows) for one in contents)

    def _describe_content(self, content: BodyContent, *, place: str, max_rows: int) -> Content:
        media_type, schema = clean_line(content.media_type, _MAX_LINE), content.schema
        via = follow(self._document, schema).via
        key = via[-1] if via else id(schema)
        if key in self._shown_at:
            top = outline_top(schema, self._document, budget=self._budget)
            return Content(media_type=media_type, rows=[top], shown_at=self._shown_at[key])
        rows = outline(schema, self._document, max_rows=max_rows, budget=self._budget)
        if len(rows) > 1:
            self._shown_at[key] = place
        return Content(media_type=media_type, rows=rows)


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
