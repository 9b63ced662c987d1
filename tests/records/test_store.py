from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from scaffolder.errors import (
    InvalidParametersError,
    RecordNotFoundError,
    RecordsUnavailableError,
    SchemaVersionError,
    SettingsError,
    StatusTransitionError,
)
from scaffolder.operators.generated_project import find_rolled_back_steps
from scaffolder.records.models import (
    AgentCallStatus,
    ExportStatus,
    FileChange,
    GeneratedProjectStatus,
    ProjectFile,
)
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from tests.factories import RUN_AT, begin_call, make_run, open_project

GENERATED = [status.value for status in GeneratedProjectStatus]
GENERATED_MOVES = {
    ("pending", "generating"),
    ("pending", "failed"),
    ("generating", "ready"),
    ("generating", "failed"),
    ("failed", "generating"),
    ("failed", "expired"),
    ("ready", "expired"),
    ("expired", "deleted"),
}
EXPORT = [status.value for status in ExportStatus]
EXPORT_MOVES = {
    ("pending", "exporting"),
    ("pending", "failed"),
    ("exporting", "exported"),
    ("exporting", "failed"),
    ("failed", "exporting"),
    ("exporting", "rolled_back"),
    ("failed", "exported"),
    ("failed", "rolled_back"),
    ("exported", "rolled_back"),
    ("rolled_back", "exporting"),
}


def put_status(connection: psycopg.Connection[Any], table: str, key: object, status: str) -> None:
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(f"UPDATE {table} SET status = %s WHERE id = %s", (status, key))


def put_generated_status(connection: psycopg.Connection[Any], table: str, key: object, status: str) -> None:
    over = status not in {"pending", "generating"}
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            f"UPDATE {table} SET status = %s, ended_at = CASE WHEN %s THEN now() END WHERE id = %s", (status, over, key)
        )


def find_moves(
    connection: psycopg.Connection[Any],
    table: str,
    key: object,
    statuses: list[str],
    *,
    put: Callable[[psycopg.Connection[Any], str, object, str], None] = put_status,
) -> set[Any]:
    """Try every move and return those that the database lets through."""
    moves = set()
    for old, new in itertools.permutations(statuses, 2):
        put(connection, table, key, old)
        try:
            connection.execute(f"UPDATE {table} SET status = %s WHERE id = %s", (new, key))
        except psycopg.errors.CheckViolation as error:
            assert f"cannot go from {old} to {new}" in str(error)
        else:
            moves.add((old, new))
    return moves


def test_the_database_allows_only_the_moves_of_a_generated_project(
    records: ProjectRecords, connection: psycopg.Connection[Any]
) -> None:
    key = open_project(records).id
    found = find_moves(connection, "generated_project", key, GENERATED, put=put_generated_status)
    assert found == GENERATED_MOVES


def test_the_database_allows_only_the_moves_of_an_export(
    records: ProjectRecords, connection: psycopg.Connection[Any]
) -> None:
    assert find_moves(connection, "repository_export", intend(records).id, EXPORT) == EXPORT_MOVES


def intend(records: ProjectRecords, **values: Any) -> Any:
    generated_project = open_project(records)
    given = {
        "generated_project_id": generated_project.id,
        "step_id": "publish",
        "target": "archive",
        "options": {"format": "zip"},
        "idempotency_key": f"{generated_project.id}:key",
        "commit": "c" * 40,
    }
    return records.exports.intend(uuid4(), **(given | values))


def test_a_generated_project_begins_as_pending(connection: psycopg.Connection[Any], records: ProjectRecords) -> None:
    open_project(records)
    with pytest.raises(psycopg.errors.CheckViolation, match="cannot begin as ready"):
        connection.execute(
            "INSERT INTO generated_project (id, project_id, name, workflow, dag_id, run_id, run_at, params, status)"
            " SELECT gen_random_uuid(), id, 'n', 'w', 'd', 'r', now(), '{}', 'ready' FROM project"
        )


