"""Quotas and the reserve of the disk, where they are checked: what gets in, and that a refusal leaves nothing."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import GIB, Settings, get_settings
from scaffolder.errors import DiskSpaceError, QuotaExceededError
from scaffolder.generation.merge import OnConflict, TreeEdits
from scaffolder.generation.step_commit import commit_step, get_project_directory
from scaffolder.operators.run import find_or_open, get_generated_project_id
from scaffolder.records.models import ExportStatus, GeneratedProjectStatus, RequestedRun
from scaffolder.records.quotas import Quota
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.removal import remove_generated_project
from tests.exports import Exports
from tests.factories import make_file, make_run, open_project

Configure = Callable[..., None]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Settings of this process: `quotas` as entries, the others as text."""

    def set_variables(*, quotas: list[dict[str, Any]] | None = None, **values: Any) -> None:
        monkeypatch.setenv("SCAFFOLDER_QUOTAS", json.dumps(quotas or []))
        for name, value in values.items():
            monkeypatch.setenv(f"SCAFFOLDER_{name.upper()}", str(value))
        get_settings.cache_clear()

    yield set_variables
    monkeypatch.undo()
    get_settings.cache_clear()


def write(
    records: ProjectRecords, key: Any, settings: Settings, size: int, *, step_id: str = "files", **edits: Any
) -> None:
    """Let a step write a file of `size` bytes under its own name, or nothing for 0."""
    files = [make_file(f"{step_id}.txt", "x" * size)] if size else []
    commit_step(
        records,
        key,
        step_id=step_id,
        subject=step_id,
        edits=TreeEdits(files=files, **edits),
        trailers=(),
        settings=settings,
    )


def limit_size(settings: Settings, size: int) -> Settings:
    return replace(settings, quotas=json.dumps([{"project": "*", "size": size}]))


def request(records: ProjectRecords, *, key: str, quotas: list[Quota], run_id: str | None = None) -> RequestedRun:
    run_id = run_id or f"api__{uuid4()}"
    run = {
        "key": key,
        "dag_id": "openapi_service",
        "run_id": run_id,
        "generated_project_id": get_generated_project_id("openapi_service", run_id),
        "username": "ada",
        "request_digest": "a",
        "as_administrator": False,
    }
    return records.requested_runs.request_generation(
        run, project="default", name="x", workflow="openapi_service", params={}, quotas=quotas
    )


def count_rows(connection: psycopg.Connection[Any]) -> dict[str, int]:
    tables = ("project", "generated_project", "requested_run", "event", "project_commit")
    found = {}
    for table in tables:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[call-overload]  # no literal
        assert row is not None
        found[table] = row[0]
    return found


# How many


def test_a_full_project_takes_no_more_and_a_refusal_leaves_nothing(
    records: ProjectRecords, connection: psycopg.Connection[Any], configure: Configure
) -> None:
    configure(quotas=[{"project": "team-*", "count": 2}])
    for _ in range(2):
        open_project(records, project="team-a")
    before = count_rows(connection)
    with pytest.raises(QuotaExceededError) as caught:
        open_project(records, project="team-a")
    assert str(caught.value) == (
        "project 'team-a' has 2 generated projects that are not deleted; accepted are at most 2 (count of 'team-*' in "
        "SCAFFOLDER_QUOTAS). Delete some, let retention remove those that expire, or raise SCAFFOLDER_QUOTAS"
    )
    assert (count_rows(connection), records.projects.get("team-a").generated_count) == (before, 2)
    # Others have quotas of their own, or none.
    open_project(records, project="team-b")
    for _ in range(3):
        open_project(records, project="default")


def test_a_lowered_quota_says_how_many_there_are(records: ProjectRecords, configure: Configure) -> None:
    for _ in range(3):
        open_project(records)
    configure(quotas=[{"project": "default", "count": 1}])
    with pytest.raises(QuotaExceededError, match="has 3 generated projects that are not deleted; accepted are at mos"):
        open_project(records)


def test_a_task_that_is_tried_again_is_not_counted_twice(records: ProjectRecords, configure: Configure) -> None:
    configure(quotas=[{"project": "*", "count": 1}])
    run = make_run()
    first = open_project(records, run=run)
    assert open_project(records, run=run).id == first.id
    records.mark_failed(first.id, error="an agent was away", rules=keep_days(7))
    assert open_project(records, run=run).status is GeneratedProjectStatus.GENERATING


def test_a_run_that_is_counted_goes_on_where_the_quota_was_lowered(
    records: ProjectRecords, configure: Configure
) -> None:
    runs = [make_run() for _ in range(2)]
    keys = [open_project(records, run=run).id for run in runs]
    configure(quotas=[{"project": "*", "count": 1}])
    assert [open_project(records, run=run).id for run in runs] == keys


