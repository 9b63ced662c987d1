"""Which documents are accepted, and what the refusals say."""

import json
from typing import Any

import pytest

from demo_agent.document import read_document
from demo_agent.errors import DocumentRefusedError
from demo_agent.parsing import MAX_DEPTH, parse
from tests.demo_agent.agent_documents import answer, document, operation

ONE = {"/things": {"get": operation({"type": "string"})}}


def with_schema(schema: Any, **schemas: Any) -> str:
    return json.dumps(document({"/things": {"get": operation(schema)}}, schemas=schemas))


REFUSED = [
    ("", "is empty"),
    ("   \n", "is empty"),
    ("just text", "no object but text"),
    ("[1]", "no object but an array"),
    ('{"openapi": "3.1.0", "openapi": "3.1.0"}', "the key 'openapi' twice"),
    ("openapi: 3.1.0\nopenapi: 3.1.0\n", "the key 'openapi' twice, line 2"),
    ('{"openapi": NaN}', "the number NaN"),
    ('{"openapi": 1e999}', "out of range"),
    ("openapi: .inf", "the number .inf"),
    ("a: *b", "names no anchor"),
    ("a: &a [*a]", "names no anchor that ended before it"),
    ("a: !!python/object/apply:os.system [x]", "tag"),
    ("a: 1\n---\na: 2\n", "several YAML documents"),
    ("a: 'b", "is not YAML"),
    ("a: \x00", "character YAML forbids"),
    ("info: {}", "no key 'openapi'"),
    ("openapi: 2.0.0", "'openapi' is '2.0.0'"),
    ("openapi: 3.2.0", "'openapi' is '3.2.0'"),
    ("swagger: '2.0'", "Swagger '2.0', not OpenAPI 3"),
    ("openapi: 3.1.0\npaths: []", "'paths' is no object but an array"),
    ("openapi: 3.1.0\npaths: {x: {get: {}}}", "has no operations"),
    (
        with_schema({"$ref": "https://example.com/a.json#/b"}),
        "'https://example.com/a.json#/b' at #/paths/~1things",
    ),
    (with_schema({"$ref": "other.yaml"}), "points outside the document and is not fetched"),
    (with_schema({"$ref": "file:///etc/passwd"}), "points outside"),
    (with_schema({"$ref": "#/components/schemas/Nobody"}), "leads nowhere"),
    (with_schema({"$ref": "#anchor"}), "leads nowhere"),
    (with_schema({"$ref": "#/components/schemas/A"}, A={"$ref": "#/components/schemas/A"}), "back to itself"),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED, ids=[text[:30] or "empty" for text, _ in REFUSED])
def test_refuses_with_a_reason(text: str, expected: str) -> None:
    with pytest.raises(DocumentRefusedError) as caught:
        read_document(text)
    assert expected in str(caught.value)


@pytest.mark.parametrize("version", ["3.0.0", "3.0.4", "3.1.0", "3.1.2"])
def test_accepts_openapi_3_0_and_3_1(version: str) -> None:
    assert read_document(json.dumps(document(ONE, version=version))).version == version[:3]


def test_reads_yaml_as_openapi_prescribes_it() -> None:
    assert parse("on: yes\n200: 2020-01-01\n'1': 1\nx: 0x1F\nnothing: ~\n") == {
        "on": "yes",
        "200": "2020-01-01",
        "1": 1,
        "x": 31,
        "nothing": None,
    }


def test_expands_aliases_and_merge_keys() -> None:
    assert parse("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_counts_depth_the_same_in_json_and_yaml(opening: str) -> None:
    closing = {"[": "]", "{a: ": "}"}[opening]
    parse("- " + opening * (MAX_DEPTH - 1) + closing * (MAX_DEPTH - 1))
    with pytest.raises(DocumentRefusedError, match="nested too deep"):
        parse("- " + opening * MAX_DEPTH + closing * MAX_DEPTH)


def test_does_not_take_data_for_references() -> None:
    schema = {
        "type": "object",
        "properties": {"$ref": {"type": "string"}, "example": {"type": "string"}},
        "example": {"$ref": "https://example.com/"},
        "x-more": {"$ref": "https://example.com/"},
    }
    assert read_document(with_schema(schema)).warnings == []


def test_checks_references_below_properties_that_are_called_like_keywords() -> None:
    schema = {"type": "object", "properties": {"example": {"$ref": "https://example.com/"}}}
    with pytest.raises(DocumentRefusedError, match="points outside"):
        read_document(with_schema(schema))


def test_sets_aside_a_pattern_python_cannot_compile() -> None:
    accepted = read_document(with_schema({"type": "string", "pattern": "^\\p{L}+$"}))
    assert "is no pattern Python understands" in accepted.warnings[0]
    schema = accepted.data["paths"]["/things"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"type": "string", "x-pattern": "^\\p{L}+$"}


def test_ignores_what_stands_beside_a_reference_in_openapi_3_0() -> None:
    paths = {"/a": {"get": {"responses": answer({"$ref": "#/components/schemas/A", "type": "integer"})}}}
    accepted = read_document(json.dumps(document(paths, version="3.0.3", schemas={"A": {"type": "string"}})))
    content = accepted.data["paths"]["/a"]["get"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/A"}