def test_opening_twice_finds_the_same_record(records: ProjectRecords) -> None:
    run = make_run()
    first = open_project(records, run=run, params={"document": "a\0b \ud800"})
    second = open_project(records, run=run)
    assert (first.id, first.status, first.run_at) == (second.id, GeneratedProjectStatus.GENERATING, RUN_AT)
    assert second.params == {"document": "a\0b \ud800"}


def test_a_failed_run_that_is_cleared_goes_on(records: ProjectRecords) -> None:
    run = make_run()
    key = open_project(records, run=run).id
    assert records.mark_failed(key, error="the agent is down", rules=keep_days(7))
    again = open_project(records, run=run)
    assert (again.id, again.status, again.error) == (key, GeneratedProjectStatus.GENERATING, None)


def test_a_ready_generated_project_is_not_opened_again(records: ProjectRecords) -> None:
    run = make_run()
    records.mark_ready(open_project(records, run=run).id, rules=keep_days(30))
    with pytest.raises(StatusTransitionError, match="cannot go from ready to generating"):
        open_project(records, run=run)


def test_failing_keeps_the_first_error_and_leaves_what_is_over(records: ProjectRecords) -> None:
    key = open_project(records).id
    records.record_error(key, error="step 'models' failed: down\0")
    assert records.mark_failed(key, error="steps that did not succeed", rules=keep_days(7))
    assert not records.mark_failed(key, error="again", rules=keep_days(7))
    assert records.get_generated_project(key).error == "step 'models' failed: down"
    ready = open_project(records).id
    records.mark_ready(ready, rules=keep_days(1))
    assert not records.mark_failed(ready, error="late", rules=keep_days(7))
    assert records.get_generated_project(ready).status is GeneratedProjectStatus.READY


def test_expiry_counts_from_the_database_clock(records: ProjectRecords) -> None:
    key = open_project(records).id
    records.mark_ready(key, rules=keep_days(7))
    found = records.get_generated_project(key)
    assert found.expires_at is not None
    assert abs(found.expires_at - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)
    assert found.updated_at >= found.created_at


def make_row(path: str, *, step_id: str = "files", size_bytes: int = 3) -> ProjectFile:
    return ProjectFile(
        path=path,
        sha256=f"{size_bytes:064x}",
        size_bytes=size_bytes,
        mode=0o100644,
        origin="step:files",
        step_id=step_id,
    )


def written(path: str, **values: Any) -> FileChange:
    return FileChange(path=path, file=make_row(path, **values))


@pytest.fixture
def two_commits(records: ProjectRecords) -> UUID:
    """``files`` writes a, b and c; ``more`` writes b anew, deletes c and moves a to d."""
    key = open_project(records).id
    with records.transaction():
        changes = [written(path) for path in "abc"]
        records.write_commit(key, position=0, commits=[("files", "1" * 40)], changes=changes)
        moved = FileChange(path="d", file=make_row("d", step_id="more"), moved_from="a")
        gone = [FileChange(path=path, file=None) for path in "ac"]
        changes = [written("b", step_id="more", size_bytes=4), moved, *gone]
        records.write_commit(key, position=1, commits=[("more", "12" + "3" * 38)], changes=changes)
    return key


def test_the_tree_is_known_at_every_commit(records: ProjectRecords, two_commits: UUID) -> None:
    first, second = records.list_commits(two_commits)
    assert [(one.step_id, one.commit) for one in (first, second)] == [("files", "1" * 40), ("more", "12" + "3" * 38)]
    assert [(file.path, file.step_id) for file in records.list_files(two_commits)] == [("b", "more"), ("d", "more")]
    assert records.list_files(two_commits) == records.list_files(two_commits, at=second)
    assert [(file.path, file.size_bytes) for file in records.list_files(two_commits, at=first)] == [
        ("a", 3),
        ("b", 3),
        ("c", 3),
    ]
    changes = records.list_changes(two_commits, position=1)
    assert [(change.path, change.file is None, change.moved_from) for change in changes] == [
        ("a", True, None),
        ("b", False, None),
        ("c", True, None),
        ("d", False, "a"),
    ]


