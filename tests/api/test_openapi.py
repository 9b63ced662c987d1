"""The OpenAPI document: complete, sound by itself, and for those who are logged in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from openapi_schema_validator import OAS31Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.api.conftest import Api

JSON = "application/json"
PROBLEM = "application/problem+json"
DOCUMENT = "urn:document"


@pytest.fixture(scope="module")
def document(simple_api: Api) -> dict[str, Any]:
    answer = simple_api.ask("GET", "/openapi.json", user="vic")
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    found: dict[str, Any] = answer.json()
    return found


def list_operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def validate(document: dict[str, Any], pointer: str, value: Any) -> None:
    """Hold a value against a schema of the document, formats too."""
    registry = Registry().with_resource(DOCUMENT, DRAFT202012.create_resource(document))
    validator = OAS31Validator(
        {"$ref": f"{DOCUMENT}#{pointer}"}, registry=registry, format_checker=OAS31Validator.FORMAT_CHECKER
    )
    assert [error.message for error in validator.iter_errors(value)] == []


def find_examples(document: dict[str, Any], media: dict[str, Any]) -> list[Any]:
    """Return the examples of a media type: its own, or its schema's."""
    schema = media["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    given = [one["value"] for one in media.get("examples", {}).values()]
    return [*given, *([media["example"]] if "example" in media else []), *schema.get("examples", [])]


def quote_pointer(*parts: str) -> str:
    return "".join(
        "/" + part.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D") for part in parts
    )


def test_nobody_reads_it_without_a_token(simple_api: Api) -> None:
    answer = simple_api.ask("GET", "/openapi.json", user=None)
    assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
    for path in ("/scaffolder/openapi.json", "/scaffolder/docs", "/scaffolder/redoc", "/scaffolder/api/v1/docs"):
        assert simple_api.server.request("GET", path, user="root").status_code == 404


def test_every_operation_says_what_it_is(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    ids = []
    for name, operation in list_operations(document):
        assert operation["summary"], name
        assert operation["description"].endswith("."), name
        assert set(operation["tags"]) <= tags, name
        assert re.fullmatch("[a-z]+(_[a-z]+)*", operation["operationId"]), name
        ids.append(operation["operationId"])
    assert len(ids) == len(set(ids))


def test_every_operation_has_examples_that_are_right(document: dict[str, Any]) -> None:
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            places = [("requestBody",)] if "requestBody" in operation else []
            places += [("responses", status) for status in operation["responses"] if status.startswith("2")]
            for place in places:
                found = operation[place[0]] if len(place) == 1 else operation[place[0]][place[1]]
                if JSON not in found.get("content", {}):
                    continue
                examples = find_examples(document, found["content"][JSON])
                assert examples, (method, path, place)
                for example in examples:
                    pointer = quote_pointer("paths", path, method, *place, "content", JSON, "schema")
                    validate(document, pointer, example)
                    tried += 1
    assert tried > 40


def test_examples_of_what_is_shown_have_every_field(document: dict[str, Any]) -> None:
    """No field is required there, as `fields` leaves some out, so an empty example would be right, too."""
    for name, schema in document["components"]["schemas"].items():
        if name.startswith("Page_"):
            [example] = schema["examples"]
            assert example["items"][0], name
        elif name.endswith(("Out", "Detail")):
            assert all(set(example) == set(schema["properties"]) for example in schema["examples"]), name


def test_examples_of_parameters_are_right(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for index, parameter in enumerate(operation.get("parameters", ())):
                examples = parameter["schema"].get("examples", [])
                assert examples or parameter["in"] != "path", (path, parameter["name"])
                for example in examples:
                    validate(
                        document, quote_pointer("paths", path, method, "parameters", str(index), "schema"), example
                    )


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in list_operations(document):
        failures = {status: one for status, one in operation["responses"].items() if status[0] in "45"}
        assert {"401", "403", "422", "500", "503"} <= set(failures), name
        assert "{" not in name or "404" in failures, name
        assert "requestBody" not in operation or {"400", "413", "415"} <= set(failures), name
        for status, failure in failures.items():
            wanted = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
            assert failure["content"] == wanted, (name, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for example in document["components"]["schemas"]["Problem"]["examples"]:
        validate(document, "/components/schemas/Problem", example)


def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"]
    assert document["info"]["version"]
    for name, schema in list_schemas(document):
        assert validator_for(schema, default=Draft202012Validator) is Draft202012Validator, name
        OAS31Validator.check_schema(schema)
    for path, methods in document["paths"].items():
        named = set(re.findall(r"{(\w+)}", path))
        for operation in methods.values():
            parameters = [(one["in"], one["name"]) for one in operation.get("parameters", ())]
            assert len(parameters) == len(set(parameters)), path
            assert {name for place, name in parameters if place == "path"} == named, path
            assert all(one["required"] for one in operation.get("parameters", ()) if one["in"] == "path"), path
            assert all(response["description"] for response in operation["responses"].values()), path


def list_schemas(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from document["components"]["schemas"].items()
    for name, operation in list_operations(document):
        for parameter in operation.get("parameters", ()):
            yield f"{name} {parameter['name']}", parameter["schema"]


def test_it_stands_by_itself(document: dict[str, Any]) -> None:
    """Every reference is one into it, and there is no address that a reader would have to fetch."""

    def walk(value: Any, where: str) -> None:
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            if key == "$ref":
                assert one.startswith("#/components/schemas/"), where
                assert one.rpartition("/")[2] in document["components"]["schemas"], where
            if key in {"externalDocs", "$schema", "$id"}:
                pytest.fail(f"{where} has {key}")
            if isinstance(one, dict | list):
                walk(one, f"{where}/{key}")
            if isinstance(one, str) and "://" in one:
                # What an exported repository's address looks like.
                assert where.endswith(("/ExportOut/examples/0", "/Page_ExportOut_/examples/0/items/0")), (where, one)

    walk(document, "")
    assert document["servers"] == [{"url": "/scaffolder"}]


def test_a_bearer_token_is_what_every_operation_needs(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {name: (one["type"], one["scheme"]) for name, one in schemes.items()} == {"bearer": ("http", "bearer")}
    assert document["security"] == [{"bearer": []}]
    assert not [name for name, operation in list_operations(document) if "security" in operation]


def test_every_parameter_of_a_query_has_limits(document: dict[str, Any], simple_api: Api) -> None:
    for name, operation in list_operations(document):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query":
                assert is_limited(document, parameter["schema"]), (name, parameter["name"])
                assert parameter["schema"].get("type") != "null", name
    limits = [
        parameter["schema"]
        for _, operation in list_operations(document)
        for parameter in operation.get("parameters", ())
        if parameter["name"] == "limit"
    ]
    settings = simple_api.settings
    assert len(limits) > 10
    assert {(one["default"], one["minimum"], one["maximum"]) for one in limits} == {
        (settings.api_page_size, 1, settings.api_max_page_size)
    }


def is_limited(document: dict[str, Any], schema: dict[str, Any]) -> bool:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return True
    match schema["type"]:
        case "string":
            return (
                "format" in schema or "maxLength" in schema or re.search(r"\{1,\d+\}\$$", schema["pattern"]) is not None
            )
        case "integer":
            return {"minimum", "maximum"} <= set(schema)
        case "array":
            return "maxItems" in schema and is_limited(document, schema["items"])
        case kind:
            return bool(kind == "boolean")
