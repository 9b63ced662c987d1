"""The OpenAPI document: what FastAPI makes of the routes, and what holds for every one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from scaffolder.api.paging import Resource, get_example
from scaffolder.api.problems import Problem, describe_answers
from scaffolder.config import get_settings

_REFERENCE: Final = "#/components/schemas/{model}"
_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token of Airflow's: `POST /auth/token` gives one for a user's name and password.",
}
_LOCATED: Final = {"201", "202"}
_LOCATION: Final = {"description": "Where it is.", "schema": {"type": "string", "format": "uri-reference"}}
_LINK: Final = {"description": "The next page, where there is one (RFC 8288).", "schema": {"type": "string"}}
_TAGS: Final = {
    "projects": "What generated projects belong to, and who may do what with them.",
    "generated projects": "What workflows have made, and what can be done to it.",
    "files": "Files, directories and differences, at any commit.",
    "repository exports": "Where a generated project went, and archives to download.",
    "events": "What happened, and what agents were asked for.",
    "catalogue": "What there is to work with: workflows, step types, templates, agents.",
}


class DescribedApp(FastAPI):
    """An app whose document is complete."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once."""
        made = self.openapi_schema is not None
        document: dict[str, Any] = super().openapi()
        if not made:
            _complete(document)
        return document


def name_operation(route: APIRoute) -> str:
    """Return the id of a route's operation: the name of its function."""
    name: str = route.name
    return name


def _complete(document: dict[str, Any]) -> None:
    _complete_schemas(document["components"]["schemas"])
    # Airflow also takes its cookie, for reading; one scheme is all that a client needs.
    document["components"]["securitySchemes"] = {"bearer": _BEARER}
    document["security"] = [{"bearer": []}]
    document["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
    for operations in document["paths"].values():
        for operation in operations.values():
            _complete_operation(operation)


def _complete_schemas(schemas: dict[str, Any]) -> None:
    problem = Problem.model_json_schema(ref_template=_REFERENCE)
    schemas |= problem.pop("$defs")
    schemas["Problem"] = problem
    # FastAPI has taken out what is null.
    for resource in _list_resources(Resource):
        example, name = get_example(resource), resource.__name__
        if name in schemas:
            schemas[name]["examples"] = [example]
        if f"Page_{name}_" in schemas:
            schemas[f"Page_{name}_"]["examples"] = [{"items": [example], "next_cursor": None}]


def _complete_operation(operation: dict[str, Any]) -> None:
    operation.pop("security", None)
    operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
    for status, response in operation["responses"].items():
        if status in _LOCATED:
            response["headers"] = {"Location": _LOCATION}
        if "Page_" in str(response.get("content")):
            response["headers"] = {"Link": _LINK}
    if "requestBody" in operation:
        operation["responses"] |= {str(key): value for key, value in describe_answers(400, 413, 415).items()}
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
        if (parameter["in"], parameter["name"]) == ("query", "limit"):
            settings = get_settings()
            most = settings.api_max_page_size
            parameter["schema"] |= {"maximum": most, "default": min(settings.api_page_size, most)}


def _list_resources(kind: type[Resource]) -> Iterator[type[Resource]]:
    for resource in kind.__subclasses__():
        yield resource
        yield from _list_resources(resource)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that may be left out: what is sent is text, and never null."""
    kinds: list[dict[str, Any]] = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {name: value for name, value in schema.items() if name != "anyOf"} | kinds[0]
