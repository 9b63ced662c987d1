"""Plans one route for each operation: its Python signature, its answer, and the request a test sends to it."""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from demo_agent.arguments import (
    Argument,
    ArgumentType,
    argument_name,
    argument_type,
    field_argument,
    parameter_argument,
    parameter_values,
    text_value,
)
from demo_agent.checking import SchemaChecker
from demo_agent.document import mapping
from demo_agent.merging import ContradictionError, flatten
from demo_agent.naming import safe, snake
from demo_agent.operations import Content, Operation, Parameter
from demo_agent.values import Values, form_fields

# What routes modules import or define: no argument or function may hide it.
MODULE_NAMES = frozenset(
    [
        "router",
        "models",
        "examples",
        "Annotated",
        "Any",
        "Literal",
        "APIRouter",
        "Body",
        "Cookie",
        "File",
        "Form",
        "Header",
        "Path",
        "Query",
        "Response",
        "UploadFile",
        "JSONResponse",
        "RedirectResponse",
        "date",
        "datetime",
        "UUID",
    ]
)

# Starlette's: what a path parameter matches, by convertor.
_CONVERTORS = {
    "": "[^/]+",
    "int": "[0-9]+",
    "uuid": "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}",
}


@dataclass(frozen=True)
class Typing:
    """How far an operation is typed; None means that the body is taken or answered as plain JSON."""

    request: str | None = None
    response: str | None = None
    parameters: bool = True


