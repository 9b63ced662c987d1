"""Events in pages and as they happen."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from scaffolder.records.models import Charge, MemberRole
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from tests.api.conftest import Api
from tests.api.scenes import Scene
from tests.factories import begin_call


@pytest.fixture
def scene(simple_api: Api) -> Scene:
    made = Scene(records=simple_api.records, settings=simple_api.settings)
    made.project = made.make_project()
    return made


@contextmanager
def listening(api: Api, url: str, *, user: str = "olga", **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the events of a stream as they come."""
    headers["Authorization"] = f"Bearer {api.server.token(user)}"
    with api.server.client.stream("GET", f"/scaffolder/api/v1{url}/events/stream", headers=headers) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        yield read_events(answer.iter_lines())


def read_events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if not line:
            if found:
                yield {"id": int(found["id"]), "event": found["event"], "data": json.loads(found["data"])}
            found = {}
            continue
        name, _, value = line.partition(": ")
        found[name] = value


def test_what_happens_is_sent_as_it_happens(simple_api: Api, scene: Scene) -> None:
    key = scene.generate(status="generating")
    url = f"/projects/{scene.project}/generated/{key}"
    listed = simple_api.ask("GET", f"{url}/events").json()["items"]
    with listening(simple_api, url) as events:
        first = [next(events) for _ in listed]
        assert [one["data"] for one in first] == listed
        began = time.monotonic()
        scene.records.set_actor("eve\n\nid: 1\ndata: forged")
        scene.records.mark_failed(key, error="line\none\n\nevent: forged", rules=keep_days(7))
        scene.records.set_actor(None)
        last = next(events)
        assert time.monotonic() - began < 10
        assert (last["event"], last["data"]["detail"]["to"]) == ("status", "failed")
        assert last["data"]["actor"] == "eve\n\nid: 1\ndata: forged"


def test_after_a_break_nothing_is_missing(simple_api: Api, scene: Scene) -> None:
    key = scene.generate(status="generating")
    url = f"/projects/{scene.project}/generated/{key}"
    simple_api.connection.execute(
        "UPDATE event SET at = at - interval '1 hour' WHERE generated_project_id = %s", (key,)
    )
    listed = [one["id"] for one in simple_api.ask("GET", f"{url}/events").json()["items"]]
    with listening(simple_api, url, **{"Last-Event-ID": str(listed[1])}) as events:
        assert [next(events)["id"] for _ in listed[2:]] == listed[2:]


def test_an_event_whose_transaction_ends_late_is_sent(simple_api: Api, scene: Scene) -> None:
    key = scene.generate(status="generating")
    url = f"/projects/{scene.project}/generated/{key}"
    found = scene.records.get_generated_project(key)
    dsn = simple_api.connection.info.dsn
    early, late = uuid4(), uuid4()
    with listening(simple_api, url) as events, psycopg.connect(dsn) as slow:
        begin_call(ProjectRecords(slow), early, found)  # its event has the lower id
        begin_call(scene.records, late, found)
        seen = [event["data"]["subject_id"] for event in _until(events, str(late))]
        assert str(early) not in seen
        slow.commit()
        assert _until(events, str(early))[-1]["data"]["subject_id"] == str(early)


def _until(events: Iterator[dict[str, Any]], subject_id: str) -> list[dict[str, Any]]:
    found = []
    for event in events:
        found.append(event)
        if event["data"]["subject_id"] == subject_id:
            return found
    raise AssertionError(found)


def test_who_is_no_member_any_more_hears_no_more(simple_api: Api, scene: Scene) -> None:
    key = scene.generate(status="generating")
    url = f"/projects/{scene.project}/generated/{key}"
    count = len(simple_api.ask("GET", f"{url}/events").json()["items"])
    with listening(simple_api, url, user="mel") as events:
        for _ in range(count):
            next(events)
        scene.records.projects.remove_member(scene.project, username="mel")
        time.sleep(0.1)
        scene.records.mark_failed(key, error="secret", rules=keep_days(7))
        assert list(events) == []  # the stream ends
    scene.records.projects.set_member(scene.project, username="mel", role=MemberRole.MEMBER)


def test_the_ledger_tells_no_answers(simple_api: Api, scene: Scene) -> None:
    key = scene.generate(status="generating")
    call = uuid4()
    begin_call(scene.records, call, scene.records.get_generated_project(key))
    scene.records.agent_calls.answer(
        call, http_status=200, response={"say": "TOP-SECRET"}, latency_ms=5, charge=Charge()
    )
    answer = simple_api.ask("GET", f"/projects/{scene.project}/generated/{key}/agent-calls")
    [shown] = answer.json()["items"]
    assert (shown["status"], shown["latency_ms"], "TOP-SECRET" in answer.text) == ("answered", 5, False)
    assert {"response", "idempotency_key", "job"}.isdisjoint(shown)


def test_pages_of_events(simple_api: Api, scene: Scene) -> None:
    key = scene.generate()
    url = f"/projects/{scene.project}/generated/{key}/events"
    everything = simple_api.ask("GET", url).json()["items"]
    found, cursor = [], ""
    while True:
        page = simple_api.ask("GET", f"{url}?limit=2{cursor}").json()
        found += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == everything
    kinds = simple_api.ask("GET", f"{url}?kind=status&fields=kind,detail").json()["items"]
    assert kinds
    assert all(one["kind"] == "status" and set(one) == {"kind", "detail"} for one in kinds)
    backwards = simple_api.ask("GET", f"{url}?sort=-id").json()["items"]
    assert backwards == everything[::-1]
