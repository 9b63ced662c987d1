"""`OperationDefinition`: one operation of a description, which makes requests that fit it and judges answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote

from scaffolder.agents.http.failures import printable
from scaffolder.agents.http.messages import HttpRequest
from scaffolder.agents.openapi.bodies import RequestBody, as_mapping, find_json_schema, read_body
from scaffolder.agents.openapi.parameters import (
    IDEMPOTENCY_KEY,
    Pairs,
    Parameter,
    UnfitError,
    make_path_parameter,
    read_parameters,
)
from scaffolder.agents.openapi.references import resolve
from scaffolder.agents.openapi.schemas import Purpose, find_flaws, suggest
from scaffolder.agents.openapi.servers import show_server
from scaffolder.errors import AgentConfigurationError, AgentRejectedError

if TYPE_CHECKING:
    from scaffolder.records.models import Endpoint

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
MAX_SENTENCES: Final = 5
MAX_PROBLEMS: Final = 20
_PLACEHOLDER: Final = re.compile(r"\{([^{}/]*)\}")
# What RFC 3986 allows in a path, and the percent sign of what is encoded already.
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~"


class OperationDefinition:
    """One operation. `definition` is an `Endpoint.definition`: a description that has this operation alone.

    `supplied` are parameters (place and name) that the connection's credentials stand for: nobody has to give them.
    """

    def __init__(
        self,
        operation_id: str,
        definition: Mapping[str, Any],
        *,
        supplied: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        self.id = operation_id
        self.definition = definition
        self._supplied = supplied
        self.path, self._item, self.method, self._operation = _find_operation(definition, operation_id)

    @classmethod
    def of(cls, endpoint: Endpoint, *, supplied: frozenset[tuple[str, str]] = frozenset()) -> OperationDefinition:
        """Return the operation of a record. Raises AgentConfigurationError where it is not one of OpenAPI."""
        return cls(endpoint.operation_id, endpoint.definition, supplied=supplied)

    @cached_property
    def declared(self) -> list[Parameter]:
        """All declared parameters. Raises AgentConfigurationError for a reference that cannot be followed."""
        found = read_parameters(self.definition, self._item, self._operation)
        names = {parameter.name for parameter in found if parameter.place == "path"}
        # Some descriptions leave out what their paths already say.
        return found + [make_path_parameter(name) for name in _PLACEHOLDER.findall(self.path) if name not in names]

    @cached_property
    def parameters(self) -> list[Parameter]:
        """Those that a step may give: without what the connection or the call itself supplies."""
        own = self._supplied | {("header", IDEMPOTENCY_KEY)}
        return [parameter for parameter in self.declared if parameter.key not in own]

    @cached_property
    def body(self) -> RequestBody | None:
        """What it takes as its body. Raises AgentConfigurationError for a reference that cannot be followed."""
        return read_body(self.definition, self._operation)

    @property
    def takes_idempotency_key(self) -> bool:
        """Whether a header parameter ``Idempotency-Key`` is declared."""
        return any(parameter.key == ("header", IDEMPOTENCY_KEY) for parameter in self.declared)

    def build(self, parameters: Mapping[str, Any], body: Any) -> HttpRequest:
        """Return the request. Raises AgentRejectedError with the problems where the description doesn't allow it.

        `parameters` are those of path, query and header by name, a name that is in several places for all of them;
        None leaves one out. `body` is plain data. Raises AgentConfigurationError where the description cannot be used.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        problems = self.find_problems(given, body)
        # Some descriptions tell operations apart by a query of their own.
        path, _, fixed = self.path.partition("?")
        query, headers = parse_qsl(fixed, keep_blank_values=True), Pairs()
        for parameter in self.parameters if not problems else ():
            if parameter.name not in given:
                continue
            value = given[parameter.name]
            try:
                if parameter.place == "path":
                    path = path.replace(f"{{{parameter.name}}}", parameter.write_path(value))
                elif parameter.place == "query":
                    query += parameter.write_query(value)
                else:
                    headers.append((parameter.name, parameter.write_header(value)))
            except UnfitError as error:
                problems.append(f"parameter {parameter.name!r} {error}")
        if problems:
            more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
            reasons = "; ".join([*problems[:MAX_PROBLEMS], *more])
            raise AgentRejectedError(f"the request does not fit operation {self.id!r}: {reasons}")
        content = None if body is None or self.body is None else self.body.write(body)
        return HttpRequest(
            method=self.method,
            path=quote(self._prefix + path, safe=_PATH_CHARACTERS),
            query=tuple(query),
            headers=tuple(headers),
            content=content,
            content_type=self.body.media_type if self.body and content is not None else None,
        )

    def find_problems(self, parameters: Mapping[str, Any], body: Any, *, purpose: Purpose = "request") -> list[str]:
        """Return sentences on what does not fit; a ``plan`` may have values that are `Anything`.

        Raises AgentConfigurationError where the description cannot be used.
        """
        self._check_path()
        accepted = {parameter.name for parameter in self.parameters}
        problems = [_describe_unknown(name, accepted, self.declared) for name in parameters if name not in accepted]
        for parameter in self.parameters:
            problems += self._find_parameter_problems(parameter, parameters, purpose)
        if self.body is None:
            return problems if body is None else [*problems, "it takes no body"]
        return problems + self.body.find_problems(self.definition, body, purpose=purpose)

    def check_answer(self, status: int, data: Any) -> list[str]:
        """Return up to five sentences on how an answer differs from what is described, without any of its values."""
        responses = {str(key).upper(): value for key, value in as_mapping(self._operation.get("responses")).items()}
        if not responses:
            return []
        declared = next((key for key in (str(status), f"{status // 100}XX", "DEFAULT") if key in responses), None)
        if declared is None:
            return [f"status {status}; described are {', '.join(sorted(responses)).lower()}"]
        try:
            schema = find_json_schema(self.definition, resolve(self.definition, responses[declared]))
            if schema is None or data is None:
                return []
            flaws = find_flaws(self.definition, schema, data, purpose="answer")
            return [flaw.describe("answer") for flaw in flaws[:MAX_SENTENCES]]
        except AgentConfigurationError as error:
            return [f"status {status} cannot be checked: {error}"]

    @cached_property
    def _prefix(self) -> str:
        """The part of the path between the connection's base URL and the operation's path."""
        servers = self.definition.get("servers") or [{}]
        return str(servers[0].get("url", "")).rstrip("/")

    def _check_path(self) -> None:
        """Refuse an operation that is not below the agent (RFC 3986, section 5.2.4)."""
        path = self._prefix + self.path.partition("?")[0]
        if "://" in self._prefix:
            raise AgentConfigurationError(
                f"operation {self.id!r} is at {show_server(self._prefix)}; accepted is the connection's own origin"
            )
        climbs = {".", ".."} & {*unquote(path).replace("\\", "/").split("/")}
        if not path.startswith("/") or path.startswith("//") or "#" in path or climbs:
            raise AgentConfigurationError(
                f"operation {self.id!r} would go to {printable(path)[:200]!r}; accepted is a path below the agent"
            )

    def _find_parameter_problems(self, parameter: Parameter, given: Mapping[str, Any], purpose: Purpose) -> list[str]:
        name = printable(parameter.name)[:100]
        value = given.get(parameter.name)
        required = parameter.required or (parameter.place == "path" and f"{{{parameter.name}}}" in self.path)
        if value is None and not required:
            return []
        if problem := parameter.find_problem():
            return [f"parameter {name!r} {problem}"]
        if value is None:
            return [f"parameter {name!r} is required"]
        flaws = parameter.find_flaws(self.definition, value, purpose=purpose)
        return [flaw.describe(f"parameter {name!r}") for flaw in flaws]


def _find_operation(
    definition: Mapping[str, Any], operation_id: str
) -> tuple[str, Mapping[str, Any], str, Mapping[str, Any]]:
    for path, item in as_mapping(definition.get("paths")).items():
        for method in METHODS:
            if isinstance(operation := as_mapping(item).get(method), Mapping):
                return path, item, method.upper(), operation
    raise AgentConfigurationError(f"operation {operation_id!r} is none of OpenAPI; accepted are those of a REST API")


def _describe_unknown(name: str, accepted: set[str], declared: list[Parameter]) -> str:
    if any(parameter.name == name for parameter in declared):
        return f"parameter {name!r} is supplied by the call itself or the connection"
    return f"unknown parameter {name!r}; {suggest(name, sorted(accepted))}"
