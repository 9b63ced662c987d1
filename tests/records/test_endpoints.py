from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.errors import InvalidParametersError, RecordNotFoundError
from scaffolder.records import schema
from scaffolder.records.endpoints import EndpointChanges, Offer, OfferedEndpoint
from scaffolder.records.store import ProjectRecords


def make_endpoint(name: str, *, note: str = "", path: str | None = None) -> OfferedEndpoint:
    definition = {"openapi": "3.1.0", "paths": {f"/{name}": {"get": {"description": note}}}}
    digest = hashlib.sha256(json.dumps(definition).encode()).hexdigest()
    return OfferedEndpoint(
        operation_id=name,
        method="GET",
        path=path or f"/{name}",
        summary=f"About {name}",
        definition=definition,
        digest=digest,
    )


def make_offer(*endpoints: OfferedEndpoint, **values: Any) -> Offer:
    given: dict[str, Any] = {
        "kind": "openapi",
        "source": "https://agent.example.com/openapi.json",
        "title": "Agent",
        "version": "1",
        "description": "",
        "etag": '"1"',
        "warnings": ("one",),
        "digest": hashlib.sha256("".join(one.digest for one in endpoints).encode()).hexdigest(),
    }
    return Offer(**(given | values), endpoints=endpoints)


def list_versions(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Where each row is on disk: another place means that it was written again."""
    return {
        str(row[0]): str(row[1]) for row in connection.execute("SELECT operation_id, ctid FROM endpoint").fetchall()
    }


def test_the_first_look_adds_everything(records: ProjectRecords) -> None:
    changes = records.endpoints.write("agent", make_offer(make_endpoint("b"), make_endpoint("a")))
    assert changes == EndpointChanges(added=("b", "a"))
    description = records.endpoints.get_description("agent")
    assert (description.kind, description.title, description.etag, description.warnings) == (
        "openapi",
        "Agent",
        '"1"',
        ["one"],
    )
    assert description.checked_at == description.changed_at
    found = records.endpoints.list_endpoints("agent", with_definitions=True)
    assert [one.operation_id for one in found] == ["a", "b"]
    assert found[0].definition == make_endpoint("a").definition
    assert [one.definition for one in records.endpoints.list_endpoints("agent")] == [{}, {}]
    assert records.endpoints.get_endpoint("agent", "b") == found[1]
    assert records.endpoints.list_descriptions() == [description]


def test_only_what_differs_is_written_again(records: ProjectRecords, connection: psycopg.Connection[Any]) -> None:
    records.endpoints.write("agent", make_offer(make_endpoint("a"), make_endpoint("b"), make_endpoint("c")))
    before = list_versions(connection)
    changes = records.endpoints.write(
        "agent", make_offer(make_endpoint("a"), make_endpoint("b", note="new"), make_endpoint("d"))
    )
    assert changes == EndpointChanges(added=("d",), changed=("b",), gone=("c",))
    after = list_versions(connection)
    assert {name for name in before if before[name] != after[name]} == {"b", "c"}
    changed = records.endpoints.get_endpoint("agent", "b")
    assert changed.definition == make_endpoint("b", note="new").definition
    assert changed.first_seen_at < changed.changed_at
    assert records.endpoints.get_endpoint("agent", "c").gone_at is not None


def test_what_comes_back_is_no_longer_gone(records: ProjectRecords) -> None:
    records.endpoints.write("agent", make_offer(make_endpoint("a"), make_endpoint("b")))
    records.endpoints.write("agent", make_offer(make_endpoint("b")))
    changes = records.endpoints.write("agent", make_offer(make_endpoint("a", note="again"), make_endpoint("b")))
    assert changes == EndpointChanges(added=("a",))
    found = records.endpoints.get_endpoint("agent", "a")
    assert (found.gone_at, found.definition) == (None, make_endpoint("a", note="again").definition)


def test_a_look_that_finds_nothing_new_changes_only_the_time(
    records: ProjectRecords, connection: psycopg.Connection[Any]
) -> None:
    records.endpoints.write("agent", make_offer(make_endpoint("a")))
    before, rows = records.endpoints.get_description("agent"), list_versions(connection)
    records.endpoints.confirm("agent")
    after = records.endpoints.get_description("agent")
    assert after.checked_at > before.checked_at
    assert replace(after, checked_at=before.checked_at) == before
    assert list_versions(connection) == rows


def test_agents_are_kept_apart(records: ProjectRecords) -> None:
    records.endpoints.write("one", make_offer(make_endpoint("a")))
    records.endpoints.write("two", make_offer(make_endpoint("b")))
    assert records.endpoints.write("one", make_offer()) == EndpointChanges(gone=("a",))
    assert records.endpoints.get_endpoint("two", "b").gone_at is None


def test_freshness_is_judged_by_the_databases_clock(
    records: ProjectRecords, connection: psycopg.Connection[Any]
) -> None:
    assert not records.endpoints.is_fresh("agent", max_age_seconds=10)
    records.endpoints.write("agent", make_offer())
    assert records.endpoints.is_fresh("agent", max_age_seconds=10)
    connection.execute("UPDATE agent_description SET checked_at = now() - interval '11 seconds'")
    assert not records.endpoints.is_fresh("agent", max_age_seconds=10)


def test_what_is_not_there_is_named(records: ProjectRecords) -> None:
    with pytest.raises(RecordNotFoundError, match="there is no description of agent 'nobody'"):
        records.endpoints.get_description("nobody")
    with pytest.raises(RecordNotFoundError, match="agent 'nobody' has no endpoint 'x'"):
        records.endpoints.get_endpoint("nobody", "x")
    assert (records.endpoints.find_description("nobody"), records.endpoints.find_endpoint("nobody", "x")) == (
        None,
        None,
    )


def test_a_description_writes_events_when_it_is_new_and_when_it_changes(
    records: ProjectRecords, connection: psycopg.Connection[Any]
) -> None:
    offer = make_offer(make_endpoint("a"))
    for one in (offer, offer, make_offer(make_endpoint("b"), version="2")):
        records.endpoints.write("agent", one)
    rows = connection.execute("SELECT subject, subject_id, kind, detail FROM event ORDER BY id").fetchall()
    assert rows == [
        ("agent_description", "agent", "created", {"title": "Agent", "version": "1"}),
        ("agent_description", "agent", "changed", {"title": "Agent", "version": "2"}),
    ]


def test_text_that_postgres_takes_none_of_is_replaced(records: ProjectRecords) -> None:
    endpoint = replace(make_endpoint("a"), summary="x\0y\ud800", definition={"text": "\0 \ud83d\ude00"})
    records.endpoints.write("agent", make_offer(endpoint, title="\0T", etag=None))
    found = records.endpoints.get_endpoint("agent", "a")
    assert (found.summary, records.endpoints.get_description("agent").title) == ("xy?", "T")


def test_a_definition_that_is_no_json_leaves_everything_as_it_was(records: ProjectRecords) -> None:
    records.endpoints.write("agent", make_offer(make_endpoint("a")))
    broken = replace(make_endpoint("b"), definition={"x": float("nan")})
    with pytest.raises(InvalidParametersError, match="not JSON"):
        records.endpoints.write("agent", make_offer(broken, title="New"))
    assert records.endpoints.get_description("agent").title == "Agent"
    assert [one.gone_at for one in records.endpoints.list_endpoints("agent")] == [None]


def test_eight_tasks_that_look_at_once_add_each_endpoint_once(
    postgres: EmbeddedPostgres, records_database: str
) -> None:
    offer = make_offer(*(make_endpoint(f"operation{index}") for index in range(100)))
    changes: list[EndpointChanges] = []
    start = threading.Barrier(8)

    def write() -> None:
        with psycopg.connect(postgres.url(records_database), autocommit=True) as own:
            start.wait()
            changes.append(ProjectRecords(own).endpoints.write("agent", offer))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(one.added) for one in changes) == [0] * 7 + [100]
    assert all(not one.changed and not one.gone for one in changes)


def test_a_large_description_is_written_and_compared_in_seconds(records: ProjectRecords) -> None:
    endpoints = [make_endpoint(f"operation{index}", note="x" * 10_000) for index in range(1_200)]
    started = time.monotonic()
    assert len(records.endpoints.write("agent", make_offer(*endpoints)).added) == 1_200
    changed = [make_endpoint(f"operation{index}", note="y" * 10_000) for index in range(1_200)]
    assert len(records.endpoints.write("agent", make_offer(*changed)).changed) == 1_200
    assert records.endpoints.write("agent", make_offer(*changed)) == EndpointChanges()
    assert time.monotonic() - started < 20


def test_the_migration_goes_back_and_forward_with_rows_there(postgres: EmbeddedPostgres, empty_database: str) -> None:
    url = make_url(postgres.url(empty_database, driver="psycopg"))
    schema.migrate(url, revision="0003")
    with psycopg.connect(postgres.url(empty_database), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO endpoint (connection, operation_id, method, path, spec_digest) VALUES ('a', 'b', 'GET', '/', 'c')"
        )
        schema.migrate(url)
        ProjectRecords(connection).endpoints.write("agent", make_offer(make_endpoint("a")))
        schema.migrate(url, revision="0003")
        assert connection.execute("SELECT count(*) FROM endpoint").fetchall() == [(0,)]
        schema.migrate(url)
        assert ProjectRecords(connection).endpoints.write("agent", make_offer(make_endpoint("a"))).added == ("a",)


def test_an_agent_that_is_forgotten_leaves_nothing_and_the_others_alone(records: ProjectRecords) -> None:
    for name in ("one", "two"):
        records.endpoints.write(name, make_offer(make_endpoint("a")), base_url=f"https://{name}.example.com")
    records.endpoints.forget("one")
    assert [(one.connection, one.base_url) for one in records.endpoints.list_descriptions()] == [
        ("two", "https://two.example.com")
    ]
    assert records.endpoints.list_endpoints("one") == []
    assert len(records.endpoints.list_endpoints("two")) == 1
    records.endpoints.forget("nobody")
