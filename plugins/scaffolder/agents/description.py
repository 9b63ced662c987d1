"""An agent's OpenAPI description: find an operation, and build a request that fits it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from scaffolder.agents.connection import AgentConnection
from scaffolder.errors import AgentConfigurationError, AgentRejectedError

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_DOCUMENT: Final = "urn:scaffolder:description"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of a description, with the whole `document` that its references lead into."""

    id: str
    method: str
    path: str
    data: Mapping[str, Any]
    document: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AgentRequest:
    """What is sent: `path` begins with a slash and is below the connection's base URL."""

    operation_id: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: Any


def find_operation(document: Any, operation_id: str, *, connection: AgentConnection) -> Operation:
    """Return the operation named `operation_id`. Raises AgentConfigurationError with the nearest that there is."""
    if not isinstance(document, Mapping) or not str(document.get("openapi", "")).startswith("3."):
        raise AgentConfigurationError(
            f"connection {connection.conn_id!r}: what is at {connection.description_path!r} is no OpenAPI 3 description"
        )
    _check_servers(document, connection)
    operations = {operation.id: operation for operation in _operations(document)}
    if operation_id not in operations:
        near = difflib.get_close_matches(operation_id, operations, n=3, cutoff=0.4) or sorted(operations)[:10]
        raise AgentConfigurationError(
            f"connection {connection.conn_id!r} has no operation {operation_id!r}; the nearest are {near}"
        )
    return operations[operation_id]


def build_request(operation: Operation, *, parameters: Mapping[str, Any], body: Any) -> AgentRequest:
    """Return the request for `operation`. Raises AgentRejectedError, before anything is sent, where it doesn't fit.

    `parameters` are path, query and header parameters by name; `body` is plain JSON data or None.
    """
    declared = {parameter["name"]: parameter for parameter in _parameters(operation)}
    problems = [
        f"unknown parameter {name!r}; accepted are {sorted(declared)}" for name in parameters if name not in declared
    ]
    problems += [
        f"parameter {name!r} is required"
        for name, parameter in declared.items()
        if parameter.get("required") and name not in parameters
    ]
    problems += _find_body_problems(operation, body)
    if problems:
        raise AgentRejectedError(f"the request does not fit operation {operation.id!r}: " + "; ".join(problems))
    path, query, headers = operation.path, [], []
    for name, value in parameters.items():
        place, text = declared[name]["in"], _as_text(value)
        if place == "path":
            path = path.replace("{" + name + "}", quote(text, safe=""))
        elif place == "query":
            query.append((name, text))
        elif place == "header":
            headers.append((name, text))
        else:
            raise AgentRejectedError(f"parameter {name!r} goes into a {place}; accepted are path, query and header")
    path = _server_prefix(operation.document) + path
    if not path.startswith("/") or path.startswith("//") or any(part in {".", ".."} for part in path.split("/")):
        raise AgentRejectedError(f"operation {operation.id!r} would go to {path!r}; accepted is a path below the agent")
    if any(not text.isascii() or not text.isprintable() for _, text in headers):
        raise AgentRejectedError(f"a header parameter of operation {operation.id!r} is not printable ASCII")
    return AgentRequest(
        operation_id=operation.id,
        method=operation.method,
        path=path,
        query=tuple(query),
        headers=tuple(headers),
        body=body,
    )


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    for path, item in (document.get("paths") or {}).items():
        for method in METHODS:
            data = item.get(method) if isinstance(item, Mapping) else None
            if isinstance(data, Mapping):
                yield Operation(
                    id=str(data.get("operationId") or f"{method} {path}"),
                    method=method.upper(),
                    path=path,
                    data=data,
                    document=document,
                )


def _check_servers(document: Mapping[str, Any], connection: AgentConnection) -> None:
    """Refuse a description that sends people to another origin than the connection's (RFC 6454)."""
    ours = urlsplit(connection.base_url)
    for server in document.get("servers") or []:
        url = urlsplit(str(server.get("url", "")))
        if url.netloc and (url.scheme, url.netloc) != (ours.scheme, ours.netloc):
            raise AgentConfigurationError(
                f"connection {connection.conn_id!r}: its description names a server at {url.scheme}://{url.hostname}; "
                f"accepted is the connection's own origin {ours.scheme}://{ours.hostname}"
            )


def _server_prefix(document: Mapping[str, Any]) -> str:
    servers = document.get("servers") or []
    return urlsplit(str(servers[0].get("url", ""))).path.rstrip("/") if servers else ""


def _parameters(operation: Operation) -> Iterator[Mapping[str, Any]]:
    item = operation.document["paths"][operation.path]
    for parameter in [*item.get("parameters", []), *operation.data.get("parameters", [])]:
        yield _resolve(operation.document, parameter)


def _resolve(document: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(32):
        if "$ref" not in value:
            return value
        found: Any = document
        for part in str(value["$ref"]).removeprefix("#/").split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise AgentConfigurationError(f"the description has a reference {value['$ref']!r} that leads nowhere")
        value = found
    raise AgentConfigurationError(f"the description has a reference {value['$ref']!r} that leads in a circle")


def _find_body_problems(operation: Operation, body: Any) -> list[str]:
    declared = operation.data.get("requestBody")
    if declared is None:
        return [] if body is None else ["it takes no body"]
    if body is None:
        return ["it needs a body"] if _resolve(operation.document, declared).get("required") else []
    content = _resolve(operation.document, declared).get("content", {})
    if "application/json" not in content:
        return [f"its body is {sorted(content)}; accepted is application/json"]
    schema = content["application/json"].get("schema")
    return [] if schema is None else _validate(operation.document, schema, body)


def _validate(document: Mapping[str, Any], schema: Any, body: Any) -> list[str]:
    import jsonschema
    from openapi_schema_validator import OAS30Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    old = str(document["openapi"]).startswith("3.0")
    registry: Any = Registry().with_resource(_DOCUMENT, DRAFT202012.create_resource(document))
    # Local references are made absolute so that they resolve in the whole document; nothing is ever fetched.
    validator_class: Any = OAS30Validator if old else jsonschema.Draft202012Validator
    validator = validator_class(_absolute(schema), registry=registry)
    return [
        f"body.{'.'.join(str(part) for part in error.absolute_path)}: {_message(error)}"
        for error in sorted(validator.iter_errors(body), key=lambda error: list(map(str, error.absolute_path)))
    ]


def _message(error: Any) -> str:
    # The message repeats the offending value, which may be a whole document.
    message: str = error.message
    return message if len(message) <= 200 else f"...{message[-200:]}"


def _absolute(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {
            key: _DOCUMENT + value if key == "$ref" and str(value).startswith("#") else _absolute(value)
            for key, value in schema.items()
        }
    return [_absolute(item) for item in schema] if isinstance(schema, list) else schema


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
