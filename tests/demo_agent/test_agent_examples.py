"""Example values satisfy their schemas, whatever the schemas ask for."""

import json
from typing import Any

import pytest

from demo_agent.checking import SchemaChecker
from demo_agent.document import read_document
from demo_agent.examples import Direction, example_candidates
from tests.demo_agent.agent_documents import document, operation

NAME = {"type": "string"}
POINTER = "#/paths/~1a/get/responses/200/content/application~1json/schema"


def examples(
    schema: Any, *, version: str = "3.1.0", direction: Direction = "response", schemas: Any = None
) -> list[Any]:
    data = document({"/a": {"get": operation(schema)}}, version=version, schemas=schemas or {})
    checker = SchemaChecker(read_document(json.dumps(data)))
    found, _ = example_candidates(checker.schema_at(POINTER), checker=checker, direction=direction)
    assert all(
        checker.problem_of(value, schema=checker.schema_at(POINTER), is_request=direction == "request") is None
        for value in found
    )
    return found


SATISFIABLE = [
    {},
    True,
    {"type": "null"},
    {"type": ["null", "integer"]},
    {"const": {"a": [1]}},
    {"enum": [None, "b"]},
    {"enum": [1.5, "a", True, None]},
    {"type": "integer", "minimum": 10**20},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    {"type": "integer", "minimum": -9, "maximum": -3, "multipleOf": 4},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-5},
    {"type": "number", "multipleOf": 0.07, "minimum": 1},
    {"type": "string", "minLength": 5000},
    {"type": "string", "maxLength": 0},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,}$", "minLength": 12},
    {"type": "string", "pattern": "^(?=.*[A-Z])[A-Za-z0-9]{8,}$"},
    {"type": "string", "pattern": "^(red|green)\\s[^a-z]$"},
    {"type": "string", "format": "uuid", "maxLength": 36},
    {"type": "string", "format": "date-time"},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": NAME, "minItems": 4, "uniqueItems": True},
    {"type": "array", "prefixItems": [NAME, {"type": "integer"}], "items": False, "minItems": 2},
    {"type": "array", "contains": {"const": 5}, "minItems": 2},
    {"type": "object", "additionalProperties": NAME, "minProperties": 2},
    {
        "type": "object",
        "patternProperties": {"^x-[a-z]+$": {}},
        "additionalProperties": False,
        "minProperties": 2,
    },
    {"type": "object", "required": ["undeclared"]},
    {"type": "object", "properties": {"a": NAME, "b": NAME, "c": NAME}, "maxProperties": 1},
    {
        "allOf": [
            {"required": ["a"]},
            {"properties": {"a": {"minimum": 3}}},
            {"properties": {"a": {"type": "integer"}}},
        ]
    },
    {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    {"anyOf": [{"type": "null"}, NAME]},
    {"not": {"type": "object"}},
    {"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "else": {"required": ["c"]}},
    {"$ref": "#/components/schemas/Tree"},
    {"$ref": "#/components/schemas/Animal"},
    {"$ref": "#/components/schemas/Tree/properties/label"},
]
SCHEMAS: dict[str, Any] = {
    "Tree": {
        "type": "object",
        "required": ["children", "label"],
        "properties": {
            "label": NAME,
            "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
            "parent": {"$ref": "#/components/schemas/Tree"},
        },
    },
    "Animal": {
        "oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}],
        "discriminator": {"propertyName": "kind"},
    },
    "Cat": {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": NAME, "lives": {"type": "integer"}},
    },
    "Dog": {"type": "object", "required": ["kind", "tricks"], "properties": {"kind": NAME, "tricks": NAME}},
    "Endless": {
        "type": "object",
        "required": ["next"],
        "properties": {"next": {"$ref": "#/components/schemas/Endless"}},
    },
    "Self": {"allOf": [{"$ref": "#/components/schemas/Self"}]},
}


@pytest.mark.parametrize("schema", SATISFIABLE, ids=str)
def test_finds_an_example(schema: Any) -> None:
    assert examples(schema, schemas=SCHEMAS)


UNSATISFIABLE = [
    False,
    {"type": "integer", "minimum": 5, "maximum": 4},
    {"type": "object", "required": ["a"], "properties": {"a": False}},
    {"enum": []},
    {"allOf": [{"const": 1}, {"const": 2}]},
    {"$ref": "#/components/schemas/Endless"},
    {"$ref": "#/components/schemas/Self"},
]


@pytest.mark.parametrize("schema", UNSATISFIABLE, ids=str)
def test_finds_none_where_there_is_none(schema: Any) -> None:
    assert examples(schema, schemas=SCHEMAS) == []


IN_3_0: list[tuple[Any, Any]] = [
    ({"type": "string", "nullable": True, "enum": [None]}, None),
    ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, 4),
    ({"type": "integer", "maximum": 0, "exclusiveMaximum": True}, -1),
    ({"type": "string", "example": "given"}, "given"),
]


@pytest.mark.parametrize(("schema", "expected"), IN_3_0, ids=str)
def test_follows_the_dialect_of_openapi_3_0(schema: Any, expected: Any) -> None:
    assert examples(schema, version="3.0.3")[0] == expected


def test_prefers_what_the_document_gives_if_it_is_valid() -> None:
    assert examples({"type": "integer", "example": 7, "default": 8})[0] == 7
    assert examples({"type": "integer", "example": "seven", "default": 8})[0] == 8


def test_sends_nothing_that_is_read_only_and_answers_nothing_that_is_write_only() -> None:
    schema = {
        "type": "object",
        "required": ["id", "name"],
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "pin": {**NAME, "writeOnly": True},
            "name": NAME,
        },
        "example": {"id": 1, "pin": "1234", "name": "given"},
    }
    assert examples(schema, direction="request")[0] == {"pin": "1234", "name": "given"}
    assert examples(schema, direction="response")[0] == {"id": 1, "name": "given"}
