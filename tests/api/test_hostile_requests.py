"""Requests that no schema describes: what is refused is refused as a problem, and never an error of ours."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Api
from tests.api.scenes import Scene

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def scene(simple_api: Api) -> Scene:
    made = Scene(records=simple_api.records, settings=simple_api.settings)
    made.project = made.make_project()
    return made


@pytest.fixture(scope="module")
def url(scene: Scene) -> str:
    return f"/projects/{scene.project}/generated/{scene.generate()}"


def check_refused(answer: httpx2.Response, status: int, sentence: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert problem["status"] == status
    assert sentence in problem["detail"], problem


def forge_cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"workflow": "plain", "params": {"passphrase": "a\\u0000b"}}', "/params: there is a NUL"),
        (
            '{"workflow": "plain", "params": {"passphrase": "\\ud800"}}',
            "/params: there is a NUL or half of a character",
        ),
        ('{"workflow": "plain", "params": {"\\udfff": [{"a": 1}]}}', "/params: there is a NUL or half of a character"),
        ('{"workflow": "plain", "params": {"count": [{"a": NaN}]}}', "nan is in it; accepted are the numbers of JSON"),
        ('{"workflow": "plain", "params": {"count": 1e999}}', "inf is in it"),
        ('{"workflow": "plain", "\\ud800": 1}', "unable to parse raw data as a unicode string"),
        ('{"workflow": "\\ud800"}', "/workflow"),
        ('{"workflow": ', "the body is not JSON"),
        ('"workflow"', "dictionary"),
    ],
)
def test_text_and_numbers_that_cannot_be_kept(simple_api: Api, scene: Scene, content: str, sentence: str) -> None:
    answer = simple_api.ask("POST", f"/projects/{scene.project}/generated", content=content, headers=JSON)
    check_refused(answer, 422, sentence)


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b'{"slug": 1' + b"0" * 5_000 + b"}"])
def test_bodies_that_cannot_be_read(simple_api: Api, content: bytes) -> None:
    check_refused(simple_api.ask("POST", "/projects", content=content, headers=JSON), 400, "parsing the body")


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/json-patch+json", ""])
def test_bodies_that_are_no_json(simple_api: Api, scene: Scene, media_type: str) -> None:
    answer = simple_api.ask("POST", "/projects", content="{}", headers={"Content-Type": media_type})
    check_refused(answer, 415, f"the body's type is {media_type!r}; accepted is 'application/json'")


def test_bodies_that_are_too_large(simple_api: Api) -> None:
    content = b" " * (simple_api.settings.api_max_body_size + 1)
    check_refused(simple_api.ask("POST", "/projects", content=content, headers=JSON), 413, "the body is larger than")
    parts = iter([content])
    check_refused(simple_api.ask("POST", "/projects", content=parts, headers=JSON), 413, "the body is larger than")


@pytest.mark.parametrize(
    ("cursor", "sentence"),
    [
        ("AAAA", "it is none of ours"),
        (forge_cursor("slug", False, "\ud800", ""), "it is none of ours"),
        (forge_cursor("slug", False, "\0", ""), "it is none of ours"),
        (forge_cursor("slug", False, 1, 2), "it is none of ours"),
        (forge_cursor(*["slug"] * 9), "it is none of ours"),
        (forge_cursor("name", False, "a", "b"), "it belongs to another order"),
    ],
)
def test_cursors_that_are_none(simple_api: Api, cursor: str, sentence: str) -> None:
    check_refused(simple_api.ask("GET", f"/projects?cursor={cursor}"), 422, sentence)


@pytest.mark.parametrize(
    ("moment", "sentence"),
    [
        ("0", "accepted is a date and time with an offset"),
        ("1600000000", "accepted is a date and time with an offset"),
        ("2026-03-02", "accepted is a date and time with an offset"),
        ("2026-03-02T09:30:00", "timezone"),
        ("0001-01-01T00:00:00+14:00", "not within the years 1 to 9999"),
        ("9999-12-31T23:59:59-14:00", "not within the years 1 to 9999"),
    ],
)
def test_moments_that_are_none(simple_api: Api, url: str, moment: str, sentence: str) -> None:
    check_refused(simple_api.ask("GET", "/generated", params={"created_from": moment}), 422, sentence)
    body = {"reason": "wanted", "until": moment}
    check_refused(simple_api.ask("POST", f"{url}/hold", json=body), 422, sentence)


def test_a_number_is_no_moment(simple_api: Api, url: str) -> None:
    body = {"reason": "wanted", "until": 1_600_000_000}
    check_refused(simple_api.ask("POST", f"{url}/hold", json=body), 422, "accepted is a date and time with an offset")


@pytest.mark.parametrize(
    "path",
    [
        "/projects?search=%00",
        "/projects?member=%00",
        "/projects/x%00y",
        "/agents?kind=%00",
        "/agents/%00",
        "/templates/%00",
        "{url}/events?kind=%00",
        "{url}/events?subject=%00",
        "{url}/content/%00",
        "{url}/tree?path=%00",
        "{url}/files?commit=%00",
        "/projects?limit=99999999999999999999999999",
        "/projects?limit=null",
    ],
)
def test_parameters_that_cannot_be_kept(simple_api: Api, url: str, path: str) -> None:
    check_refused(simple_api.ask("GET", path.format(url=url)), 422, ": ")


def test_other_methods_are_told_all_that_there_are(simple_api: Api) -> None:
    document = simple_api.ask("GET", "/openapi.json").json()
    for path, operations in document["paths"].items():
        values = dict.fromkeys(("generated_id", "export_id"), "6a1f3c52-9d54-5c7e-8a5e-0d8c6f2b7e11")
        names = {
            name: values.get(name, "x") for name in ("project", "username", "workflow", "name", "connection", "path")
        }
        answer = simple_api.ask("TRACE", path.removeprefix("/api/v1").format(**values, **names))
        assert answer.status_code == 405, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["allow"].split(", ") == sorted(method.upper() for method in operations), path
