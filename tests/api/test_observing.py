"""What the API server tells of requests: metrics, the id of each, and the fields of its log's lines."""

from __future__ import annotations

import json
import re
from uuid import uuid4

import pytest

from scaffolder.observability.metrics import METRICS
from tests.api.conftest import Api
from tests.api.scenes import Scene
from tests.api.test_events import listening
from tests.statsd_receiver import Sent, read_metrics

ROUTE = "/api/v1/projects/_project_/generated/_generated_id_"


@pytest.fixture
def scene(simple_api: Api) -> Scene:
    made = Scene(records=simple_api.records, settings=simple_api.settings)
    made.project = made.make_project()
    read_metrics(simple_api.metrics, quiet_seconds=0.05)
    return made


def count(sent: list[Sent], name: str) -> list[tuple[dict[str, str], float]]:
    return [(tags, value) for sent_name, tags, value in sent if sent_name == name]


def test_requests_are_counted_by_route_method_and_status(simple_api: Api, scene: Scene) -> None:
    path = f"/projects/{scene.project}/generated/{scene.generate()}"
    for user in ("olga", None):
        simple_api.ask("GET", path, user=user)
    simple_api.ask("GET", f"{path}x")
    simple_api.ask("PROPFIND", "/nowhere")
    sent = read_metrics(simple_api.metrics)
    expected = [
        {"route": ROUTE, "method": "GET", "status": "200"},
        {"route": ROUTE, "method": "GET", "status": "401"},
        {"route": ROUTE, "method": "GET", "status": "422"},
        {"route": "none", "method": "other", "status": "404"},
    ]
    assert [tags for tags, _ in count(sent, "scaffolder.api.requests")] == expected
    assert [tags for tags, _ in count(sent, "scaffolder.api.latency")] == expected
    assert {name for name, _, _ in sent} <= set(METRICS)


def test_open_streams_are_told(simple_api: Api, scene: Scene) -> None:
    with listening(simple_api, f"/projects/{scene.project}/generated/{scene.generate()}") as events:
        next(events)
        assert [value for _, value in count(read_metrics(simple_api.metrics), "scaffolder.api.streams_open")] == [1]


def test_refused_quotas_are_counted(simple_api: Api, scene: Scene) -> None:
    slug = scene.make_project(f"quota-{uuid4().hex[:8]}")
    scene.generate(project=slug)
    answer = simple_api.ask("POST", f"/projects/{slug}/generated", json={"workflow": "plain", "params": {}})
    assert answer.status_code == 409, answer.text
    assert count(read_metrics(simple_api.metrics), "scaffolder.quota.refused") == [({"where": "api"}, 1)]


@pytest.mark.parametrize("given", ["trace-1.a_B", "a" * 128])
def test_a_request_keeps_its_id(simple_api: Api, given: str) -> None:
    assert simple_api.ask("GET", "/projects", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", 'a"}', "é"])
def test_an_id_that_could_be_something_else_is_replaced(simple_api: Api, given: str) -> None:
    answer = simple_api.ask("GET", "/nowhere", headers={"X-Request-ID": given.encode()})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_what_goes_wrong_is_logged_with_the_request_and_what_it_is_about(simple_api: Api, scene: Scene) -> None:
    key = scene.generate(status="ready")
    simple_api.connection.execute("ALTER TABLE generated_project RENAME TO gone")
    try:
        answer = simple_api.ask(
            "GET", f"/projects/{scene.project}/generated/{key}", headers={"X-Request-ID": "of-the-test"}
        )
    finally:
        simple_api.connection.execute("ALTER TABLE gone RENAME TO generated_project")
    assert answer.status_code >= 500
    lines = [line for line in simple_api.server.log.read_text().splitlines() if "of-the-test" in line]
    line = next(json.loads(line) for line in lines if "A request failed" in line)
    assert (
        line.items()
        >= {
            "request_id": "of-the-test",
            "project": scene.project,
            "generated_project_id": str(key),
            "level": "error",
        }.items()
    )
