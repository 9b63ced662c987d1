"""Requests and answers held against operations of OpenAPI descriptions."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import unquote_plus

import pytest

from scaffolder.agents.openapi import OperationDefinition
from scaffolder.agents.openapi.document import read_offer
from scaffolder.agents.openapi.schemas import MAX_STEPS, Anything
from scaffolder.errors import AgentConfigurationError, AgentRejectedError


def make_operation(
    operation: dict[str, Any] | None = None,
    *,
    path: str = "/items/{item}",
    method: str = "post",
    version: str = "3.1.0",
    components: dict[str, Any] | None = None,
    supplied: frozenset[tuple[str, str]] = frozenset(),
    **document: Any,
) -> OperationDefinition:
    """An operation as the registry has it: by way of the reader of descriptions."""
    whole = {
        "openapi": version,
        "info": {"title": "Agent", "version": "1"},
        "paths": {path: {method: {"operationId": "work", **(operation or {})}}},
        "components": components or {},
        **document,
    }
    offer = read_offer(
        whole, content=b"", source="https://agent.example.com/o.json", base_url="https://agent.example.com"
    )
    definition = json.loads(json.dumps(offer.endpoints[0].definition))
    return OperationDefinition("work", definition, supplied=supplied)


def make_parameter(name: str, place: str, schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema or {}, **more}


def with_body(schema: Any, *, media_type: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema, **more}}}}


def refuse(operation: OperationDefinition, parameters: dict[str, Any], body: Any = None) -> str:
    with pytest.raises(AgentRejectedError) as caught:
        operation.build(parameters, body)
    return str(caught.value)


# Parameters


@pytest.mark.parametrize(
    ("parameter", "value", "written"),
    [
        (make_parameter("q", "query"), "a b&c", [("q", "a b&c")]),
        (make_parameter("q", "query"), True, [("q", "true")]),
        (make_parameter("q", "query"), 1.5, [("q", "1.5")]),
        (make_parameter("q", "query"), ["a", 2], [("q", "a"), ("q", "2")]),
        (make_parameter("q", "query"), [], []),
        (make_parameter("q", "query", explode=False), ["a", "b"], [("q", "a,b")]),
        (make_parameter("q", "query", style="spaceDelimited", explode=False), ["a", "b"], [("q", "a b")]),
        (make_parameter("q", "query", style="pipeDelimited", explode=False), ["a", "b"], [("q", "a|b")]),
        (make_parameter("q", "query"), {"r": 1, "g": 2}, [("r", "1"), ("g", "2")]),
        (make_parameter("q", "query", explode=False), {"r": 1, "g": 2}, [("q", "r,1,g,2")]),
        (make_parameter("q", "query", style="deepObject", explode=True), {"r": 1}, [("q[r]", "1")]),
        (
            make_parameter("q", "query", style="deepObject", explode=True),
            {"a": {"b": [1, {"c": "x"}]}},
            [("q[a][b][0]", "1"), ("q[a][b][1][c]", "x")],
        ),
        (
            {"name": "q", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
            {"a": [1]},
            [("q", '{"a": [1]}')],
        ),
    ],
)
def test_query_parameters_are_written_in_their_style(
    parameter: dict[str, Any], value: Any, written: list[tuple[str, str]]
) -> None:
    operation = make_operation({"parameters": [parameter]}, path="/items")
    assert operation.build({"q": value}, None).query == tuple(written)


@pytest.mark.parametrize(
    ("parameter", "value", "path"),
    [
        (make_parameter("item", "path"), "a/b?c%#é{x}", "/items/a%2Fb%3Fc%25%23%C3%A9%7Bx%7D"),
        (make_parameter("item", "path"), 7, "/items/7"),
        (make_parameter("item", "path"), ["a,b", 2], "/items/a%2Cb,2"),
        (make_parameter("item", "path"), {"a": 1, "b": "="}, "/items/a,1,b,%3D"),
        (make_parameter("item", "path", explode=True), {"a": 1, "b": 2}, "/items/a=1,b=2"),
    ],
)
def test_path_parameters_stay_inside_their_part(parameter: dict[str, Any], value: Any, path: str) -> None:
    assert make_operation({"parameters": [parameter]}).build({"item": value}, None).path == path


def test_headers_are_written_as_text() -> None:
    parameters = [make_parameter("X-Trace", "header"), make_parameter("X-Ids", "header")]
    request = make_operation({"parameters": parameters}, path="/items").build({"X-Trace": 5, "X-Ids": [1, 2]}, None)
    assert request.headers == (("X-Trace", "5"), ("X-Ids", "1,2"))


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        (make_parameter("item", "path"), "..", "parameter 'item' is '..'; accepted is what can be part of a path"),
        (make_parameter("item", "path"), "", "parameter 'item' is ''"),
        (make_parameter("item", "path", style="matrix"), "x", "is written in style 'matrix'; accepted are simple"),
        (make_parameter("q", "cookie"), "x", "parameter 'q' goes into a cookie; accepted are path, query, header"),
        (make_parameter("q", "querystring"), "x", "parameter 'q' goes into a querystring; accepted are"),
        (make_parameter("q", "header"), "a\r\nX-Admin: 1", "parameter 'q' is not printable ASCII"),
        (make_parameter("q", "header"), "é", "parameter 'q' is not printable ASCII"),
        (make_parameter("q", "query", explode=False), ["a,b"], "has an item with ',' in it, which separates items"),
        (make_parameter("q", "query"), [["a"]], "has a list where its style takes only text"),
        (make_parameter("q", "query", {"type": "integer"}), "five", "parameter 'q' is 'five'; accepted is 'integer'"),
        (make_parameter("q", "query", {"type": "integer", "maximum": 9}), "10", "parameter 'q' is '10'; accepted is"),
        (make_parameter("q", "query", {"enum": ["open", "closed"]}), "opne", "accepted are ['open', 'closed']"),
        (make_parameter("q", "query", {"type": "array", "items": {"type": "string"}}), [1], "parameter 'q'.0 is 1"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(parameter: dict[str, Any], value: Any, message: str) -> None:
    others = [] if parameter["in"] == "path" else [make_parameter("item", "path")]
    operation = make_operation({"parameters": [parameter, *others]})
    assert message in refuse(operation, {parameter["name"]: value, **{one["name"]: "x" for one in others}})


@pytest.mark.parametrize(("schema", "value"), [("integer", "5"), ("boolean", "true"), ("string", 5), ("number", "1e3")])
def test_parameters_travel_as_text_so_text_and_number_are_the_same(schema: str, value: Any) -> None:
    operation = make_operation({"parameters": [make_parameter("q", "query", {"type": schema})]}, path="/items")
    assert operation.build({"q": value}, None).query == (("q", str(value)),)


def test_every_problem_is_named_with_the_nearest_parameter() -> None:
    parameters = [make_parameter("per_page", "query", {"type": "integer"}), make_parameter("q", "query", required=True)]
    message = refuse(make_operation({"parameters": parameters}), {"per_pag": 1, "zz": 1, "per_page": "x"})
    for expected in (
        "the request does not fit operation 'work': ",
        "unknown parameter 'per_pag'; the nearest is 'per_page'",
        "unknown parameter 'zz'; accepted are 'item', 'per_page', 'q'",
        "parameter 'per_page' is 'x'; accepted is 'integer'",
        "parameter 'q' is required",
        "parameter 'item' is required",
    ):
        assert expected in message


def test_none_leaves_a_parameter_out() -> None:
    operation = make_operation({"parameters": [make_parameter("q", "query")]}, path="/items")
    assert operation.build({"q": None}, None).query == ()
    required = make_operation({"parameters": [make_parameter("q", "query", required=True)]}, path="/items")
    assert "parameter 'q' is required" in refuse(required, {"q": None})


def test_the_operations_own_parameters_replace_those_of_its_path() -> None:
    offer_paths = {
        "/items/{item}": {
            "parameters": [
                {"$ref": "#/components/parameters/Item"},
                make_parameter("q", "query", {"type": "integer"}),
            ],
            "get": {"operationId": "work", "parameters": [make_parameter("q", "query", {"type": "array"})]},
        }
    }
    components = {"parameters": {"Item": make_parameter("item", "path", {"type": "string", "pattern": "^[a-z]+$"})}}
    operation = make_operation(paths=offer_paths, components=components)
    assert operation.build({"item": "a", "q": ["x"]}, None).query == (("q", "x"),)
    assert "parameter 'item' is '1A'; accepted is what matches '^[a-z]+$'" in refuse(operation, {"item": "1A"})


def test_a_name_in_several_places_fills_them_all() -> None:
    operation = make_operation({"parameters": [make_parameter("item", "path"), make_parameter("item", "query")]})
    request = operation.build({"item": "a"}, None)
    assert (request.path, request.query) == ("/items/a", (("item", "a"),))


def test_what_the_path_needs_and_nobody_declares_is_required() -> None:
    operation = make_operation({})
    assert "parameter 'item' is required" in refuse(operation, {})
    assert operation.build({"item": "a b"}, None).path == "/items/a%20b"


def test_the_idempotency_key_is_the_calls_own() -> None:
    key = make_parameter("idempotency-key", "header", required=True)
    operation = make_operation({"parameters": [key]}, path="/items")
    assert operation.takes_idempotency_key
    assert operation.build({}, None).headers == ()
    assert "is supplied by the call itself or the connection" in refuse(operation, {"idempotency-key": "1"})
    assert not make_operation({}, path="/items").takes_idempotency_key


def test_what_the_credentials_supply_need_not_be_given() -> None:
    parameters = [make_parameter("X-API-Key", "header", required=True), make_parameter("key", "query", required=True)]
    supplied = frozenset({("header", "x-api-key"), ("query", "key")})
    assert make_operation({"parameters": parameters}, path="/x", supplied=supplied).build({}, None).query == ()
    assert "parameter 'X-API-Key' is required" in refuse(make_operation({"parameters": parameters}, path="/x"), {})


@pytest.mark.parametrize("name", ["Accept", "Content-Type", "Authorization", "User-Agent", "Host", "cookie"])
def test_declared_headers_that_no_request_sets_are_ignored(name: str) -> None:
    operation = make_operation({"parameters": [make_parameter(name, "header", required=True)]}, path="/x")
    assert operation.build({}, None).headers == ()
    assert f"unknown parameter {name!r}" in refuse(operation, {name: "x"})


# Paths


@pytest.mark.parametrize("path", ["//evil.example/x", "/a/../b", "/a/%2e%2E/b", "/a/..\\b", "/a/./b", "x", "/a#b"])
def test_an_operation_that_leads_away_from_the_agent_is_refused(path: str) -> None:
    with pytest.raises(AgentConfigurationError, match="accepted is a path below the agent"):
        make_operation({}, path=path).build({}, None)


def test_a_path_may_have_a_query_of_its_own() -> None:
    request = make_operation({}, path="/items?beta=true").build({}, None)
    assert (request.path, request.query) == ("/items", (("beta", "true"),))


def test_a_path_is_percent_encoded_once() -> None:
    assert make_operation({}, path="/a b/é%20").build({}, None).path == "/a%20b/%C3%A9%20"


# Bodies


PERSON = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "name": {"$ref": "#/components/schemas/Name"},
        "secret": {"type": "string", "writeOnly": True},
        "boss": {"$ref": "#/components/schemas/Person"},
    },
    "required": ["id", "name", "secret"],
    "additionalProperties": False,
}
PEOPLE = {"schemas": {"Person": PERSON, "Name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5}}}


def make_person_operation(version: str = "3.1.0") -> OperationDefinition:
    reference = {"$ref": "#/components/schemas/Person"}
    answer = {"200": {"description": "", "content": {"application/json": {"schema": reference}}}}
    return make_operation(
        {**with_body(reference), "responses": answer}, path="/people", version=version, components=PEOPLE
    )


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0", "3.2.0"])
def test_a_body_that_fits_is_sent_as_json(version: str) -> None:
    body = {"name": "ada", "secret": "é", "boss": {"name": "eve", "secret": "x"}}
    request = make_person_operation(version).build({}, body)
    assert (request.method, request.content_type, json.loads(request.content or b"")) == (
        "POST",
        "application/json",
        body,
    )


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (None, ["it needs a body"]),
        ([], ["body is a list; accepted is 'object'"]),
        ({}, ["body lacks 'name', which is required", "body lacks 'secret', which is required"]),
        ({"name": "Ada", "secret": "x"}, ["body.name is 'Ada'; accepted is what matches '^[a-z]+$'"]),
        ({"name": "abcdef", "secret": "x"}, ["body.name is 'abcdef'; accepted is what fits maxLength 5"]),
        ({"name": "a", "secret": "x", "nmae": 1}, ["body has no property 'nmae'; the nearest is 'name'"]),
        (
            {"name": "a", "secret": "x", "boss": {"name": 1, "secret": "x"}},
            ["body.boss.name is 1; accepted is 'string'"],
        ),
        ({"name": "a", "secret": None}, ["body.secret is null; accepted is 'string'"]),
    ],
)
def test_a_body_that_does_not_fit_is_refused_with_every_place(body: Any, messages: list[str]) -> None:
    found = refuse(make_person_operation(), {}, body)
    for message in messages:
        assert message in found
    assert "'id'" not in found.replace("accepted are 'boss', 'id'", "")


@pytest.mark.parametrize(
    ("schema", "fits", "fits_not"),
    [
        ({"type": "string", "nullable": True}, None, 1),
        ({"nullable": True, "allOf": [{"type": "string"}]}, None, 1),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 2, 1),
        ({"type": "integer", "maximum": 1, "exclusiveMaximum": True}, 0, 1),
        ({"type": "integer", "minimum": 1, "maximum": 3}, 3, 4),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, ["a"], ["a", "a"]),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}], "discriminator": {"propertyName": "x"}}, 1, None),
    ],
)
def test_the_dialect_of_openapi_3_0_is_understood(schema: Any, fits: Any, fits_not: Any) -> None:
    wrapped = {"type": "object", "properties": {"value": schema}}
    operation = make_operation(with_body(wrapped), path="/x", version="3.0.3")
    operation.build({}, {"value": fits})
    assert "body.value" in refuse(operation, {}, {"value": fits_not})


@pytest.mark.parametrize(
    ("schema", "fits", "fits_not"),
    [
        ({"type": ["string", "null"]}, None, 1),
        ({"type": "integer", "exclusiveMinimum": 1}, 2, 1),
        ({"const": "a"}, "a", "b"),
        ({"prefixItems": [{"type": "string"}], "items": False}, ["a"], ["a", 1]),
        ({"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": False}, {"x-a": "b"}, {"y": 1}),
        ({"if": {"type": "string"}, "then": {"minLength": 2}}, "ab", "a"),
        ({"$defs": {"n": {"type": "string"}}, "type": "object"}, {}, 1),
        (False, Ellipsis, 1),
    ],
)
def test_json_schema_2020_12_is_understood(schema: Any, fits: Any, fits_not: Any) -> None:
    operation = make_operation(with_body({"type": "object", "properties": {"value": schema}}), path="/x")
    operation.build({}, {} if fits is Ellipsis else {"value": fits})
    message = refuse(operation, {}, {"value": fits_not})
    assert ("body has a value where none is accepted" if schema is False else "body.value") in message


def test_of_alternatives_the_nearest_is_explained() -> None:
    schema = {
        "anyOf": [{"type": "string"}, {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}]
    }
    message = refuse(make_operation(with_body(schema), path="/x"), {}, {"a": "x"})
    assert "body.a is 'x'; accepted is 'integer' (the nearest of 2 alternatives)" in message


@pytest.mark.parametrize(
    ("media_type", "body", "sent"),
    [
        ("application/vnd.agent+json; charset=utf-8", {"a": 1}, ("application/vnd.agent+json", b'{"a": 1}')),
        ("*/*", [1], ("application/json", b"[1]")),
        ("text/plain", "héllo", ("text/plain", "héllo".encode())),
        ("text/*", "x", ("text/plain", b"x")),
        (
            "application/x-www-form-urlencoded",
            {"a b": "c&d", "n": 1, "t": True, "l": ["x", "y"], "o": {"k": 1}},
            ("application/x-www-form-urlencoded", b"a%20b=c%26d&n=1&t=true&l=x&l=y&o=%7B%22k%22%3A%201%7D"),
        ),
    ],
)
def test_bodies_of_other_media_types(media_type: str, body: Any, sent: tuple[str, bytes]) -> None:
    request = make_operation(with_body({}, media_type=media_type), path="/x").build({}, body)
    assert (request.content_type, request.content) == sent


def test_forms_follow_the_encoding_of_each_property() -> None:
    encoding = {"card": {"style": "deepObject", "explode": True}, "ids": {"explode": False}}
    operation = make_operation(
        with_body({}, media_type="application/x-www-form-urlencoded", encoding=encoding), path="/x"
    )
    request = operation.build({}, {"card": {"number": "4", "owner": {"name": "a"}}, "ids": ["1", "2"]})
    assert unquote_plus((request.content or b"").decode()) == "card[number]=4&card[owner][name]=a&ids=1,2"


@pytest.mark.parametrize(
    ("operation", "body", "message"),
    [
        (
            with_body({}, media_type="multipart/form-data"),
            {"a": 1},
            "its body is one of ['multipart/form-data']; accepted",
        ),
        (with_body({}, media_type="application/octet-stream"), "x", "accepted are application/json"),
        (with_body({}, media_type="text/plain"), {"a": 1}, "body is no text, which is what text/plain takes"),
        (with_body({}, media_type="application/x-www-form-urlencoded"), [1], "body is no object"),
        (with_body({}), {"a": float("nan")}, "body is not JSON"),
        ({}, {"a": 1}, "it takes no body"),
    ],
)
def test_bodies_that_cannot_be_sent_are_refused(operation: dict[str, Any], body: Any, message: str) -> None:
    assert message in refuse(make_operation(operation, path="/x"), {}, body)


def test_json_comes_before_other_media_types() -> None:
    content: dict[str, Any] = {"text/plain": {}, "multipart/form-data": {}, "application/json": {}}
    operation = make_operation({"requestBody": {"content": content}}, path="/x")
    assert operation.build({}, [1]).content_type == "application/json"
    assert operation.build({}, None).content is None


def test_long_values_are_not_repeated_in_messages() -> None:
    message = refuse(make_person_operation(), {}, {"name": "x" * 100_000, "secret": "a", "boss": [0] * 50_000})
    assert len(message) < 500


def test_hundreds_of_flaws_are_summed_up() -> None:
    operation = make_operation(with_body({"type": "array", "items": {"type": "string"}}), path="/x")
    message = refuse(operation, {}, list(range(500)))
    assert message.count("accepted is 'string'") == 20
    assert message.endswith("and 80 more")


# Answers


@pytest.mark.parametrize(
    ("responses", "status", "data", "sentences"),
    [
        ({"200": {"type": "string"}}, 200, "x", []),
        ({"200": {"type": "string"}}, 200, 1, ["answer is a number; accepted is 'string'"]),
        ({"200": {"type": "string"}}, 200, None, []),
        ({"200": {"type": "string"}, "404": {}}, 201, "x", ["status 201; described are 200, 404"]),
        ({"2XX": {"type": "string"}, "default": {}}, 201, 1, ["answer is a number; accepted is 'string'"]),
        ({"2xx": {"type": "string"}, "201": {"type": "integer"}}, 201, 1, []),
        ({"default": {"type": "string"}}, 418, 1, ["answer is a number; accepted is 'string'"]),
        ({}, 200, 1, []),
    ],
)
def test_answers_are_judged_by_status_range_or_default(
    responses: dict[str, Any], status: int, data: Any, sentences: list[str]
) -> None:
    declared = {
        key: {"description": "", "content": {"application/json": {"schema": schema}}}
        for key, schema in responses.items()
    }
    operation = make_operation({"responses": declared}, path="/x")
    assert operation.check_answer(status, data) == sentences


def test_an_answer_has_what_is_read_only_and_not_what_is_write_only() -> None:
    operation = make_person_operation()
    assert operation.check_answer(200, {"id": 1, "name": "ada"}) == []
    assert operation.check_answer(200, {"name": "ada"}) == ["answer lacks 'id', which is required"]


def test_no_value_of_an_answer_is_in_a_sentence() -> None:
    sentences = make_person_operation().check_answer(
        200, {"id": "s3cret", "name": "S3CRET", "boss": {"id": 1, "name": "s3cret-too"}}
    )
    assert len(sentences) == 5
    assert "s3cret" not in " ".join(sentences).lower()


def test_there_are_five_sentences_at_the_most() -> None:
    content = {"application/json": {"schema": {"type": "array", "items": {"type": "string"}}}}
    operation = make_operation({"responses": {"200": {"description": "", "content": content}}}, path="/x")
    assert len(operation.check_answer(200, list(range(100)))) == 5


# Hostile and imperfect descriptions


@pytest.mark.parametrize(
    ("schema", "components"),
    [
        ({"type": "strange"}, {}),
        ({"type": "object", "properties": ["a"]}, {}),
        ({"$ref": "https://evil.example/schema.json"}, {}),
        ({"$ref": "#/components/schemas/Missing"}, {}),
        ({"$ref": "#somewhere"}, {}),
        ({"$ref": "#/components/schemas/A"}, {"schemas": {"A": {"$ref": "#/components/schemas/B"}}}),
    ],
)
def test_a_schema_that_cannot_be_used_is_an_error_only_when_it_is(schema: Any, components: dict[str, Any]) -> None:
    operation = make_operation(
        {
            "requestBody": {"content": {"application/json": {"schema": schema}}},
            "responses": {"200": {"description": "", "content": {"application/json": {"schema": schema}}}},
        },
        path="/x",
        components=components,
    )
    assert operation.build({}, None).content is None
    with pytest.raises(AgentConfigurationError, match="the description"):
        operation.build({}, {"a": 1})
    assert "status 200 cannot be checked: the description" in operation.check_answer(200, {"a": 1})[0]


def test_required_may_be_the_boolean_that_older_descriptions_have() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "required": True}}, "required": True}
    make_operation(with_body(schema), path="/x").build({}, {"a": "x"})


@pytest.mark.parametrize("keyword", ["pattern", "patternProperties", "additionalProperties", "other dialect"])
def test_a_pattern_that_explodes_is_searched_in_linear_time(keyword: str) -> None:
    pattern, text = "^(a+)+$", "a" * 50_000 + "!"
    schemas: dict[str, Any] = {
        "pattern": {"properties": {"v": {"pattern": pattern}}},
        "patternProperties": {"patternProperties": {pattern: {"type": "integer"}}},
        "additionalProperties": {"patternProperties": {pattern: {}}, "additionalProperties": False},
        # Another $schema would bring back the patterns of Python.
        "other dialect": {
            "properties": {"v": {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": pattern}},
        },
    }
    operation = make_operation(with_body(schemas[keyword]), path="/x")
    body = {"v": text} if keyword in {"pattern", "other dialect"} else {text: "x"}
    started = time.monotonic()
    if keyword == "patternProperties":
        operation.build({}, body)
    else:
        refuse(operation, {}, body)
    assert time.monotonic() - started < 2


def test_a_pattern_that_cannot_be_searched_in_linear_time_is_left_to_the_agent() -> None:
    operation = make_operation(with_body({"pattern": "^(?!x)a"}), path="/x")
    assert operation.build({}, "xa").content == b'"xa"'


def test_a_check_without_end_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    # Each level asks two times as often as the one above it.
    node = {"type": "object", "properties": {"n": {"oneOf": [{"$ref": "#/components/schemas/N"}] * 3}}}
    operation = make_operation(
        with_body({"$ref": "#/components/schemas/N"}), path="/x", components={"schemas": {"N": node}}
    )
    body: dict[str, Any] = {}
    for _ in range(60):
        body = {"n": body}
    started = time.monotonic()
    operation.find_problems({}, body)
    assert time.monotonic() - started < 20
    assert f"more than {MAX_STEPS} keywords" in caplog.text


def test_long_lists_in_a_schema_count_for_what_they_take(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    values = list(range(8_000))
    operation = make_operation(with_body({"items": {"enum": values}}), path="/x")
    started = time.monotonic()
    assert operation.find_problems({}, [values[-1]] * 8_000) == []
    assert time.monotonic() - started < 10
    assert f"more than {MAX_STEPS} keywords" in caplog.text
    assert operation.find_problems({}, [values[-1]] * 100 + [-1]) != []


def test_many_items_are_compared_in_linear_time() -> None:
    operation = make_operation(with_body({"uniqueItems": True}), path="/x")
    started = time.monotonic()
    operation.build({}, [{"index": index} for index in range(20_000)])
    assert time.monotonic() - started < 2


def test_deep_recursion_is_no_crash() -> None:
    operation = make_person_operation()
    body: dict[str, Any] = {"name": "a", "secret": "x"}
    for _ in range(900):
        body = {"name": "a", "secret": "x", "boss": body}
    assert operation.find_problems({}, body) == []


# Values that are not known yet


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ({"type": "object", "required": ["a"], "properties": {"a": {"enum": [1]}}}, {"a": Anything()}),
        ({"enum": [{"a": 1}]}, {"a": Anything()}),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, Anything()),
        ({"properties": {"a": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}}, {"a": Anything()}),
        ({"type": "array", "uniqueItems": True, "items": {"type": "integer"}}, [Anything(), Anything()]),
        ({"properties": {"a": {"not": {"type": "string"}}}}, {"a": Anything()}),
        ({"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}}, {"a": Anything()}),
    ],
)
def test_what_is_not_known_yet_fits(schema: Any, body: Any) -> None:
    assert make_operation(with_body(schema), path="/x").find_problems({}, body, purpose="plan") == []


def test_what_is_known_already_is_checked_beside_it() -> None:
    schema = {
        "type": "object",
        "required": ["a", "b"],
        "properties": {"a": {"type": "string"}, "c": {"type": "string"}},
    }
    parameters = [make_parameter("q", "query", {"type": "integer"})]
    operation = make_operation({**with_body(schema), "parameters": parameters}, path="/x")
    problems = operation.find_problems({"q": Anything()}, {"a": Anything(), "c": 1}, purpose="plan")
    assert problems == ["body lacks 'b', which is required", "body.c is 1; accepted is 'string'"]