def test_what_is_deleted_makes_room_at_once(records: ProjectRecords, settings: Settings, configure: Configure) -> None:
    configure(quotas=[{"project": "*", "count": 1}])
    first = open_project(records).id
    records.mark_failed(first, error="it failed", rules=keep_days(7))
    with pytest.raises(QuotaExceededError):
        open_project(records)
    remove_generated_project(records, first, settings=settings)
    open_project(records)


def test_of_many_at_once_exactly_as_many_as_are_accepted_get_in(
    records: ProjectRecords, postgres: EmbeddedPostgres, records_database: str
) -> None:
    quotas = [Quota(project="*", count=3)]
    records.projects.create("default", name="default")
    barrier = threading.Barrier(8)

    def begin(number: int) -> bool:
        with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
            own = ProjectRecords(connection)
            barrier.wait()
            try:
                if number % 2:
                    request(own, key=f"key-{number}", quotas=quotas)
                else:
                    own.open_generated_project(
                        uuid4(), project="default", name="x", workflow="w", params={}, run=make_run(), quotas=quotas
                    )
            except QuotaExceededError:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        admitted = list(pool.map(begin, range(8)))
    assert sum(admitted) == 3
    assert records.projects.get("default").generated_count == 3


def test_a_request_that_is_refused_leaves_nothing_and_its_key_stays_free(
    records: ProjectRecords, connection: psycopg.Connection[Any], settings: Settings
) -> None:
    quotas = [Quota(project="default", count=1)]
    full = open_project(records).id
    before = count_rows(connection)
    with pytest.raises(QuotaExceededError, match="project 'default' has 1 generated projects"):
        request(records, key="later", quotas=quotas)
    assert count_rows(connection) == before
    records.mark_failed(full, error="it failed", rules=keep_days(7))
    remove_generated_project(records, full, settings=settings)
    assert request(records, key="later", quotas=quotas).key == "later"


def test_the_same_request_again_and_its_run_are_let_through(records: ProjectRecords, configure: Configure) -> None:
    configure(quotas=[{"project": "*", "count": 1}])
    quotas = [Quota(project="*", count=1)]
    records.projects.create("default", name="default")
    first = request(records, key="same", quotas=quotas, run_id="api__1")
    assert request(records, key="same", quotas=quotas) == first
    opened = records.open_generated_project(
        first.generated_project_id,
        project="default",
        name="x",
        workflow="openapi_service",
        params={},
        run=make_run(run_id="api__1"),
        quotas=quotas,
    )
    assert (opened.id, records.projects.get("default").generated_count) == (first.generated_project_id, 1)


# How large


def test_a_step_that_would_pass_the_size_writes_nothing(
    records: ProjectRecords, connection: psycopg.Connection[Any], settings: Settings
) -> None:
    settings = limit_size(settings, 100)
    first, second = open_project(records).id, open_project(records).id
    write(records, first, settings, 60)
    before = count_rows(connection)
    with pytest.raises(QuotaExceededError) as caught:
        write(records, second, settings, 41)
    assert str(caught.value) == (
        "the generated projects of project 'default' that are not deleted have 60 bytes and 41 more would come; "
        "accepted are at most 100 (size of '*' in SCAFFOLDER_QUOTAS). Delete some, let retention remove those that "
        "expire, or raise SCAFFOLDER_QUOTAS"
    )
    assert count_rows(connection) == before
    assert not get_project_directory(second, settings=settings).exists()
    write(records, second, settings, 40)
    # Other projects have room of their own.
    write(records, open_project(records, project="other").id, settings, 100)


def test_only_what_a_step_adds_counts(records: ProjectRecords, settings: Settings) -> None:
    settings = limit_size(settings, 100)
    key = open_project(records).id
    write(records, key, settings, 50)
    write(records, key, settings, 50, step_id="more")
    write(records, key, settings, 50)  # a retry
    write(records, key, settings, 20)  # it writes less than before
    write(records, key, settings, 30, step_id="third")
    with pytest.raises(QuotaExceededError, match="have 100 bytes and 1 more"):
        write(records, key, settings, 21)
    write(records, key, settings, 50, step_id="fourth", delete=["more.txt"])
    assert records.get_generated_project(key).size_bytes == 100


def test_a_step_that_shrinks_is_let_through_where_the_quota_was_lowered(
    records: ProjectRecords, settings: Settings
) -> None:
    key = open_project(records).id
    write(records, key, settings, 50)
    write(records, key, limit_size(settings, 10), 40, on_conflict=OnConflict.THEIRS)
    write(records, key, limit_size(settings, 10), 0, step_id="more", delete=["files.txt"])
    assert records.get_generated_project(key).size_bytes == 0


