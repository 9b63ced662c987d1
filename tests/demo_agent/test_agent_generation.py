"""What is generated: code that is safe, reachable and typed as far as the document's own values allow."""

import ast
import json
from typing import Any

import pytest

from demo_agent.errors import DocumentRefusedError
from demo_agent.generation import generate
from demo_agent.models import UnsafeModelsError, _checked_names
from tests.demo_agent.agent_documents import HOSTILE_TEXT, answer, document, hostile_document, operation

TEXT = {"type": "string"}


def generated(data: Any, *, name: str = "things") -> tuple[dict[str, str], list[dict[str, Any]], list[str]]:
    """Return the files by path, the entries of `tests/operations.json` and the warnings."""
    result = generate(json.dumps(data), name=name)
    files = {file["path"]: file["content"] for file in result["files"]}
    return files, json.loads(files["tests/operations.json"]), result["warnings"]


def skipped(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {entry["operation_id"]: entry["skip"] for entry in entries if entry["skip"]}


NAMES = [
    ("my-service", "my_service"),
    ("json", "json_service"),
    ("fastapi", "fastapi_service"),
    ("class", "class_service"),
    ("list", "list_service"),
    ("a-", "a"),
]


@pytest.mark.parametrize(("name", "package"), NAMES)
def test_names_the_package_so_that_it_hides_nothing(name: str, package: str) -> None:
    assert generate(json.dumps(document({"/a": {"get": operation(TEXT)}})), name=name)["package"] == package


def test_refuses_a_name_that_is_none() -> None:
    with pytest.raises(DocumentRefusedError, match="must match"):
        generate("openapi: 3.1.0", name="../x")


def test_hostile_text_stays_text() -> None:
    files, entries, _ = generated(hostile_document())
    assert entries[0]["operation_id"] == HOSTILE_TEXT
    assert entries[0]["skip"] is None
    for path, source in files.items():
        if path.endswith(".py"):
            calls = {node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
            assert not {"system", "abort"} & {f.attr for f in calls if isinstance(f, ast.Attribute)}
            assert "\u202e" not in source
            assert "os" not in {
                a.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import) for a in n.names
            }


UNSAFE = [
    "import os",
    "from os import system",
    "from pydantic import BaseModel as int\nprint(1)",
    "x = __import__('os')",
    "class A:\n    x: int = open('/etc/passwd')",
    "class A:\n    x: \"__import__('os').abort()\"",
    "class A:\n    def f(self): ...",
    "class A(metaclass=int): ...",
    "class A:\n    x: int = (lambda: exit())()",
    "from typing import Annotated\nclass A:\n    x: Annotated['exit()', 1]",
    "class A:\n    x: int = int.__subclasses__",
    "@property\nclass A: ...",
    "if True:\n    x = 1",
    "class A:\n    x: int = f'{1}'",
    "class A:\n    x: list[int] = [i for i in range(3)]",
]


@pytest.mark.parametrize("source", UNSAFE)
def test_lets_only_declarations_through(source: str) -> None:
    with pytest.raises(UnsafeModelsError):
        _checked_names(source)


def test_puts_routes_in_an_order_in_which_each_is_reached() -> None:
    integer = [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}]
    _, entries, _ = generated(
        document(
            {
                "/a/{id}": {"get": operation(TEXT, parameters=integer)},
                "/a/new": {"get": operation(TEXT, tags=["other"])},
                "/b/{x}/c": {"get": operation(TEXT, tags=["one"])},
                "/b/z/{w}": {"get": operation(TEXT, tags=["two"])},
                "/b/z/c": {"get": operation(TEXT, tags=["three"])},
                "/{anything}": {"get": operation(TEXT)},
                "/c": {"get": operation(TEXT, tags=["last"])},
            }
        )
    )
    assert skipped(entries) == {}


def test_tells_numbers_from_names_where_paths_are_ambiguous() -> None:
    def item(name: str, kind: str) -> dict[str, Any]:
        return {
            "get": operation(
                TEXT, parameters=[{"name": name, "in": "path", "required": True, "schema": {"type": kind}}]
            )
        }

    files, entries, _ = generated(document({"/a/{id}": item("id", "integer"), "/a/{name}": item("name", "string")}))
    assert skipped(entries) == {}
    assert '"/a/{id:int}"' in files["src/things/routes/default.py"]


def test_says_which_operation_cannot_be_reached() -> None:
    _, entries, warnings = generated(document({"/a/{b}": {"get": operation(TEXT)}, "/a/{c}": {"get": operation(TEXT)}}))
    reason = "it matches the same requests as /a/{b}, listed before it"
    assert skipped(entries) == {"get_a_by_c": reason}
    assert warnings == [f"get_a_by_c is not tested: {reason}"]


def test_says_which_response_nothing_satisfies() -> None:
    impossible = {"type": "integer", "minimum": 2, "maximum": 1}
    _, entries, warnings = generated(document({"/a": {"get": operation(impossible)}}))
    assert "no value was found that satisfies the response schema" in skipped(entries)["get_a"]
    assert warnings[0].startswith("get_a is not tested:")


def test_one_schema_the_generator_cannot_do_costs_only_its_own_type() -> None:
    schemas = {
        "Ring": {"allOf": [{"$ref": "#/components/schemas/Ring"}]},
        "Fine": {"type": "object", "properties": {"a": TEXT}},
    }
    paths = {"/a": {"get": operation({"$ref": "#/components/schemas/Fine"})}}
    files, _, warnings = generated(document(paths, schemas=schemas))
    assert "-> models.Fine:" in files["src/things/routes/default.py"]
    assert warnings[0].startswith("the models were simplified: Ring can be anything")


