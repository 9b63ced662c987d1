"""Every migration with data in every table: what both ends can hold is kept, up and down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import psycopg
from sqlalchemy import make_url

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.records import schema

Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]

KEYS = {
    "project_member": ("project_id", "username"),
    "project_file": ("generated_project_id", "path"),
    "project_commit": ("generated_project_id", "position"),
    "file_change": ("generated_project_id", "path", "position"),
    "agent_circuit": ("connection",),
    "agent_description": ("connection",),
    "host_pace": ("account",),
    "requested_run": ("key",),
    "notification": ("event_id", "channel"),
    "notification_channel": ("name",),
}

# What is written at each revision, so that every table and status of it has rows. Generated projects are 1 to 7.
FILL = {
    "0001": """
        CREATE FUNCTION make_id(number int) RETURNS uuid LANGUAGE sql AS
            $$ SELECT lpad(number::text, 32, '0')::uuid $$;
        INSERT INTO project (slug, name) VALUES ('open', 'Open'), ('members', 'Members');
        INSERT INTO project_member VALUES (2, 'ada', 'owner');
        INSERT INTO generated_project (id, project_id, name, workflow, dag_id, run_id, run_at, params)
        SELECT make_id(n), 1 + n % 2, 'x', 'x', 'x', 'run ' || n, now(), '{"a": [1, "\\u0000"]}'
        FROM generate_series(1, 5) n;
        UPDATE generated_project SET status = 'generating', head_commit = 'c', file_count = 2, size_bytes = 6
        WHERE id <> make_id(5);
        UPDATE generated_project SET status = 'ready', expires_at = now() + interval '30 days'
        WHERE id IN (make_id(1), make_id(3), make_id(4));
        UPDATE generated_project SET status = 'failed', error = 'no' WHERE id = make_id(2);
        UPDATE generated_project SET status = 'expired' WHERE id IN (make_id(3), make_id(4));
        UPDATE generated_project SET status = 'deleted' WHERE id = make_id(4);
        INSERT INTO project_file
        SELECT make_id(n), path, repeat('a', 64), 3, 33188, 'step:' || step, step
        FROM (VALUES (1, 'b', 'more'), (1, 'a', 'files'), (1, 'a/ü', 'files'), (2, 'a', 'files')) f (n, path, step);
        INSERT INTO agent_call (id, generated_project_id, step_id, connection, operation, request_digest, response, cost)
        SELECT make_id(n), make_id(1), 's', 'agent', 'o', 'd', '{"x": "\\u0000"}', 0.000000001
        FROM generate_series(11, 13) n;
        UPDATE agent_call SET status = 'answered' WHERE id = make_id(11);
        UPDATE agent_call SET status = 'failed', error = 'no' WHERE id = make_id(12);
        INSERT INTO endpoint (connection, operation_id, method, path, spec_digest) VALUES ('agent', 'o', 'GET', '/', 'd');
        INSERT INTO repository_export
            (id, generated_project_id, step_id, target, options, idempotency_key, "commit")
        SELECT make_id(n), make_id(CASE n WHEN 24 THEN 2 ELSE 1 END), 's', 'archive', '{}', 'key ' || n, 'c'
        FROM generate_series(21, 24) n;
        UPDATE repository_export SET status = 'exporting' WHERE id <> make_id(21);
        UPDATE repository_export SET status = 'exported', archive_path = '/a' WHERE id = make_id(22);
        UPDATE repository_export SET status = 'failed', error = 'no' WHERE id = make_id(23);
    """,
    "0002": """
        INSERT INTO project_commit VALUES (make_id(1), 2, 'move', repeat('a', 40));
        INSERT INTO file_change VALUES
            (make_id(1), 2, 'c', 'b', repeat('b', 64), 4, 33261, 'step:move'),
            (make_id(1), 2, 'b', NULL, NULL, NULL, NULL, NULL);
    """,
    "0003": """
        INSERT INTO agent_call
            (id, generated_project_id, step_id, connection, operation, request_digest, idempotency_key, job, part_of)
        VALUES
            (make_id(14), make_id(1), 's', 'agent', 'o', 'd', 'one', '{"id": 7}', NULL),
            (make_id(15), make_id(1), 's', 'agent', 'o', 'd', 'two', NULL, make_id(11));
        UPDATE agent_call SET status = 'waiting' WHERE id = make_id(14);
        UPDATE agent_call SET in_doubt = true WHERE id = make_id(12);
        INSERT INTO agent_circuit VALUES ('agent', 'open', 5, now(), 'away');
    """,
    "0004": """
        INSERT INTO agent_description (connection, kind, source, base_url, title, version, description, digest, warnings)
        VALUES ('agent', 'openapi', 's', 'u', 't', '1', '', repeat('a', 64), '[]');
        UPDATE agent_description SET version = '2', digest = repeat('b', 64);
        INSERT INTO endpoint (connection, operation_id, method, path, summary, definition, digest)
        VALUES ('agent', 'o', 'GET', '/', '', '{}', repeat('a', 64));
    """,
    "0005": """
        UPDATE repository_export SET remote_id = '7', created_remote = true, location = 'https://host', steps_done = '{a}'
        WHERE id = make_id(23);
        UPDATE repository_export SET status = 'rolled_back' WHERE id = make_id(23);
        INSERT INTO host_pace (account, writes) VALUES ('host', ARRAY[now()]);
    """,
    "0006": """
        UPDATE project SET description = 'd', visibility = 'public' WHERE id = 1;
        UPDATE project_member SET role = 'member';
        UPDATE generated_project SET held = true, hold_reason = 'r', held_by = 'ada' WHERE id = make_id(2);
        INSERT INTO generated_project (id, project_id, name, workflow, dag_id, run_id, run_at, params)
        VALUES (make_id(6), 1, 'x', 'x', 'x', 'run 6', now(), '{}');
        DELETE FROM generated_project WHERE id = make_id(6);
        UPDATE repository_export SET dag_id = 'x', run_id = 'run 1' WHERE id = make_id(22);
        INSERT INTO requested_run (key, dag_id, run_id, generated_project_id, username, request_digest)
        VALUES ('k', 'x', 'run 1', make_id(1), 'ada', 'd');
    """,
    "0007": """
        INSERT INTO notification_channel (name) VALUES ('chat');
        INSERT INTO notification (event_id, channel) SELECT id, 'chat' FROM event WHERE kind IN ('status', 'changed');
    """,
    "0008": """
        INSERT INTO generated_project (id, project_id, name, workflow, dag_id, run_id, run_at, params)
        VALUES (make_id(7), 1, 'x', 'x', 'x', 'run 7', now(), '{}');
        UPDATE generated_project SET status = 'generating' WHERE id = make_id(7);
        UPDATE generated_project SET status = 'ready' WHERE id = make_id(7);
        UPDATE generated_project SET removal_reason = 'age', removal_run = 'r' WHERE id = make_id(3);
        UPDATE installation SET has_directory = true;
    """,
}


def forget_endpoints(rows: Rows) -> None:
    rows["endpoint"].clear()


def let_what_is_kept_expire(rows: Rows) -> None:
    for row in rows["generated_project"].values():
        if row["status"] == "ready" and row["expires_at"] is None:
            row["expires_at"] = ANY


def forget_changes(rows: Rows) -> None:
    tables = ("generated_project", "repository_export")
    for key, row in list(rows["event"].items()):
        if row["project_id"] is not None or (row["subject"] in tables and row["kind"] in ("changed", "deleted")):
            del rows["event"][key]


def fail_what_was_rolled_back(rows: Rows) -> None:
    for row in rows["repository_export"].values():
        if row["status"] == "rolled_back":
            row |= {"status": "failed", "error": "it was rolled back", "updated_at": ANY}


def fail_what_waits(rows: Rows) -> None:
    for key, row in list(rows["agent_call"].items()):
        row["idempotency_key"] = row["id"]
        if row["part_of"] is not None:
            del rows["agent_call"][key]
        elif row["status"] == "waiting":
            row |= {"status": "failed", "error": "the records went back to an earlier version", "updated_at": ANY}


# What a migration does to what both ends could hold, by the later revision.
UP: dict[str, Callable[[Rows], None]] = {"0004": forget_endpoints}
DOWN: dict[str, Callable[[Rows], None]] = {
    "0008": let_what_is_kept_expire,
    "0006": forget_changes,
    "0005": fail_what_was_rolled_back,
    "0004": forget_endpoints,
    "0003": fail_what_waits,
}


def read_all(connection: psycopg.Connection[Any]) -> Rows:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
    rows: Rows = {}
    for (table,) in connection.execute(query).fetchall():
        if table != "alembic_version":
            found = [row for (row,) in connection.execute(f"SELECT row_to_json(t) FROM {table} t")]
            rows[table] = {tuple(row[column] for column in KEYS.get(table, ("id",))): row for row in found}
    return rows


def assert_kept(before: Rows, after: Rows, *, where: str) -> None:
    for table in before.keys() & after.keys():
        # Triggers write events of what a migration itself changes.
        gone = before[table].keys() - after[table].keys()
        more = after[table].keys() - before[table].keys() if table != "event" else set()
        assert (gone, more) == (set(), set()), f"{where}: {table}"
        for key, row in before[table].items():
            kept = after[table][key]
            assert {name: row[name] for name in row.keys() & kept.keys()} == {
                name: kept[name] for name in row.keys() & kept.keys()
            }, f"{where}: {table}"


def test_every_migration_keeps_what_both_ends_can_hold(postgres: EmbeddedPostgres, empty_database: str) -> None:
    url = make_url(postgres.url(empty_database, driver="psycopg"))
    revisions = sorted(FILL)
    assert revisions[-1] == schema.LATEST_REVISION
    with psycopg.connect(postgres.url(empty_database), autocommit=True) as connection:

        def go(revision: str, expected: Rows, change: Callable[[Rows], None] | None, where: str) -> Rows:
            schema.migrate(url, revision=revision)
            if change is not None:
                change(expected)
            found = read_all(connection)
            assert_kept(expected, found, where=where)
            return found

        rows: Rows = {}
        for revision in revisions:
            go(revision, rows, UP.get(revision), f"up to {revision}")
            # Each statement is a transaction of its own, and has a time of its own.
            for statement in split(FILL[revision]):
                connection.execute(statement)
            rows = read_all(connection)
            assert [table for table, found in rows.items() if not found] == []
        for left, revision in zip(reversed(revisions), [*reversed(revisions[:-1]), None], strict=True):
            if revision is not None:
                rows = go(revision, rows, DOWN.get(left), f"down from {left}")
        for revision in revisions[1:]:
            rows = go(revision, rows, None, f"up again to {revision}")
        assert schema.migrate(url, revision="base") == "base"
        assert read_all(connection) == {}


def split(script: str) -> list[str]:
    return [statement for statement in script.split(";\n") if statement.strip()]