@dataclass
class Plan:
    """One route. `excluded` says why no test calls it."""

    operation: Operation
    function: str
    typing: Typing
    response: Values
    request: Values | None
    path: str = ""
    url: str = ""
    arguments: list[Argument] = field(default_factory=list)
    query: list[list[str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    excluded: str | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the router matches for this route's path."""
        pieces = re.split(r"(\{\w+(?::\w+)?\})", self.path)
        matched = (
            _CONVERTORS[piece[1:-1].partition(":")[2]] if piece[:1] == "{" else re.escape(piece) for piece in pieces
        )
        return re.compile("".join(matched))

    def narrow(self) -> None:
        """Let the router itself tell numbers and UUIDs from other text, where a path is otherwise ambiguous."""
        for argument in self.arguments:
            for kind, convertor in (("UUID", "uuid"), ("int", "int")):
                if argument.annotation.startswith(f"Annotated[{kind}, Path("):
                    self.path = self.path.replace(f"{{{argument.name}}}", f"{{{argument.name}:{convertor}}}")

    @property
    def untyped(self) -> bool:
        """Whether a JSON body is handled without a model although the document has a schema for it."""
        operation = self.operation
        request = operation.body is not None and operation.body.kind == "json" and operation.body.schema
        response = operation.response is not None and operation.response.kind == "json" and operation.response.schema
        return bool((request and self.typing.request is None) or (response and self.typing.response is None))


def plan_route(
    operation: Operation,
    *,
    function: str,
    typing: Typing,
    request: Values | None,
    response: Values,
    checker: SchemaChecker,
) -> Plan:
    """Plan the route of one operation."""
    plan = Plan(operation, function, typing, response, request)
    planner = _Planner(plan, checker)
    planner.path()
    planner.parameters()
    planner.body()
    plan.arguments.sort(key=lambda argument: argument.default is not None)
    if not response.satisfiable:
        plan.excluded = f"no value was found that satisfies the response schema: {response.problem}"
    if set(re.sub(r"\{\w+\}", "", plan.path)) & set("{}"):
        plan.excluded = "the path has a brace without its partner"
    return plan


class _Planner:
    def __init__(self, plan: Plan, checker: SchemaChecker) -> None:
        self.plan = plan
        self.checker = checker
        self.taken = set(MODULE_NAMES)
        self.cookies: list[str] = []

    def path(self) -> None:
        """Rename path parameters to identifiers, and put an example in the place of each."""
        declared = {p.name: p for p in self.plan.operation.parameters if p.location == "path"}
        path, url = "", ""
        for index, piece in enumerate(re.split(r"\{([^{}/]*)\}", self.plan.operation.path)):
            if index % 2 == 0:
                path += piece
                url += piece
                continue
            parameter = declared.get(piece) or Parameter(
                name=piece, location="path", required=True, schema=None, description="", examples=()
            )
            name = argument_name(piece, taken=self.taken)
            plain = not self.plan.typing.parameters
            argument = parameter_argument(parameter, name=name, checker=self.checker, plain=plain)
            if argument is not None:
                self.plan.arguments.append(argument)
            path += f"{{{name}}}"
            url += parameter_values(parameter, checker=self.checker)[0]
        self.plan.path = path
        self.plan.url = quote(url, safe="/:@!$&'()*+,;=-._~")

    def parameters(self) -> None:
        """Declare the other parameters; a test sends the required ones."""
        for parameter in self.plan.operation.parameters:
            if parameter.location == "path":
                continue
            name = argument_name(parameter.name, taken=self.taken)
            plain = not self.plan.typing.parameters
            argument = parameter_argument(parameter, name=name, checker=self.checker, plain=plain)
            if argument is None:
                continue
            self.plan.arguments.append(argument)
            if parameter.required:
                self._send(parameter)
        if self.cookies:
            self.plan.headers["Cookie"] = "; ".join(self.cookies)

    def _send(self, parameter: Parameter) -> None:
        values = parameter_values(parameter, checker=self.checker)
        if parameter.location == "query":
            self.plan.query.extend([parameter.name, value] for value in values)
        elif parameter.location == "header":
            self.plan.headers[parameter.name] = values[0]
        else:
            self.cookies.append(f"{parameter.name}={values[0]}")

    def body(self) -> None:
        """Declare the request body and choose what a test sends."""
        body, request = self.plan.operation.body, self.plan.request
        if body is None or request is None:
            return
        if body.kind in ("form", "multipart"):
            self._form(body, request)
            return
        required = self.plan.operation.body_required
        if body.kind == "json":
            kind = self.plan.typing.request or "Any"
            marker = "Body()"
            self.plan.body = {"json": request.values[0]} if request.values else None
        else:
            kind = "bytes"
            marker = f'Body(media_type="{body.media_type}")'
            self.plan.body = {"content": request.values[0], "media_type": body.media_type}
        if not required and kind != "Any" and "None" not in kind:
            kind += " | None"
        default = None if required else "None"
        name = safe("body", taken=self.taken)
        names = frozenset({"Annotated", "Body"} | ({"Any"} if "Any" in kind else set()))
        self.plan.arguments.append(Argument(name, f"Annotated[{kind}, {marker}]", default, names))
        if required and self.plan.body is None:
            self.plan.excluded = f"no value was found that satisfies the request schema: {request.problem}"

    def _form(self, body: Content, request: Values) -> None:
        fields, required = form_fields(body, checker=self.checker)
        values = mapping(request.values[0])
        sent: dict[str, list[str]] = {}
        files: list[str] = []
        for field_name, schema in fields.items():
            needed = field_name in required and self.plan.operation.body_required
            name = argument_name(field_name, taken=self.taken)
            alias = [] if name == field_name else [field_name]
            many = _file_kind(schema, checker=self.checker) if body.kind == "multipart" else None
            if many is not None:
                kind = ArgumentType("list[UploadFile]" if many else "UploadFile", names=frozenset({"UploadFile"}))
                self.plan.arguments.append(field_argument(kind, marker="File", name=name, alias=alias, required=needed))
                files += [field_name] if needed else []
                continue
            found = argument_type(schema, checker=self.checker)
            if found is None or not self.plan.typing.parameters:
                found = ArgumentType("list[str]" if found and found.annotation.startswith("list[") else "str")
            argument = field_argument(found, marker="Form", name=name, alias=alias, required=needed)
            self.plan.arguments.append(argument)
            if needed:
                sent[field_name] = _form_texts(values.get(field_name, "example"))
        self.plan.body = {"form": sent, "files": files}


def _file_kind(schema: Any, *, checker: SchemaChecker) -> bool | None:
    """Say whether a form field is one file (False), several (True), or none (None)."""
    try:
        keywords, _ = flatten(schema, checker=checker)
        if keywords.get("type") == "array":
            keywords, _ = flatten(keywords.get("items"), checker=checker)
            return True if _is_file(keywords) else None
    except ContradictionError:
        return None
    return False if _is_file(keywords) else None


def _is_file(keywords: dict[str, Any]) -> bool:
    return keywords.get("type") in ("string", None) and (
        keywords.get("format") == "binary" or "contentMediaType" in keywords
    )


def _form_texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text_value(item) for item in value] or ["example"]
    return [text_value(value) if value is not None else ""]


def function_name(operation: Operation, *, taken: set[str]) -> str:
    """Return the handler's name; `taken` holds the names of its module."""
    return safe(snake(operation.id, fallback=operation.method), taken=taken)


def test_entry(plan: Plan) -> dict[str, Any]:
    """Return what the generated project's tests need to call one operation and check its answer."""
    operation = plan.operation
    content = operation.response
    return {
        "operation_id": operation.id,
        "method": operation.method.upper(),
        "path": operation.path,
        "url": plan.url,
        "query": plan.query,
        "headers": plan.headers,
        "body": plan.body,
        "status": operation.status,
        "media_type": content.media_type if content else None,
        "schema": plan.response.schema,
        "skip": plan.excluded,
    }


def example_entry(plan: Plan) -> dict[str, Any]:
    """Return the examples of one operation: the response its handler answers, and a request it takes."""
    entry: dict[str, Any] = {}
    if plan.request is not None and plan.request.values:
        entry["request"] = plan.request.values[0]
    if plan.operation.response is not None:
        entry["response"] = plan.response.values[0] if plan.response.values else None
    return entry


def to_json(value: Any) -> str:
    """Return JSON text that is the same for equal values."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
