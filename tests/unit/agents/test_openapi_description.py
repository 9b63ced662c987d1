"""OpenAPI documents: which are read, where their operations are, and what the definition of one holds."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from scaffolder.agents.discovery.offers import parse_document
from scaffolder.agents.openapi import OperationDefinition
from scaffolder.agents.openapi.document import read_offer
from scaffolder.agents.openapi.slices import MAX_DEFINITION_SIZE, MAX_DEFINITIONS_SIZE
from scaffolder.errors import AgentAnswerError, AgentConfigurationError
from scaffolder.records.endpoints import Offer, OfferedEndpoint

BASE = "https://agent.example.com"
AIRFLOW = "api_fastapi/core_api/openapi/v2-rest-api-generated.yaml"


def make_document(**values: Any) -> dict[str, Any]:
    paths = {"/items": {"get": {"operationId": "list", "summary": "List items", "responses": {}}}}
    return {"openapi": "3.1.0", "info": {"title": "Agent", "version": "1.2"}, "paths": paths, **values}


def read(document: Any, *, base_url: str | None = BASE, source: str = f"{BASE}/openapi.json") -> Offer:
    return read_offer(document, content=json.dumps(document).encode(), source=source, base_url=base_url)


def find(offer: Offer, operation_id: str) -> OfferedEndpoint:
    return next(one for one in offer.endpoints if one.operation_id == operation_id)


def refuse(document: Any, **values: Any) -> str:
    with pytest.raises(AgentConfigurationError) as caught:
        read(document, **values)
    return str(caught.value)


# What is read


def test_a_document_says_what_it_offers() -> None:
    offer = read(make_document())
    assert (offer.kind, offer.title, offer.version, offer.source) == ("openapi", "Agent", "1.2", f"{BASE}/openapi.json")
    (endpoint,) = offer.endpoints
    assert (endpoint.operation_id, endpoint.method, endpoint.path, endpoint.summary) == (
        "list",
        "GET",
        "/items",
        "List items",
    )
    assert endpoint.definition == {
        "openapi": "3.1.0",
        "paths": {"/items": {"get": {"operationId": "list", "summary": "List items", "responses": {}}}},
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"swagger": "2.0", "paths": {}}, "is Swagger 2.0; accepted is OpenAPI 3"),
        ({"openapi": "4.0.0", "paths": {}}, "is OpenAPI 4.0.0; accepted is OpenAPI 3"),
        ({"info": {}}, "is no OpenAPI document; accepted is OpenAPI 3"),
        ([], "is no OpenAPI document"),
        (None, "is no OpenAPI document"),
        ("text", "is no OpenAPI document"),
    ],
)
def test_other_documents_are_refused(document: Any, message: str) -> None:
    assert message in refuse(document)


@pytest.mark.parametrize("document", [make_document(paths=None), make_document(paths=[]), {"openapi": "3.0.0"}])
def test_a_document_without_operations_offers_none(document: Any) -> None:
    assert read(document).endpoints == ()


def test_operations_without_a_usable_id_are_named_by_method_and_path() -> None:
    paths = {
        "/a": {"get": {}, "query": {}},
        "/b": {"get": {"operationId": "one"}, "put": {"operationId": "one"}, "post": {"operationId": 5}},
        "/c": {"get": {"operationId": "x\x1b[31m"}},
    }
    offer = read(make_document(paths=paths))
    names = [one.operation_id for one in offer.endpoints]
    assert sorted(names) == ["GET /a", "GET /c", "POST /b", "PUT /b", "QUERY /a", "one"]
    assert "operationId 'one' is there twice; 'PUT /b' takes its place" in offer.warnings
    assert len(offer.warnings) == 3
    assert "\x1b" not in "".join(offer.warnings)


def test_a_name_of_method_and_path_is_the_only_one_and_not_too_long() -> None:
    long = "/" + "x" * 400
    paths = {
        f"{long}/1": {"get": {}},
        f"{long}/2": {"get": {}},
        "/a": {"put": {"operationId": "GET /b c"}},
        "/b\tc": {"get": {}},
    }
    offer = read(make_document(paths=paths))
    names = [one.operation_id for one in offer.endpoints]
    assert len(set(names)) == 4
    assert [len(name) for name in names[:2]] == [250, 250]
    assert names[3].startswith("GET /b c ")
    assert sum("its own name is too long or taken" in warning for warning in offer.warnings) == 3
    assert names == [one.operation_id for one in read(make_document(paths=paths)).endpoints]


def test_a_document_nested_too_deep_is_an_answer_that_is_refused() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    paths = {"/a": {"get": {"operationId": "a", "requestBody": {"x": deep}}}}
    with pytest.raises(AgentAnswerError, match="is nested too deep"):
        read_offer(make_document(paths=paths), content=b"", source="x", base_url=BASE)


def test_what_is_malformed_is_passed_over() -> None:
    paths = {"/a": None, "/b": {"get": "text", "put": {"operationId": "b", "parameters": "none"}}, "/c": {"get": {}}}
    offer = read(make_document(paths=paths))
    assert sorted(one.operation_id for one in offer.endpoints) == ["GET /c", "b"]
    assert offer.warnings == ("path '/a' is left out: the description has something else where an object should be",)


def test_path_items_may_be_references() -> None:
    item = {"parameters": [{"name": "x", "in": "query"}], "get": {"operationId": "list"}}
    document = make_document(
        paths={"/a": {"$ref": "#/components/pathItems/Items"}, "/b": {"$ref": "other.yaml#/x"}},
        components={"pathItems": {"Items": item}},
    )
    offer = read(document)
    assert find(offer, "list").definition["paths"]["/a"] == item
    assert "leads out of it" in offer.warnings[0]


def test_texts_are_cut_and_printable() -> None:
    info = {"title": "T\u202e\n" + "x" * 10_000, "version": 3.0, "description": "y" * 100_000}
    offer = read(make_document(info=info))
    assert offer.title.isprintable()
    assert len(offer.title) == 300
    assert (offer.version, len(offer.description)) == ("3.0", 20_000)


# Servers


@pytest.mark.parametrize(
    ("servers", "base_url", "path"),
    [
        ([], BASE, "/items"),
        ([{"url": "/"}], BASE, "/items"),
        ([{"url": "/api/v3"}], BASE, "/api/v3/items"),
        ([{"url": "/api/v3/"}], f"{BASE}/api/v3", "/items"),
        ([{"url": "v3"}], BASE, "/docs/v3/items"),
        ([{"url": "."}], BASE, "/docs/items"),
        ([{"url": f"{BASE}/v1"}], BASE, "/v1/items"),
        ([{"url": f"{BASE}/v1"}], f"{BASE}/v1", "/items"),
        ([{"url": f"{BASE}:443/v1"}], BASE, "/v1/items"),
        ([{"url": "HTTPS://Agent.example.com/v1"}], BASE, "/v1/items"),
        ([{"url": "/v1"}], f"{BASE}/gateway", "/v1/items"),
        ([{"url": "https://other.example.com/v2"}, {"url": f"{BASE}/v1"}], BASE, "/v1/items"),
        ([{"url": "https://other.example.com/v2"}, {"url": "/v1"}], BASE, "/v1/items"),
        ([{"url": "/{version}", "variables": {"version": {"default": "v9"}}}], BASE, "/v9/items"),
        (
            [
                {
                    "url": "https://{region}.example.com/x",
                    "variables": {"region": {"enum": ["eu", "agent"], "default": "eu"}},
                }
            ],
            BASE,
            "/x/items",
        ),
        (
            [{"url": "{protocol}://{hostname}/api", "variables": {"hostname": {"default": "HOSTNAME"}}}],
            BASE,
            "/api/items",
        ),
        ([{"no": "url"}, "text"], BASE, "/items"),
    ],
)
def test_requests_go_below_the_server_that_is_the_connections(servers: list[Any], base_url: str, path: str) -> None:
    offer = read(make_document(servers=servers), base_url=base_url, source=f"{BASE}/docs/openapi.json")
    assert OperationDefinition("list", find(offer, "list").definition).build({}, None).path == path


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com",
        "http://agent.example.com",
        "https://agent.example.com:8443",
        "//evil.example.com/v1",
        "https://agent.example.com@evil.example.com",
        "https://agent.example.com.evil.example.com",
        "https://{region}.evil.com",
        "https://{a}{b}{c}{d}.example.com",
        "ftp://agent.example.com",
        "https://[",
    ],
)
def test_servers_elsewhere_are_refused_where_none_fits(url: str) -> None:
    message = refuse(
        make_document(servers=[{"url": url}, {"url": "https://other.example.com/with/s3cret?token=s3cret"}])
    )
    assert "names a server at " in message
    assert f"accepted is the connection's own {BASE}" in message
    assert "s3cret" not in message


def test_a_server_outside_of_the_base_urls_path_is_refused() -> None:
    assert "names a server at" in refuse(make_document(servers=[{"url": f"{BASE}/v1"}]), base_url=f"{BASE}/v2")


def test_an_operation_with_a_server_elsewhere_is_shown_and_never_called() -> None:
    elsewhere = {"post": {"operationId": "upload", "servers": [{"url": "https://uploads.example.com"}]}}
    own = {"servers": [{"url": f"{BASE}/v2"}], "get": {"operationId": "own"}}
    offer = read(make_document(servers=[{"url": f"{BASE}/v1"}], paths={"/a": elsewhere, "/b": own}))
    assert offer.warnings == ("operation 'upload' cannot be called: its server is https://uploads.example.com",)
    with pytest.raises(
        AgentConfigurationError, match=r"is at https://uploads.example.com; accepted is the connection's"
    ):
        OperationDefinition("upload", find(offer, "upload").definition).build({}, None)
    assert OperationDefinition("own", find(offer, "own").definition).build({}, None).path == "/v2/b"


def test_without_a_connection_servers_are_shown() -> None:
    offer = read(make_document(servers=[{"url": "https://anywhere.example.com"}, {"url": "/x"}]), base_url=None)
    assert offer.servers == ("https://anywhere.example.com", "/x")


# Definitions


def list_keys(definition: dict[str, Any], kind: str) -> list[str]:
    return sorted(definition.get("components", {}).get(kind, {}))


def test_a_definition_has_what_its_operation_refers_to_and_nothing_else() -> None:
    schemas = {
        "A": {"properties": {"b": {"$ref": "#/components/schemas/B"}}},
        "B": {"items": {"$ref": "#/components/schemas/A"}},
        "C": {"type": "string"},
        "a/b~ü": {"type": "integer"},
        # In plain data and as a property's name it is no reference.
        "Example": {"example": {"$ref": "#/components/schemas/C"}, "enum": [{"$ref": "#/x"}], "default": {"$ref": "y"}},
        "Odd": {"properties": {"$ref": {"type": "string"}, "example": {"$ref": "#/components/schemas/C"}}},
    }
    paths = {
        "/items/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {
                "operationId": "one",
                "responses": {"200": {"$ref": "#/components/responses/A"}},
                "x-samples": [1],
                "callbacks": {"x": {"$ref": "#/components/callbacks/None"}},
            },
            "put": {
                "operationId": "two",
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/a~1b~0%C3%BC"}}}
                },
            },
            "post": {
                "operationId": "three",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Example"}}}},
            },
            "patch": {
                "operationId": "four",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Odd"}}}},
            },
        }
    }
    components = {
        "schemas": schemas,
        "parameters": {"Id": {"name": "id", "in": "path", "required": True}},
        "responses": {
            "A": {"description": "", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}
        },
    }
    offer = read(make_document(paths=paths, components=components))
    assert offer.warnings == ()
    one = find(offer, "one").definition
    assert (list_keys(one, "schemas"), list_keys(one, "responses"), list_keys(one, "parameters")) == (
        ["A", "B"],
        ["A"],
        ["Id"],
    )
    assert list(one["paths"]["/items/{id}"]) == ["parameters", "get"]
    assert "x-samples" not in one["paths"]["/items/{id}"]["get"]
    assert "callbacks" not in one["paths"]["/items/{id}"]["get"]
    assert list_keys(find(offer, "two").definition, "schemas") == ["a/b~ü"]
    assert list_keys(find(offer, "three").definition, "schemas") == ["Example"]
    assert list_keys(find(offer, "four").definition, "schemas") == ["C", "Odd"]


def test_references_to_anywhere_in_the_document_come_along() -> None:
    shared = {"type": "object", "properties": {"inner": {"type": "string", "pattern": "^a$"}}, "required": ["inner"]}
    paths = {
        "/a": {
            "post": {"operationId": "a", "requestBody": {"content": {"application/json": {"schema": shared}}}},
        },
        "/b": {
            "post": {
                "operationId": "b",
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "properties": {
                                    "whole": {"$ref": "#/paths/~1a/post/requestBody/content/application~1json/schema"},
                                    "part": {"$ref": "#/components/schemas/S/properties/x"},
                                    "definition": {"$ref": "#/definitions/D%20E"},
                                }
                            }
                        }
                    }
                },
            }
        },
    }
    document = make_document(
        paths=paths,
        components={"schemas": {"S": {"properties": {"x": {"type": "integer"}}}}},
        definitions={"D E": {"type": "boolean"}},
    )
    before = json.dumps(document)
    offer = read(document)
    assert offer.warnings == ()
    assert json.dumps(document) == before
    operation = OperationDefinition("b", find(offer, "b").definition)
    operation.build({}, {"whole": {"inner": "a"}, "part": 1, "definition": True})
    problems = operation.find_problems({}, {"whole": {}, "part": "x", "definition": 1})
    assert [problem.partition(" ")[0] for problem in problems] == ["body.definition", "body.part", "body.whole"]


def test_references_that_lead_nowhere_or_elsewhere_are_warnings_with_their_operations() -> None:
    def refer(reference: str, name: str) -> dict[str, Any]:
        content = {"application/json": {"schema": {"$ref": reference}}}
        return {"post": {"operationId": name, "requestBody": {"content": content}}}

    paths: dict[str, Any] = {f"/{index}": refer("other.yaml#/A", f"op{index}") for index in range(7)}
    paths["/x"] = refer("#/components/schemas/Missing", "x")
    assert read(make_document(paths=paths)).warnings == (
        "reference 'other.yaml#/A' leads out of the description; these operations cannot be checked where they need it: op0, op1, op2, op3, op4 and 2 more",
        "reference '#/components/schemas/Missing' leads nowhere; these operations cannot be checked where they need it: x",
    )


def test_the_digest_tells_what_has_changed() -> None:
    def digests(document: dict[str, Any]) -> dict[str, str]:
        return {one.operation_id: one.digest for one in read(document).endpoints}

    def make(minimum: int, *, reverse: bool = False) -> dict[str, Any]:
        schemas = {"A": {"minimum": minimum, "type": "integer"}, "B": {"type": "string"}}
        paths = {
            f"/{name}": {
                "get": {
                    "operationId": name,
                    "parameters": [{"name": "q", "in": "query", "schema": {"$ref": f"#/components/schemas/{name}"}}],
                }
            }
            for name in schemas
        }
        order = reversed if reverse else list
        ordered = {name: dict(order(list(schema.items()))) for name, schema in order(list(schemas.items()))}
        return make_document(paths=paths, components={"schemas": ordered})

    first, other = digests(make(1)), digests(make(2))
    assert digests(make(1, reverse=True)) == first
    assert (first["A"] != other["A"], first["B"] == other["B"]) == (True, True)


def test_recursion_without_end_is_cut_once() -> None:
    size = 3_000
    schemas = {f"S{index}": {"items": {"$ref": f"#/components/schemas/S{(index + 1) % size}"}} for index in range(size)}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}
    paths = {"/a": {"post": {"operationId": "a", "requestBody": {"content": content}}}}
    definition = find(read(make_document(paths=paths, components={"schemas": schemas})), "a").definition
    assert len(definition["components"]["schemas"]) == size


def test_what_is_too_large_is_cut_where_it_is_farthest() -> None:
    filling = "x" * 20_000
    schemas = {
        f"S{index}": {
            "type": "object",
            "description": filling,
            "properties": {"next": {"$ref": f"#/components/schemas/S{index + 1}"}},
        }
        for index in range(50)
    }
    schemas["S50"] = {"type": "string"}
    schemas["Request"] = {"type": "object", "required": ["a"], "description": filling}
    paths = {
        "/a": {
            "post": {
                "operationId": "a",
                "responses": {
                    "200": {
                        "description": "",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}},
                    }
                },
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Request"}}}},
            }
        }
    }
    offer = read(make_document(paths=paths, components={"schemas": schemas}))
    assert offer.warnings == (
        f"these operations have schemas of more than {MAX_DEFINITION_SIZE} bytes, whose farthest parts are not checked: a",
    )
    definition = find(offer, "a").definition
    assert len(json.dumps(definition)) < MAX_DEFINITION_SIZE * 1.05
    operation = OperationDefinition("a", definition)
    assert operation.find_problems({}, {}) == ["body lacks 'a', which is required"]
    assert operation.check_answer(200, {"next": 1}) == ["answer.next is a number; accepted is 'object'"]
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"next": deep}
    assert operation.check_answer(200, deep) == []


def test_an_operation_that_is_too_large_by_itself_keeps_its_parameters() -> None:
    def make(size: int) -> dict[str, Any]:
        return {"application/json": {"schema": {"type": "string", "description": "x" * size}}}

    paths = {
        "/a": {
            "post": {
                "operationId": "a",
                "parameters": [{"name": "q", "in": "query", "required": True}],
                "requestBody": {"required": True, "content": make(400_000)},
                "responses": {"200": {"description": "", "content": make(400_000)}},
            },
            "get": {"operationId": "b", "description": "x" * 400_000},
        }
    }
    offer = read(make_document(paths=paths))
    operation = OperationDefinition("a", find(offer, "a").definition)
    assert operation.find_problems({}, None) == ["parameter 'q' is required", "it needs a body"]
    assert operation.build({"q": 1}, {"any": "thing"}).content
    assert operation.check_answer(200, 5) == []
    assert [one.operation_id for one in offer.endpoints] == ["a"]
    assert offer.warnings[-1] == "these operations are left out, as they have more than 262144 bytes: b"


def test_all_definitions_together_are_bounded() -> None:
    size, randomness = 400, random.Random(5)
    schemas = {
        f"S{index}": {
            "type": "object",
            "description": "x" * 1_000,
            "properties": {
                f"p{other}": {"$ref": f"#/components/schemas/S{other}"} for other in randomness.sample(range(size), 5)
            },
        }
        for index in range(size)
    }
    paths = {
        f"/{index}": {
            "get": {
                "operationId": f"o{index}",
                "responses": {
                    "200": {
                        "description": "",
                        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/S{index}"}}},
                    }
                },
            }
        }
        for index in range(size)
    }
    started = time.monotonic()
    offer = read(make_document(paths=paths, components={"schemas": schemas}))
    assert sum(len(json.dumps(one.definition)) for one in offer.endpoints) <= MAX_DEFINITIONS_SIZE * 1.05
    assert "o0, o1, o2, o3, o4 and 395 more" in offer.warnings[0]
    assert time.monotonic() - started < 20


# Text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!doctype html><title>x</title>", "has a page where its description should be; accepted is JSON or YAML"),
        (b'\xef\xbb\xbf  <?xml version="1.0"?>', "has a page where its description should be"),
        (b'{"openapi": ', "has a description that is no JSON"),
        (b'{"openapi": NaN}', "NaN is none"),
        (b'{"a": 1, "a": 2}', "has one name twice"),
        (b'{"a": ' + b"[" * 100_000, "has a description that is no JSON"),
        (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "nested deeper than 200 levels"),
        (b"openapi: [", "has a description that cannot be read, line 2: is no YAML"),
        (b"a: 1\na: 2", "line 2: key 'a' is there twice"),
        (b"a: &a [*a]", "line 1: an alias leads nowhere, or back to where it stands"),
        (b"a: !!python/name:os.system ''", "has a tag"),
        (b"\xff\xfe\x00", "is no YAML"),
        (b"a: " + b"[" * 300 + b"]" * 300, "nested deeper than 200 levels"),
        (
            b"a: &a " + b"[" * 120 + b"]" * 120 + b"\nb: " + b"[" * 80 + b"*a" + b"]" * 80,
            "line 2: is nested deeper than 200 levels, aliases followed",
        ),
        (
            b"a: &a "
            + b"[" * 90
            + b"]" * 90
            + b"\nb: &b "
            + b"[" * 90
            + b"*a"
            + b"]" * 90
            + b"\nc: "
            + b"[" * 50
            + b"*b"
            + b"]" * 50,
            "line 3: is nested deeper than 200 levels, aliases followed",
        ),
    ],
)
def test_text_that_is_no_description_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(AgentAnswerError, match="^the file ") as caught:
        parse_document(content, name="the file", max_depth=200)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_alias_bomb_stops_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{index}: &a{index} [{', '.join([f'*a{index - 1}'] * 9)}]" for index in range(1, 12)]
    started = time.monotonic()
    with pytest.raises(AgentAnswerError, match="has more than 5000000 values, aliases counted"):
        parse_document("\n".join(lines).encode(), name="the file", max_depth=200)
    assert time.monotonic() - started < 2


def test_aliases_are_followed_as_deep_as_anything_else() -> None:
    content = b"a: &a " + b"[" * 100 + b"]" * 100 + b"\nb: " + b"[" * 99 + b"*a" + b"]" * 99
    data = parse_document(content, name="x", max_depth=200)["b"]
    depth = 0
    while isinstance(data, list):
        data, depth = (data[0] if data else None), depth + 1
    assert depth == 199


def test_a_long_text_cannot_be_repeated_without_end() -> None:
    text, copies = b"x" * 1_000_000, b", *t" * 66
    assert len(parse_document(b"a: [&t " + text + copies + b"]", name="the file", max_depth=200)["a"]) == 67
    with pytest.raises(AgentAnswerError, match="has more than 67108864 characters, aliases counted"):
        parse_document(b"a: [&t " + text + copies + b", *t]", name="the file", max_depth=200)


def test_yaml_and_json_are_read_as_the_same() -> None:
    text = b"""\
