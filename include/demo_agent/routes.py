"""Writes the routes modules: one APIRouter for each tag, one handler for each operation.

Everything taken from the document goes through `sources`, so it appears in literals and docstrings only.
"""

from collections.abc import Mapping, Sequence

from demo_agent.plans import Plan
from demo_agent.sources import docstring, literal

_WIDTH = 100
_ORIGINS = {
    **dict.fromkeys(("Annotated", "Any", "Literal"), "typing"),
    **dict.fromkeys(("date", "datetime"), "datetime"),
    "UUID": "uuid",
    **dict.fromkeys(
        ("APIRouter", "Body", "Cookie", "File", "Form", "Header", "Path", "Query", "Response", "UploadFile"),
        "fastapi",
    ),
    **dict.fromkeys(("JSONResponse", "RedirectResponse"), "fastapi.responses"),
}
_STANDARD = ("datetime", "typing", "uuid")


def routes_module(plans: Sequence[Plan], *, tags: Sequence[str], package: str) -> str:
    """Return the source of one routes module."""
    body, names, locals_ = [], {"APIRouter"}, set()
    for media_type, name in _response_classes(plans).items():
        names.add("JSONResponse")
        body.append(f'class {name}(JSONResponse):\n    media_type = "{media_type}"\n')
    classes = _response_classes(plans)
    for plan in plans:
        lines, used = _handler(plan, classes, tagged=len(tags) > 1)
        body.append("\n".join(lines) + "\n")
        names |= used
        locals_ |= {name for name in ("examples", "models") if any(f"{name}." in line for line in lines[1:])}
    title = docstring(f"Operations with the tag {', '.join(tags)}")
    router = f"router = APIRouter(tags={literal(list(tags))})" if len(tags) == 1 else "router = APIRouter()"
    head = [title, "", *_imports(names, locals_, package=package), "", router]
    return "\n".join(head) + "\n\n\n" + "\n\n".join(body)


def routers_module(modules: Sequence[str], *, package: str) -> str:
    """Return the source of `routes/__init__.py`."""
    imports = "".join(f"    {module},\n" for module in sorted(modules))
    routers = "".join(f"    {module}.router,\n" for module in modules)
    return (
        '"""The routers of the service, in the order in which they have to be included."""\n\n'
        f"from {package}.routes import (\n{imports})\n\nrouters = (\n{routers})\n"
    )


EXAMPLES_MODULE = '''"""Example responses: what the handlers answer until they have logic of their own."""

import copy
import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def _examples() -> dict[str, dict[str, Any]]:
    text = resources.files(__package__).joinpath("examples.json").read_text(encoding="utf-8")
    return json.loads(text)


def response(operation_id: str) -> Any:
    """Return the example response of an operation, as JSON data of the caller's own."""
    return copy.deepcopy(_examples()[operation_id]["response"])


def request(operation_id: str) -> Any:
    """Return an example of the body an operation takes."""
    return copy.deepcopy(_examples()[operation_id]["request"])
'''


def _imports(names: set[str], locals_: set[str], *, package: str) -> list[str]:
    origins: dict[str, list[str]] = {}
    for name in sorted(names):
        origins.setdefault(_ORIGINS[name], []).append(name)
    groups: list[list[str]] = [[], []]
    for origin in sorted(origins):
        line = f"from {origin} import {', '.join(sorted(origins[origin], key=_import_order))}"
        groups[0 if origin in _STANDARD else 1].append(line)
    if locals_:
        groups.append([f"from {package} import {', '.join(sorted(locals_))}"])
    return "\n\n".join("\n".join(group) for group in groups if group).split("\n")


def _import_order(name: str) -> tuple[bool, str]:
    return (not name.isupper(), name)


def _response_classes(plans: Sequence[Plan]) -> dict[str, str]:
    """Name a response class for each media type of a typed response that is JSON under another name."""
    media_types = {
        plan.operation.response.media_type
        for plan in plans
        if plan.typing.response and plan.operation.response and plan.operation.response.media_type != "application/json"
    }
    result: dict[str, str] = {}
    for media_type in sorted(media_types):
        words = "".join(c if c.isalnum() else " " for c in media_type.partition("/")[2].removesuffix("+json")).split()
        name = "".join(word.capitalize() for word in words) + "JSONResponse"
        result[media_type] = name if name not in result.values() and name != "JSONResponse" else f"{name}{len(result)}"
    return result


def _handler(plan: Plan, classes: Mapping[str, str], *, tagged: bool) -> tuple[list[str], set[str]]:
    operation = plan.operation
    settings = [literal(plan.path), f"operation_id={literal(operation.id)}"]
    if tagged:
        settings.append(f"tags=[{literal(operation.tag)}]")
    if operation.deprecated:
        settings.append("deprecated=True")
    returns, answer, names = _answer(plan)
    if plan.typing.response and operation.response:
        settings.append("response_model_exclude_unset=True")
        if operation.response.media_type in classes:
            settings.append(f"response_class={classes[operation.response.media_type]}")
    if operation.status != 200:
        settings.append(f"status_code={operation.status}")
    names = {"APIRouter"} | names
    for argument in plan.arguments:
        names |= argument.names
    if "Any" in returns:
        names.add("Any")
    signature = _call(f"async def {plan.function}", [a.source for a in plan.arguments], f" -> {returns}:")
    decorator = _call(f"@router.{operation.method}", settings, "")
    return [
        *decorator,
        *signature,
        f"    {docstring(operation.summary or operation.id)}",
        f"    return {answer}",
    ], names


def _answer(plan: Plan) -> tuple[str, str, set[str]]:
    """Return a handler's return type, the expression it returns and the names both use."""
    operation, content = plan.operation, plan.operation.response
    status = f"status_code={operation.status}"
    if content is None:
        if 300 < operation.status < 400 and operation.status != 304:
            return "RedirectResponse", f'RedirectResponse("/", {status})', {"RedirectResponse"}
        return "Response", f"Response({status})", {"Response"}
    example = f"examples.response({literal(operation.id)})"
    settings = [] if operation.status == 200 else [status]
    if content.kind != "json":
        arguments = ", ".join([example, *settings, f'media_type="{content.media_type}"'])
        return "Response", f"Response({arguments})", {"Response"}
    if plan.typing.response:
        return plan.typing.response, example, set()
    if content.media_type != "application/json":
        settings.append(f'media_type="{content.media_type}"')
    return "JSONResponse", f"JSONResponse({', '.join([example, *settings])})", {"JSONResponse"}


def _call(start: str, arguments: Sequence[str], end: str) -> list[str]:
    line = f"{start}({', '.join(arguments)}){end}"
    if len(line) <= _WIDTH:
        return [line]
    return [f"{start}(", *(f"    {argument}," for argument in arguments), f"){end}"]