def test_two_commits_are_compared(records: ProjectRecords, two_commits: UUID) -> None:
    first, second = records.list_commits(two_commits)
    found = records.compare_commits(two_commits, base=first, head=second)
    sizes = [(one.path, one.before and one.before.size_bytes, one.after and one.after.size_bytes) for one in found]
    assert sizes == [("a", 3, None), ("b", 3, 4), ("c", 3, None), ("d", None, 3)]
    back = records.compare_commits(two_commits, base=second, head=first)
    assert [(one.path, one.before, one.after) for one in back] == [(one.path, one.after, one.before) for one in found]
    assert records.compare_commits(two_commits, base=first, head=first) == []


@pytest.mark.parametrize(("name", "position"), [("files", 0), ("more", 1), ("1111", 0), ("123", None), ("12333", 1)])
def test_a_commit_is_found_by_step_or_id(
    records: ProjectRecords, two_commits: UUID, name: str, position: int | None
) -> None:
    if position is None:
        with pytest.raises(
            RecordNotFoundError, match=r"no commit '123'; accepted .* 111111111111 \(files\), 123333333333"
        ):
            records.find_commit(two_commits, name)
    else:
        assert records.find_commit(two_commits, name).position == position


def test_files_of_a_step_are_replaced_and_counted(records: ProjectRecords) -> None:
    key = open_project(records).id
    paths = ["b", "a/ü", "a.txt", 'with\ttab "quoted"']
    with records.transaction():
        records.write_commit(key, position=0, commits=[("files", "1" * 40)], changes=[written(path) for path in paths])
    with records.transaction():
        records.write_commit(key, position=1, commits=[("more", "2" * 40)], changes=[written("z", step_id="more")])
    with records.transaction():
        again = [("files", "3" * 40), ("more", "4" * 40)]
        records.write_commit(key, position=0, commits=again, changes=[written(path) for path in paths[:3]])
    assert [file.path for file in records.list_files(key)] == ["a.txt", "a/ü", "b", "z"]
    found = records.get_generated_project(key)
    assert (found.head_commit, found.file_count, found.size_bytes) == ("4" * 40, 4, 12)


def test_a_transaction_that_fails_leaves_nothing(records: ProjectRecords) -> None:
    key = open_project(records).id
    with pytest.raises(ZeroDivisionError), records.transaction():
        records.write_commit(key, position=0, commits=[("files", "1" * 40)], changes=[written("a")])
        raise ZeroDivisionError
    assert records.list_files(key) == []
    assert records.get_generated_project(key).head_commit is None


def test_an_agent_call_keeps_its_answer_and_counts_attempts(records: ProjectRecords) -> None:
    generated_project, call_id = open_project(records), uuid4()
    begin_call(records, call_id, generated_project)
    records.agent_calls.fail(call_id, error="agent answered 500", latency_ms=3)
    assert records.agent_calls.get(call_id).status is AgentCallStatus.FAILED
    begin_call(records, call_id, generated_project)
    response = {"files": [{"path": "a", "content": "\0\ud800 {{7*7}}"}], "big": 10**30}
    records.agent_calls.answer(call_id, http_status=200, response=response, latency_ms=12)
    call = records.agent_calls.list(generated_project.id)[0]
    assert (call.attempts, call.status, call.error, call.latency_ms) == (2, AgentCallStatus.ANSWERED, None, 12)
    assert call.response == response


def test_values_that_are_not_json_are_refused(records: ProjectRecords) -> None:
    with pytest.raises(InvalidParametersError, match="not JSON"):
        open_project(records, params={"x": float("nan")})


def test_the_same_export_is_recorded_once(records: ProjectRecords) -> None:
    first = intend(records)
    second = intend(records, idempotency_key=first.idempotency_key)
    assert second == first
    records.exports.mark_exporting(first.id)
    records.exports.mark_exported(first.id, url="file:///x.zip", archive_path="/x.zip", archive_sha256="0" * 64)
    found = records.exports.list(first.generated_project_id)
    assert [(one.status, one.url, one.error) for one in found] == [(ExportStatus.EXPORTED, "file:///x.zip", None)]