openapi: 3.0.3
info: {title: "Agent", version: 1.10, description: |-
    Two
    lines}
paths:
  /items:
    get:
      operationId: "list"
      parameters: [&q {name: on, in: query, schema: {type: string, enum: [yes, no, '1']}}]
      responses:
        200: {description: ok}
    put:
      <<: {operationId: put, x: 1}
      parameters: [*q]
"""
    text = text.replace(b"|-\n    Two\n    lines", b'"Two\\nlines"')
    assert parse_document(text, name="x", max_depth=200) == {
        "openapi": "3.0.3",
        "info": {"title": "Agent", "version": 1.1, "description": "Two\nlines"},
        "paths": {
            "/items": {
                "get": {
                    "operationId": "list",
                    "parameters": [
                        {"name": "on", "in": "query", "schema": {"type": "string", "enum": ["yes", "no", "1"]}}
                    ],
                    "responses": {"200": {"description": "ok"}},
                },
                "put": {
                    "operationId": "put",
                    "x": 1,
                    "parameters": [
                        {"name": "on", "in": "query", "schema": {"type": "string", "enum": ["yes", "no", "1"]}}
                    ],
                },
            }
        },
    }


# Real ones


def test_airflows_own_description_loads_and_takes_requests() -> None:
    from importlib.resources import files

    content = files("airflow").joinpath(AIRFLOW).read_bytes()
    started = time.monotonic()
    document = parse_document(content, name="Airflow", max_depth=200)
    offer = read_offer(document, content=content, source=f"{BASE}/openapi.json", base_url=BASE)
    assert time.monotonic() - started < 10
    assert len(offer.endpoints) > 100
    assert offer.warnings == ()
    operation = OperationDefinition("trigger_dag_run", find(offer, "trigger_dag_run").definition)
    request = operation.build({"dag_id": "a/b"}, {"logical_date": None, "conf": {"x": 1}})
    assert (request.method, request.path) == ("POST", "/api/v2/dags/a%2Fb/dagRuns")
    problems = operation.find_problems({}, {"logical_date": 5, "cnof": {}})
    assert "parameter 'dag_id' is required" in problems
    assert any("cnof" in problem and "'conf'" in problem for problem in problems)


def test_the_bundled_agents_description_loads() -> None:
    from demo_agent.app import create_app
    from demo_agent.settings import Settings

    offer = read(create_app(Settings(token="t")).openapi())
    assert offer.warnings == ()
    assert OperationDefinition("generateModels", find(offer, "generateModels").definition).body
