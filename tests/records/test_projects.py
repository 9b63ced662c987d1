"""Projects, members, holds, requested runs, and what the database keeps and brings with it, whoever writes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.errors import (
    IdempotencyKeyError,
    InvalidParametersError,
    PermissionDeniedError,
    RecordConflictError,
    RecordNotFoundError,
    StatusTransitionError,
)
from scaffolder.generation.step_commit import get_project_directory
from scaffolder.operators.run import find_exportable, get_generated_project_id
from scaffolder.records import listing
from scaffolder.records.listing import Order
from scaffolder.records.membership import check_may_generate
from scaffolder.records.models import Charge, Event, ExportStatus, GeneratedProjectStatus, MemberRole, Visibility
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.removal import remove_generated_project
from tests.factories import begin_call, make_run, open_project


def intend(records: ProjectRecords, key: UUID, *, run_id: str | None = None) -> UUID:
    export_id = uuid4()
    records.exports.intend(
        export_id,
        generated_project_id=key,
        step_id="publish",
        target="archive",
        options={},
        idempotency_key=str(export_id),
        commit="c" * 40,
        dag_id="export_repository",
        run_id=run_id,
    )
    return export_id


def make_ready(records: ProjectRecords, **values: Any) -> UUID:
    key = open_project(records, **values).id
    records.mark_ready(key, rules=keep_days(1))
    return key


# Who may do what


@pytest.mark.parametrize(
    ("visibility", "username", "allowed"),
    [
        (Visibility.OPEN, "eve", True),
        (Visibility.OPEN, None, True),
        (Visibility.OPEN, "vera", False),  # a viewer is told to look, wherever
        (Visibility.PUBLIC, "eve", False),
        (Visibility.PUBLIC, "mel", True),
        (Visibility.PRIVATE, "eve", False),
        (Visibility.PRIVATE, None, False),
        (Visibility.PRIVATE, "vera", False),
        (Visibility.PRIVATE, "mel", True),
        (Visibility.PRIVATE, "olga", True),
    ],
)
def test_visibility_and_role_decide_who_generates(
    records: ProjectRecords, visibility: Visibility, username: str | None, allowed: bool
) -> None:
    records.projects.create("payments", name="Payments", owner="olga")
    records.projects.set_member("payments", username="mel", role=MemberRole.MEMBER)
    records.projects.set_member("payments", username="vera", role=MemberRole.VIEWER)
    records.projects.update("payments", visibility=visibility)
    if allowed:
        check_may_generate(records, "payments", username=username)
    else:
        with pytest.raises(PermissionDeniedError, match="accepted are"):
            check_may_generate(records, "payments", username=username)


def test_a_run_generates_only_where_its_user_may(records: ProjectRecords) -> None:
    records.projects.create("payments", name="Payments", owner="olga")
    with pytest.raises(PermissionDeniedError, match="'eve' is no member of project 'payments'"):
        open_project(records, project="payments", run=make_run(user="eve"))
    assert open_project(records, project="payments", run=make_run(user="olga")).project == "payments"


def test_whom_the_api_has_let_in_for_a_run_may_generate_in_it_alone(records: ProjectRecords) -> None:
    records.projects.create("payments", name="Payments", owner="olga")
    run = make_run(user="root")
    request(records, run_id=run.run_id, username="root", project="payments", as_administrator=True)
    assert open_project(records, project="payments", run=run).status is GeneratedProjectStatus.GENERATING
    for other in (make_run(user="root"), make_run(run_id=run.run_id, user="eve")):
        with pytest.raises(PermissionDeniedError):
            open_project(records, project="payments", run=other)


def test_a_member_whom_the_api_has_let_in_is_asked_for_again_by_the_run(records: ProjectRecords) -> None:
    """Else whoever was put out could run the same run again, with what they like."""
    records.projects.create("payments", name="Payments", owner="olga")
    records.projects.set_member("payments", username="mel", role=MemberRole.MEMBER)
    run = make_run(user="mel")
    request(records, run_id=run.run_id, username="mel", project="payments")
    records.projects.remove_member("payments", username="mel")
    with pytest.raises(PermissionDeniedError, match="is no member"):
        open_project(records, project="payments", run=run)


def test_a_run_cannot_take_over_the_record_of_another_project(records: ProjectRecords) -> None:
    run = make_run(user="ada")
    open_project(records, project="payments", run=run)
    with pytest.raises(PermissionDeniedError, match="belongs to another project than 'default'"):
        open_project(records, project="default", run=run)


def test_administrators_by_setting_pass_membership_in_runs(
    records: ProjectRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scaffolder.config import get_settings

    records.projects.create("payments", name="Payments", owner="olga")
    key = make_ready(records, project="payments", run=make_run(user="olga"))
    for user in ("eve", None, ""):
        with pytest.raises(RecordNotFoundError):
            find_exportable(records, str(key), run=make_run(user=user))
    monkeypatch.setenv("SCAFFOLDER_ADMINISTRATORS", "root, boss ,")
    get_settings.cache_clear()
    try:
        assert find_exportable(records, str(key), run=make_run(user="boss")).id == key
        for user in ("eve", None, ""):
            with pytest.raises(RecordNotFoundError):
                find_exportable(records, str(key), run=make_run(user=user))
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def test_a_project_that_is_closed_keeps_an_owner(records: ProjectRecords) -> None:
    records.projects.create("payments", name="Payments", owner="olga")
    for change in (
        lambda: records.projects.remove_member("payments", username="olga"),
        lambda: records.projects.set_member("payments", username="olga", role=MemberRole.MEMBER),
    ):
        with pytest.raises(RecordConflictError, match="would have no owner"):
            change()
    assert [one.role for one in records.projects.list_members("payments")] == [MemberRole.OWNER]
    records.projects.set_member("payments", username="otto", role=MemberRole.OWNER)
    records.projects.remove_member("payments", username="olga")
    open_project(records)  # the project "default", which nobody owns
    for visibility in (Visibility.PRIVATE, Visibility.PUBLIC):
        with pytest.raises(RecordConflictError, match="has no owner, so nobody could open it again"):
            records.projects.update("default", visibility=visibility)


def test_a_project_goes_only_without_records(records: ProjectRecords) -> None:
    records.projects.create("payments", name="Payments", owner="ada")
    with pytest.raises(RecordConflictError, match="'payments' is there already"):
        records.projects.create("payments", name="Again", owner="eve")
    open_project(records, project="payments")
    with pytest.raises(RecordConflictError, match=r"has the records of 1 generated project\(s\), 1 of them"):
        records.projects.delete("payments")
    records.projects.create("empty", name="Empty", owner="ada")
    records.projects.delete("empty")
    with pytest.raises(RecordNotFoundError):
        records.projects.get("empty")
    with pytest.raises(InvalidParametersError):
        records.projects.create("No Slug", name="x")


def test_everything_that_happens_to_a_project_is_an_event(records: ProjectRecords) -> None:
    records.set_actor("ada")
    records.projects.create("payments", name="Payments", owner="ada")
    records.projects.update("payments", name="Money")
    records.projects.update("payments", name="Money")  # changes nothing
    records.projects.set_member("payments", username="bob", role=MemberRole.VIEWER)
    records.projects.set_member("payments", username="bob", role=MemberRole.MEMBER)
    records.projects.remove_member("payments", username="bob")
    key = records._fetch_one("SELECT id FROM project WHERE slug = 'payments'", {})
    assert key is not None
    listed = records.listing.list(
        listing.EVENTS_OF_PROJECT, order=Order(key="id"), limit=50, within={"project": "payments"}
    ).items
    records.projects.delete("payments")
    # Whoever gets the slug next does not get what was before.
    records.projects.create("payments", name="Others", owner="eve")
    shown = records.listing.list(
        listing.EVENTS_OF_PROJECT, order=Order(key="id"), limit=50, within={"project": "payments"}
    ).items
    assert [event.detail["name"]["to"] for event in shown if event.subject == "project"] == ["Others"]
    assert len(listed) == 6
    events = records._rows(Event, "SELECT * FROM event WHERE project_id = %(id)s ORDER BY id", key)
    told = [
        (event.subject, event.subject_id, event.kind, event.detail.get("role") or event.detail.get("name"))
        for event in events
    ]
    assert told == [
        ("project", "payments", "created", {"from": None, "to": "Payments"}),
        ("project_member", "ada", "created", {"from": None, "to": "owner"}),
        ("project", "payments", "changed", {"from": "Payments", "to": "Money"}),
        ("project_member", "bob", "created", {"from": None, "to": "viewer"}),
        ("project_member", "bob", "changed", {"from": "viewer", "to": "member"}),
        ("project_member", "bob", "deleted", {"from": "member", "to": None}),
        ("project_member", "ada", "deleted", {"from": "owner", "to": None}),
        ("project", "payments", "deleted", {"from": "Money", "to": None}),
    ]
    assert {event.actor for event in events} == {"ada"}


# Guards and effects


def test_what_is_held_cannot_end(records: ProjectRecords) -> None:
    key = make_ready(records)
    records.set_actor("ada")
    records.hold(key, reason="demo", username="ada", until=None)
    with pytest.raises(StatusTransitionError, match="is held by ada, so it cannot become expired"):
        records.retention.expire(key, reason="x")
    records.hold(key, reason="demo", username="ada", until=datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(StatusTransitionError):
        records.retention.expire(key, reason="x")
    records.release(key)
    records.retention.expire(key, reason="x")
    with pytest.raises(StatusTransitionError, match="has expired"):
        records.hold(key, reason="late", username="ada", until=None)
    changes = [event.detail for event in records.list_events(key) if "held" in event.detail]
    assert [change["held"]["to"] for change in changes] == [True, False]
    assert changes[0]["hold_reason"] == {"from": None, "to": "demo"}


def test_a_hold_that_is_over_holds_nothing(records: ProjectRecords) -> None:
    key = make_ready(records)
    records.hold(key, reason="demo", username="ada", until=datetime.now(UTC) - timedelta(seconds=1))
    records.retention.expire(key, reason="x")
    assert records.get_generated_project(key).status is GeneratedProjectStatus.EXPIRED


def test_what_is_being_exported_cannot_end_and_what_has_ended_cannot_be_exported(records: ProjectRecords) -> None:
    key = make_ready(records)
    export_id = intend(records, key)
    for _ in range(2):
        with pytest.raises(StatusTransitionError, match="is being exported"):
            records.retention.expire(key, reason="x")
        records.exports.mark_exporting(export_id)
    records.exports.mark_failed(export_id, error="x")
    records.retention.expire(key, reason="x")
    with pytest.raises(StatusTransitionError, match="is expired, so it cannot be exported"):
        intend(records, key)
    with pytest.raises(StatusTransitionError, match="is expired, so it cannot be exported"):
        records.exports.mark_exporting(export_id)


def test_an_export_that_begins_and_an_end_wait_for_each_other(
    records: ProjectRecords, postgres: EmbeddedPostgres, records_database: str
) -> None:
    ended = exported = 0
    for _ in range(20):
        key = make_ready(records)
        barrier = threading.Barrier(2)

        def race(work: Callable[[ProjectRecords], object], barrier: threading.Barrier = barrier) -> bool:
            with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
                mine = ProjectRecords(connection)
                barrier.wait()
                try:
                    work(mine)
                except StatusTransitionError:
                    return False
                return True

        with ThreadPoolExecutor(2) as pool:
            results = list(
                pool.map(
                    race,
                    (
                        lambda mine, key=key: intend(mine, key),
                        lambda mine, key=key: mine.retention.expire(key, reason="x"),
                    ),
                )
            )
        assert sorted(results) == [False, True]
        exported, ended = exported + results[0], ended + results[1]
    assert exported + ended == 20


def test_exports_of_one_run_that_change_while_it_ends_block_nobody(
    records: ProjectRecords, postgres: EmbeddedPostgres, records_database: str
) -> None:
    for _ in range(15):
        key = open_project(records).id
        exports = [intend(records, key) for _ in range(4)]
        barrier = threading.Barrier(5)

        def work(index: int, key: UUID = key, exports: list[UUID] = exports, barrier: Any = barrier) -> None:
            with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
                mine = ProjectRecords(connection)
                barrier.wait()
                if index == 4:
                    mine.mark_failed(key, error="ended", rules=keep_days(7))
                else:
                    mine.exports.mark_exporting(exports[index])
                    mine.exports.mark_exported(exports[index], url="file:///x")

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(work, range(5)))  # a deadlock is an error here
        counted = sum(one.status is ExportStatus.EXPORTED for one in records.exports.list(key))
        assert records.get_generated_project(key).export_count == counted


def test_the_last_change_and_the_count_of_exports_are_on_the_generated_project(records: ProjectRecords) -> None:
    key = make_ready(records)
    assert (records.get_generated_project(key).export_count, records.get_generated_project(key).export_status) == (
        0,
        None,
    )
    first, second = intend(records, key), intend(records, key)
    told = []
    for change in (
        lambda: records.exports.mark_exporting(first),
        lambda: records.exports.mark_exported(first, url="https://x"),
        lambda: records.exports.mark_exporting(second),
        lambda: records.exports.mark_exported(second, url="https://x"),
        lambda: records.exports.mark_rolled_back(first, reason="x"),
    ):
        change()
        found = records.get_generated_project(key)
        told.append((found.export_count, found.export_status))
    assert told == [(0, "exporting"), (1, "exported"), (1, "exporting"), (2, "exported"), (1, "rolled_back")]


def test_a_run_that_ends_leaves_no_export_open(records: ProjectRecords) -> None:
    """Else a generated project whose export was killed could neither go nor be exported again by hand."""
    key = make_ready(records)
    mine, other = intend(records, key, run_id="one"), intend(records, key, run_id="two")
    records.exports.mark_exporting(mine)
    records.exports.fail_open_of_run("export_repository", "one")
    found = records.exports.get(mine)
    assert (found.status, found.error) == (ExportStatus.FAILED, "its run ended before it did")
    assert records.exports.get(other).status is ExportStatus.PENDING


def test_a_project_counts_what_it_has_generated(records: ProjectRecords, settings: Settings) -> None:
    keys = [make_ready(records, project="payments") for _ in range(3)]
    assert records.projects.get("payments").generated_count == 3
    remove_generated_project(records, keys[0], settings=settings)
    remove_generated_project(records, keys[0], settings=settings)
    assert records.projects.get("payments").generated_count == 2


def test_the_database_refuses_what_cannot_be(records: ProjectRecords, connection: psycopg.Connection[Any]) -> None:
    key = open_project(records).id
    for change in (
        "ended_at = now()",  # under way
        "size_bytes = 3",  # without files
        "file_count = -1",
        "hold_reason = 'x'",  # without a hold
        "export_count = -1",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(f"UPDATE generated_project SET {change} WHERE id = %s", (key,))


# Requested runs


def request(records: ProjectRecords, *, run_id: str | None = None, **values: Any) -> Any:
    run_id = run_id or f"api__{uuid4()}"
    run = {
        "key": "key",
        "dag_id": "openapi_service",
        "run_id": run_id,
        "generated_project_id": get_generated_project_id("openapi_service", run_id),
        "username": "ada",
        "request_digest": "a",
        "as_administrator": False,
    }
    more = {"project": "default", "name": "x", "workflow": "openapi_service", "params": {}}
    given = {name: values.pop(name, value) for name, value in more.items()}
    return records.requested_runs.request_generation(run | values, **given)


def test_the_same_key_starts_one_run(
    records: ProjectRecords, postgres: EmbeddedPostgres, records_database: str
) -> None:
    open_project(records)
    barrier = threading.Barrier(8)

    def ask(_: int) -> Any:
        with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
            barrier.wait()
            return request(ProjectRecords(connection))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len({one.run_id for one in found}) == 1
    pending = records.get_generated_project(found[0].generated_project_id)
    assert (pending.status, pending.run_id) == (GeneratedProjectStatus.PENDING, found[0].run_id)
    assert records.projects.get("default").generated_count == 2
    with pytest.raises(IdempotencyKeyError, match="was used for another request"):
        request(records, request_digest="b")


def test_what_airflow_refuses_to_start_leaves_nothing(records: ProjectRecords) -> None:
    open_project(records)
    requested = request(records)
    assert records.projects.get("default").generated_count == 2
    records.requested_runs.withdraw(requested)
    assert records.projects.get("default").generated_count == 1
    told = [(event.kind, event.detail.get("status")) for event in records.list_events(requested.generated_project_id)]
    assert told == [("created", None), ("deleted", {"from": "pending", "to": None})]
    with pytest.raises(RecordNotFoundError):
        records.get_generated_project(requested.generated_project_id)
    assert request(records).run_id != requested.run_id
    with pytest.raises(RecordNotFoundError, match="no project 'nowhere'"):
        request(records, key="other", project="nowhere")


def test_a_run_dates_the_record_that_was_there_before_it(records: ProjectRecords) -> None:
    open_project(records)
    run = make_run(run_id="api__1")
    requested = request(records, run_id="api__1")
    assert records.get_generated_project(requested.generated_project_id).run_at != run.run_at
    assert open_project(records, run=run).run_at == run.run_at


# Lists


@pytest.mark.parametrize("key", sorted(listing.GENERATED_OF_PROJECT.keys))
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_pages_hold_every_record_once_in_order(
    records: ProjectRecords, connection: psycopg.Connection[Any], key: str, descending: bool, limit: int
) -> None:
    keys = [open_project(records, name=name).id for name in ("b", "a", "b", "B", "a-b", "c")]
    for one in keys[:2]:
        records.mark_ready(one, rules=keep_days(1))
    # Equal keys in all orders: their ids decide.
    connection.execute("UPDATE generated_project SET created_at = '2026-01-01' WHERE name IN ('a', 'b')")
    found: list[Any] = []
    after: tuple[str, str] | None = None
    for _ in itertools.count():
        page = records.listing.list(
            listing.GENERATED_OF_PROJECT,
            order=Order(key=key, descending=descending),
            limit=limit,
            after=after,
            within={"project": "default"},
        )
        found += page.items
        after = page.after
        if after is None:
            break
        assert len(page.items) == limit
    assert sorted(one.id for one in found) == sorted(keys)
    endless = datetime.max.replace(tzinfo=UTC)
    values = [(getattr(one, key) or (endless if key == "expires_at" else 0), one.id) for one in found]
    assert values == sorted(values, reverse=descending)


def test_a_key_that_is_none_is_refused(records: ProjectRecords) -> None:
    with pytest.raises(InvalidParametersError):
        records.listing.list(
            listing.GENERATED_OF_PROJECT,
            order=Order(key="created_at"),
            limit=1,
            after=("no date", "no id"),
            within={"project": "x"},
        )


def test_lists_show_what_is_private_to_members_alone(records: ProjectRecords) -> None:
    records.projects.create("secret", name="Secret", owner="olga")
    records.projects.create("shown", name="Shown", owner="olga", visibility=Visibility.PUBLIC)
    for slug in ("secret", "shown"):
        open_project(records, project=slug, run=make_run(user="olga"))

    def see(what: Any, username: str, *, sees_all: bool = False) -> list[str]:
        within = {"sees_all": sees_all, "username": username}
        page = records.listing.list(what, order=Order(key=next(iter(what.keys))), limit=9, within=within)
        return sorted(getattr(one, "project", None) or one.slug for one in page.items)

    for what in (listing.PROJECTS, listing.GENERATED):
        assert see(what, "olga") == see(what, "root", sees_all=True) == ["secret", "shown"]
        assert see(what, "eve") == ["shown"]


# Removal


def test_removal_leaves_the_record_and_its_exports(records: ProjectRecords, settings: Settings) -> None:
    key = open_project(records).id
    call = uuid4()
    begin_call(records, call, records.get_generated_project(key))
    charge = Charge(input_tokens=7, output_tokens=5)
    records.agent_calls.answer(call, http_status=200, response={"say": "x"}, latency_ms=1, charge=charge)
    directory = get_project_directory(key, settings=settings)
    (directory / "repository").mkdir(parents=True)
    with pytest.raises(StatusTransitionError, match="cannot go from generating to expired"):
        remove_generated_project(records, key, settings=settings)
    records.mark_ready(key, rules=keep_days(1))
    export_id = intend(records, key)
    records.exports.mark_exporting(export_id)
    records.exports.mark_exported(export_id, url="https://git.example/x")
    remove_generated_project(records, key, settings=settings)
    found = records.get_generated_project(key)
    assert (found.status, records.exports.get(export_id).url) == ("deleted", "https://git.example/x")
    # What it has cost counts on; what was said is gone.
    [kept] = records.agent_calls.list(key)
    assert (kept.input_tokens, kept.output_tokens, kept.response) == (7, 5, None)
    assert sorted(directory.parent.glob("**/*")) == [directory.parent / ".scaffolder", directory.parent / ".trash"]
    assert [
        event.detail["to"]
        for event in records.list_events(key)
        if event.subject == "generated_project" and event.kind == "status"
    ][-2:] == ["expired", "deleted"]


def test_many_who_remove_the_same_remove_it_once(
    records: ProjectRecords, postgres: EmbeddedPostgres, records_database: str, settings: Settings
) -> None:
    for _ in range(8):
        key = make_ready(records)
        directory = get_project_directory(key, settings=settings)
        for number in range(30):
            (directory / f"d{number}").mkdir(parents=True)
        barrier = threading.Barrier(4)

        def remove(_: int, key: UUID = key, barrier: threading.Barrier = barrier) -> None:
            with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
                barrier.wait()
                remove_generated_project(ProjectRecords(connection), key, settings=settings)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(remove, range(4)))
        assert records.get_generated_project(key).status is GeneratedProjectStatus.DELETED
        assert sorted(directory.parent.glob("**/*")) == [directory.parent / ".scaffolder", directory.parent / ".trash"]


def test_what_jsonb_does_not_take_hinders_no_change(records: ProjectRecords) -> None:
    key = make_ready(records, params={"name": "a\0b"})
    records.hold(key, reason="x", username="ada", until=None)
    assert records.get_generated_project(key).params == {"name": "a\0b"}


def test_an_event_names_no_place_on_a_machine(records: ProjectRecords) -> None:
    key = make_ready(records)
    export = intend(records, key)
    records.exports.mark_exporting(export)
    records.exports.mark_exported(export, url="file:///srv/x.zip", archive_path="/srv/x.zip", archive_sha256="a" * 64)
    assert "/srv" not in str([event.detail for event in records.list_events(key)])


@pytest.mark.parametrize("done", ["expired", "moved", "half removed", "removed"])
def test_a_removal_that_was_cut_off_goes_on(records: ProjectRecords, settings: Settings, done: str) -> None:
    key = make_ready(records)
    directory = get_project_directory(key, settings=settings)
    (directory / "repository").mkdir(parents=True)
    (directory / "file").write_text("x")
    records.retention.expire(key, reason="x")
    trash = directory.parent / ".trash"
    if done != "expired":
        trash.mkdir()
        directory.rename(trash / f"{directory.name}-0")
    if done == "half removed":
        (trash / f"{directory.name}-0" / "file").unlink()
    if done == "removed":
        (trash / f"{directory.name}-0" / "file").unlink()
        (trash / f"{directory.name}-0" / "repository").rmdir()
        (trash / f"{directory.name}-0").rmdir()
    remove_generated_project(records, key, settings=settings)
    assert records.get_generated_project(key).status is GeneratedProjectStatus.DELETED
    assert list(trash.iterdir()) == []


def test_removal_takes_nothing_outside_the_root(records: ProjectRecords, settings: Settings, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    key = make_ready(records)
    directory = get_project_directory(key, settings=settings)
    directory.mkdir(parents=True)
    (directory / "link").symlink_to(outside, target_is_directory=True)
    remove_generated_project(records, key, settings=settings)
    assert (outside / "precious").read_text() == "x"
    assert not directory.exists()
