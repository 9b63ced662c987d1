from __future__ import annotations

from typing import Any

import pytest

from scaffolder.agents.rest.undescribed import build_request
from scaffolder.errors import AgentRejectedError


@pytest.mark.parametrize(
    "path, parameters, target, query",
    [
        ("/v1/items", {}, "/v1/items", ()),
        ("/v1/items/{id}", {"id": 7, "full": True}, "/v1/items/7", (("full", "true"),)),
        ("/v1/{a}/{b}-{a}", {"b": "x y/z", "a": "ü"}, "/v1/%C3%BC/x%20y%2Fz-%C3%BC", ()),
        ("/v1/{a}/{b}", {"a": "{b}", "b": "%2e"}, "/v1/%7Bb%7D/%252e", ()),
        (
            "/jobs:run",
            {"tag": ["b", "a"], "none": None, "n": 1.5},
            "/jobs:run",
            (("tag", "b"), ("tag", "a"), ("n", "1.5")),
        ),
        ("/a%2Fb/é", {"q": "x&y=z"}, "/a%2Fb/%C3%A9", (("q", "x&y=z"),)),
    ],
)
def test_parameters_fill_the_path_first_and_the_query_with_the_rest(
    path: str, parameters: dict[str, Any], target: str, query: tuple[tuple[str, str], ...]
) -> None:
    request = build_request("GET", path, parameters=parameters, body=None)
    assert (request.path, request.query) == (target, query)
    assert request.content is request.content_type is None


@pytest.mark.parametrize(
    "body, content", [({"a": [1]}, b'{"a": [1]}'), ([], b"[]"), ("text", b'"text"'), (False, b"false")]
)
def test_the_body_is_json(body: Any, content: bytes) -> None:
    request = build_request("POST", "/x", parameters={}, body=body)
    assert (request.content, request.content_type) == (content, "application/json")


@pytest.mark.parametrize(
    "method, path, parameters, body, problem",
    [
        ("GET", "items", {}, None, "accepted as path is one below"),
        ("GET", "//evil.example/x", {}, None, "accepted as path is one below"),
        ("GET", "https://evil.example/x", {}, None, "accepted as path is one below"),
        ("GET", "/x?a=1", {}, None, r"without '\?'"),
        ("GET", "/x\ny", {}, None, r"without '\?'"),
        ("GET", "/v1/../admin", {}, None, r"without '\.' and '\.\.'"),
        ("GET", "/v1/%2e%2E/admin", {}, None, r"without '\.' and '\.\.'"),
        ("GET", "/v1/{id}", {}, None, "parameter 'id' is missing"),
        ("GET", "/v1/{id}", {"id": None}, None, "parameter 'id' is a NoneType; accepted are text"),
        ("GET", "/v1/{id}", {"id": ".."}, None, "parameter 'id' is '..'; accepted is what can be part of a path"),
        ("GET", "/v1/{id}", {"id": ""}, None, "parameter 'id' is ''; accepted is what can be part of a path"),
        ("GET", "/v1/{id}", {"id": [1]}, None, "parameter 'id' is a list"),
        ("GET", "/x", {"a": {"b": 1}}, None, "parameter 'a' is a dict; accepted are text, numbers"),
        ("GET", "/x", {"a": [[1]]}, None, "parameter 'a' is a list; accepted are text, numbers"),
        ("GET", "/x", {}, {"a": 1}, "body goes with GET; accepted are parameters"),
        ("POST", "/x", {}, {"a": float("nan")}, "body is not JSON"),
        ("POST", "/x", {}, {"a": object()}, "body is not JSON"),
    ],
)
def test_refuses_what_cannot_be_sent(
    method: str, path: str, parameters: dict[str, Any], body: Any, problem: str
) -> None:
    with pytest.raises(AgentRejectedError, match=f"was not sent: .*{problem}"):
        build_request(method, path, parameters=parameters, body=body)


def test_names_everything_that_is_wrong_at_once() -> None:
    with pytest.raises(AgentRejectedError) as raised:
        build_request("GET", "/../{a}", parameters={"b": {}}, body=1)
    assert str(raised.value).count(";") >= 3