def test_falls_back_to_plain_json_where_values_do_not_pass_the_model() -> None:
    schema = {
        "type": "object",
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
        "minProperties": 1,
    }
    files, entries, warnings = generated(document({"/a": {"get": operation(schema)}}))
    assert "-> JSONResponse:" in files["src/things/routes/default.py"]
    assert skipped(entries) == {}
    assert warnings[0].startswith("get_a has an untyped body: its response is untyped: ValidationError")


FILE = {"type": "string", "format": "binary"}
FORM = {
    "type": "object",
    "required": ["a", "b"],
    "properties": {"a": TEXT, "b": {"type": "array", "items": TEXT}, "c-d": TEXT},
}
UPLOAD = {
    "type": "object",
    "required": ["one", "many"],
    "properties": {"one": FILE, "many": {"type": "array", "items": FILE}},
}
UNUSUAL: dict[str, dict[str, Any]] = {
    "default response": {"get": {"responses": {"default": answer(TEXT)["200"]}}},
    "range of statuses": {"post": {"responses": answer(TEXT, status="2XX")}},
    "no content": {"delete": {"responses": {"204": {"description": "gone"}}}},
    "only errors": {"get": {"responses": {"400": {"description": "no"}}}},
    "no responses": {"get": {}},
    "redirect": {"get": {"responses": {"302": {"description": "elsewhere"}}}},
    "text": {"get": {"responses": answer(TEXT, media_type="text/plain")}},
    "charset": {"get": {"responses": answer(TEXT, media_type="text/csv; charset=utf-8")}},
    "binary": {"get": {"responses": answer(FILE, media_type="application/pdf")}},
    "xml": {"get": {"responses": answer({"type": "object"}, media_type="application/xml")}},
    "any media type": {"get": {"responses": answer({"type": "object"}, media_type="*/*")}},
    "any image": {"get": {"responses": answer(FILE, media_type="image/*")}},
    "no media type": {"get": {"responses": answer(TEXT, media_type='"\n')}},
    "JSON by another name": {"get": {"responses": answer({"type": "array", "items": TEXT}, media_type="application/hal+json")}},
    "all methods": {method: operation(TEXT) for method in ("options", "trace", "head", "put", "patch", "delete")},
    "form": {"post": operation(TEXT, requestBody={"required": True, "content": {"application/x-www-form-urlencoded": {"schema": FORM}}})},
    "upload": {"post": operation(TEXT, requestBody={"required": True, "content": {"multipart/form-data": {"schema": UPLOAD}}})},
    "raw body": {"put": operation(TEXT, requestBody={"required": True, "content": {"application/octet-stream": {}}})},
    "parameters": {
        "parameters": [{"name": "q", "in": "query", "required": True, "schema": {"type": "array", "items": {"type": "integer"}}}],
        "get": operation(
            TEXT,
            operationId="list",
            parameters=[
                {"name": "X-Some", "in": "header", "required": True, "schema": {"type": "integer", "minimum": 5}},
                {"name": "class", "in": "cookie", "required": True, "schema": TEXT},
                {"name": "router", "in": "query", "schema": TEXT},
                {"name": "filter", "in": "query", "style": "deepObject", "schema": {"type": "object"}},
            ],
        ),
    },
    "unknown type": {"get": operation({"type": "file"})},
    "awkward names": {"get": operation({"type": "object", "required": ["class", "", "a b", "copy", "1"], "properties": {"copy": TEXT}})},
}  # fmt: skip


def test_answers_every_unusual_operation() -> None:
    paths = {f"/{index}/{name}": item for index, (name, item) in enumerate(UNUSUAL.items())}
    paths["/odd/{user-id}.{fmt}/{class}/{id}/{id}"] = {"get": operation(TEXT)}
    for version in ("3.0.3", "3.1.0"):
        _, entries, _ = generated(document(paths, version=version))
        assert skipped(entries) == {}
        assert len(entries) >= len(paths)


def test_takes_defaults_of_nullable_types() -> None:
    schema = {"type": "object", "properties": {"a": {"type": ["integer", "null"], "default": 5}}}
    files, _, warnings = generated(document({"/a": {"get": operation(schema)}}))
    assert "a: int | None = 5" in files["src/things/models.py"]
    assert warnings == []


MISSHAPEN: list[dict[str, Any]] = [
    {"type": 1},
    {"type": ["string", {}]},
    {"type": "object", "required": True},
    {"type": "object", "required": [{}]},
    {"type": "object", "properties": [1]},
    {"enum": "a"},
    {"allOf": {}},
    {"oneOf": [1]},
    {"type": "array", "items": [1]},
    {"type": "string", "minLength": "1"},
    {"type": "string", "format": {}},
]


def test_leaves_out_keywords_of_the_wrong_kind() -> None:
    paths = {f"/{index}": {"get": operation(schema)} for index, schema in enumerate(MISSHAPEN)}
    _, entries, warnings = generated(document(paths))
    assert skipped(entries) == {}
    assert len([warning for warning in warnings if "left out" in warning]) == len(MISSHAPEN)


def test_numbers_operation_ids_that_are_used_twice() -> None:
    twice = {path: {"get": operation(TEXT, operationId="same")} for path in ("/a", "/b")}
    _, entries, warnings = generated(document(twice))
    assert [entry["operation_id"] for entry in entries] == ["same", "same_2"]
    assert "'same' is used twice" in warnings[0]
