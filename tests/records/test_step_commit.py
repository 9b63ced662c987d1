from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.errors import FileConflictError, StatusTransitionError, StorageError, UnsafePathError
from scaffolder.generation.step_commit import commit_step, get_project_directory, get_repository
from scaffolder.records.store import ProjectRecords
from tests.conftest import CHECKOUT
from tests.factories import make_file, make_run, open_project


def commit(records: ProjectRecords, key: Any, settings: Settings, files: list[Any], *, step_id: str = "files") -> Any:
    return commit_step(records, key, step_id=step_id, subject=step_id, files=files, trailers=(), settings=settings)


def test_the_commit_and_its_rows_agree(records: ProjectRecords, settings: Settings) -> None:
    key = open_project(records).id
    first = commit(records, key, settings, [make_file("b"), make_file("a/x", executable=True)])
    second = commit(records, key, settings, [make_file("c", "more")], step_id="more")
    repository = get_repository(key, settings=settings)
    found = records.get_generated_project(key)
    assert repository.head() == second.commit == found.head_commit != first.commit
    assert [(entry.path, entry.mode, entry.size_bytes) for entry in repository.files(second.commit)] == [
        (file.path, file.mode, file.size_bytes) for file in records.list_files(key)
    ]
    assert (found.file_count, found.size_bytes) == (3, 20)
    assert [commit.step_id for commit in repository.history()] == ["files", "more"]


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ([make_file("ok"), make_file("../out"), make_file(".git/config")], UnsafePathError),
        ([make_file("ok"), make_file("there")], FileConflictError),
    ],
)
def test_a_refused_batch_leaves_no_trace(
    records: ProjectRecords, settings: Settings, files: list[Any], error: type[Exception]
) -> None:
    key = open_project(records).id
    head = commit(records, key, settings, [make_file("there")], step_id="first").commit
    with pytest.raises(error):
        commit(records, key, settings, files)
    assert records.get_generated_project(key).head_commit == head == get_repository(key, settings=settings).head()
    assert [file.path for file in records.list_files(key)] == ["there"]
    assert (
        sorted(path.name for path in get_project_directory(key, settings=settings).rglob("*") if path.name == "ok")
        == []
    )


def test_a_run_that_is_over_takes_no_more_files(records: ProjectRecords, settings: Settings) -> None:
    key = open_project(records).id
    records.mark_failed(key, error="marked failed by hand")
    with pytest.raises(StatusTransitionError, match="which is 'failed'; accepted is 'generating'"):
        commit(records, key, settings, [make_file("a")])
    assert not get_project_directory(key, settings=settings).exists()


def test_a_projects_directory_that_cannot_be_written_is_named(records: ProjectRecords, settings: Settings) -> None:
    settings.generated_projects_dir.write_text("a file is in the way")
    key = open_project(records).id
    with pytest.raises(StorageError, match="SCAFFOLDER_GENERATED_PROJECTS_DIR"):
        commit(records, key, settings, [make_file("a")])
    assert records.list_files(key) == []


def test_parallel_steps_all_arrive(postgres: EmbeddedPostgres, records_database: str, settings: Settings) -> None:
    url = postgres.url(records_database)
    run = make_run()
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                own = ProjectRecords(connection)
                found = own.find_generated_project(run.dag_id, run.run_id)
                assert found is not None
                commit(own, found.id, settings, [make_file(f"{number}/a")], step_id=f"step_{number}")
        except BaseException as error:
            failures.append(error)

    with psycopg.connect(url, autocommit=True) as connection:
        own = ProjectRecords(connection)
        key = open_project(own, run=run).id
        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        steps = [commit.step_id for commit in get_repository(key, settings=settings).history()]
        assert sorted(steps) == [f"step_{number}" for number in range(8)]
        assert len(own.list_files(key)) == 8


def test_a_step_killed_at_any_point_is_completed_by_its_retry(
    postgres: EmbeddedPostgres, records_database: str, tmp_path: Path
) -> None:
    """kill -9 at every tenth line of the committing code; SCAFFOLDER_TEST_KILL_STEP=1 takes every line."""
    every = os.environ.get("SCAFFOLDER_TEST_KILL_STEP", "10")
    finished = subprocess.run(
        [sys.executable, "-m", "tests.records.killing", postgres.url(records_database), str(tmp_path), every],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT / "plugins"), str(CHECKOUT)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    assert result["kills"] >= 20
    untouched = result["states"][-1]
    assert untouched["steps"] == ["files"]
    assert untouched["tree"] == untouched["rows"]
    assert untouched["head"] == untouched["recorded_head"]
    assert all(state == untouched for state in result["states"])