def test_a_step_that_exported_a_newer_commit_is_not_held_to_what_was_rolled_back(records: ProjectRecords) -> None:
    first = intend(records)
    records.exports.mark_exporting(first.id)
    records.exports.mark_rolled_back(first.id, reason="its run failed")
    key = first.generated_project_id
    assert find_rolled_back_steps(records.exports.list(key)) == ["publish"]
    newer = intend(records, generated_project_id=key, idempotency_key="newer", commit="d" * 40)
    assert find_rolled_back_steps(records.exports.list(key)) == ["publish"]
    records.exports.mark_exporting(newer.id)
    records.exports.mark_exported(newer.id, url="https://x")
    assert find_rolled_back_steps(records.exports.list(key)) == []


def test_every_change_of_status_leaves_an_event_with_its_actor(records: ProjectRecords) -> None:
    records.set_actor("ada")
    key = open_project(records).id
    records.set_actor(None)
    records.mark_failed(key, error="why", rules=keep_days(7))
    events = [(event.kind, event.detail, event.actor) for event in records.list_events(key)]
    expiry = events[-1][1]["expires_at"]
    expiry["to"] = datetime.fromisoformat(expiry["to"])
    assert events == [
        ("created", {"to": "pending"}, "ada"),
        ("status", {"from": "pending", "to": "generating"}, "ada"),
        ("status", {"from": "generating", "to": "failed", "error": "why"}, None),
        ("changed", {"expires_at": {"from": None, "to": records.get_generated_project(key).expires_at}}, None),
    ]


@pytest.mark.parametrize("read", ["get_generated_project", "agent_calls.get", "exports.get"])
def test_names_the_record_that_is_not_there(records: ProjectRecords, read: str) -> None:
    key = uuid4()
    with pytest.raises(RecordNotFoundError, match=str(key)):
        operator.attrgetter(read)(records)(key)


def test_a_database_without_the_schema_names_the_remedy(postgres: Any, empty_database: str) -> None:
    with (
        psycopg.connect(postgres.url(empty_database), autocommit=True) as connection,
        pytest.raises(SchemaVersionError, match="scaffolder db migrate"),
    ):
        ProjectRecords(connection).get_generated_project(uuid4())


def test_tables_of_another_user_name_the_remedy(connection: psycopg.Connection[Any], records: ProjectRecords) -> None:
    """As after a restore by another user than that of the connection."""
    connection.execute("CREATE ROLE stranger")
    try:
        connection.execute("SET ROLE stranger")
        with pytest.raises(SettingsError, match="permission denied for table .*: accepted .* the user that owns"):
            records.get_generated_project(uuid4())
    finally:
        connection.execute("RESET ROLE")
        connection.execute("DROP ROLE stranger")


def test_a_cut_connection_is_transient(records: ProjectRecords, postgres: Any, records_database: str) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (records_database,))
    with pytest.raises(RecordsUnavailableError, match="cannot be used now"):
        open_project(records)


def test_ending_a_run_fails_what_its_killed_tasks_left_open(records: ProjectRecords) -> None:
    generated_project, call_id = open_project(records), uuid4()
    begin_call(records, call_id, generated_project)
    export = intend(records, generated_project_id=generated_project.id)
    assert records.mark_failed(generated_project.id, error="killed", rules=keep_days(7))
    assert records.agent_calls.get(call_id).status is AgentCallStatus.FAILED
    assert records.exports.get(export.id).status is ExportStatus.FAILED


def test_an_export_of_a_project_that_is_over_is_left_alone(records: ProjectRecords) -> None:
    key = open_project(records).id
    records.mark_ready(key, rules=keep_days(1))
    export = intend(records, generated_project_id=key)
    records.mark_ready(key, rules=keep_days(1))
    assert not records.mark_failed(key, error="late", rules=keep_days(7))
    assert records.exports.get(export.id).status is ExportStatus.PENDING