def test_of_many_steps_at_once_as_many_as_fit_write(
    records: ProjectRecords, postgres: EmbeddedPostgres, records_database: str, settings: Settings
) -> None:
    limited = limit_size(settings, 35)
    keys = [open_project(records).id for _ in range(8)]
    barrier = threading.Barrier(8)

    def run(key: Any) -> bool:
        with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
            barrier.wait()
            try:
                write(ProjectRecords(connection), key, limited, 10)
            except QuotaExceededError:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(run, keys)) == 3
    assert sum(records.get_generated_project(key).size_bytes for key in keys) == 30


def test_nothing_begins_where_no_byte_is_left_and_what_has_begun_goes_on(
    records: ProjectRecords, connection: psycopg.Connection[Any], settings: Settings, configure: Configure
) -> None:
    run = make_run()
    key = open_project(records, run=run).id
    write(records, key, settings, 10)
    configure(quotas=[{"project": "*", "size": 10}])
    before = count_rows(connection)
    with pytest.raises(QuotaExceededError, match="have 10 bytes; accepted for another one are less than 10 "):
        open_project(records)
    with pytest.raises(QuotaExceededError, match="accepted for another one are less than 10 "):
        request(records, key="late", quotas=[Quota(project="*", size=10)])
    assert count_rows(connection) == before
    records.mark_failed(key, error="it failed", rules=keep_days(7))
    assert open_project(records, run=run).id == key
    records.mark_failed(key, error="it failed", rules=keep_days(7))
    remove_generated_project(records, key, settings=settings)
    open_project(records)


# The disk


def reserve_too_much(settings: Settings) -> Settings:
    free = shutil.disk_usage(settings.generated_projects_dir.parent).free
    return replace(settings, min_free_disk_size=free + 10 * GIB)


def test_nothing_begins_on_a_disk_without_room(
    records: ProjectRecords, connection: psycopg.Connection[Any], settings: Settings, configure: Configure
) -> None:
    before = count_rows(connection)
    configure(
        generated_projects_dir=settings.generated_projects_dir,
        min_free_disk_size=reserve_too_much(settings).min_free_disk_size,
    )
    run = make_run()
    with pytest.raises(DiskSpaceError, match="and 0 bytes would be written"):
        open_project(records, run=run)
    with pytest.raises(DiskSpaceError):
        find_or_open(records, run, project="default", name="x", writes_files=True)
    assert count_rows(connection) == before


def test_a_mended_run_is_finished_without_room(
    records: ProjectRecords, settings: Settings, configure: Configure
) -> None:
    run = make_run()
    key = open_project(records, run=run).id
    write(records, key, settings, 10)
    records.mark_failed(key, error="it failed", rules=keep_days(7))
    configure(
        generated_projects_dir=settings.generated_projects_dir,
        min_free_disk_size=reserve_too_much(settings).min_free_disk_size,
        quotas=[{"project": "*", "count": 1, "size": 1}],
    )
    with pytest.raises(DiskSpaceError):
        find_or_open(records, run, project="default", name="x", writes_files=True)
    found = find_or_open(records, run, project="default", name="x", writes_files=False)
    assert found.status is GeneratedProjectStatus.GENERATING


def test_a_step_is_refused_before_it_writes_with_room_for_objects_and_checkout(
    records: ProjectRecords, connection: psycopg.Connection[Any], settings: Settings
) -> None:
    key = open_project(records).id
    before = count_rows(connection)
    with pytest.raises(DiskSpaceError, match="bytes free and 42 bytes would be written"):
        write(records, key, reserve_too_much(settings), 21)
    assert count_rows(connection) == before
    assert not get_project_directory(key, settings=settings).exists()


@pytest.mark.parametrize(("bundle", "needed_bytes"), [(False, 15), (True, 30)])
def test_an_archive_is_refused_before_it_is_written(
    records: ProjectRecords, settings: Settings, bundle: bool, needed_bytes: int
) -> None:
    exports = Exports(records, settings)
    exports.settings = reserve_too_much(settings)
    with pytest.raises(DiskSpaceError, match=f"bytes free and {needed_bytes} bytes would be written"):
        exports.export("archive", bundle=bundle)
    assert not (exports.directory / "archives").exists()
    assert (exports.only.status, "SCAFFOLDER_MIN_FREE_DISK_SIZE" in str(exports.only.error)) == (
        ExportStatus.FAILED,
        True,
    )
    exports.settings = settings
    assert exports.export("archive", bundle=bundle).status is ExportStatus.EXPORTED
