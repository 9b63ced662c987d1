from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
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
from scaffolder.generation.merge import Move, OnConflict, TreeChanges, TreeEdits
from scaffolder.generation.step_commit import commit_step, get_project_directory, get_repository
from scaffolder.generation.tree import GeneratedFile
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from tests.conftest import CHECKOUT
from tests.factories import describe_commit, make_file, make_run, open_project


def commit(
    records: ProjectRecords, key: Any, settings: Settings, files: list[Any], *, step_id: str = "files", **edits: Any
) -> Any:
    return commit_step(
        records,
        key,
        step_id=step_id,
        subject=step_id,
        edits=TreeEdits(files=files, **edits),
        trailers=(),
        settings=settings,
    )


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
        ([make_file("ok"), make_file("there", "other")], FileConflictError),
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


def assert_rows_are_the_trees(records: ProjectRecords, key: Any, settings: Settings) -> None:
    """At every commit, the rows say what git has; content, size and mode."""
    repository = get_repository(key, settings=settings)
    commits = records.list_commits(key)
    assert [one.commit for one in commits] == [one.id for one in repository.history()]
    assert [one.step_id for one in commits] == [one.step_id for one in repository.history()]
    for one in commits:
        tree = [
            (entry.path, entry.mode, hashlib.sha256(repository.read(one.commit or "", entry.path)).hexdigest())
            for entry in repository.files(one.commit or "")
        ]
        assert [(file.path, file.mode, file.sha256) for file in records.list_files(key, at=one)] == tree
    assert records.get_generated_project(key).file_count == len(records.list_files(key))


def test_moves_and_deletions_are_recorded_with_origins(records: ProjectRecords, settings: Settings) -> None:
    key = open_project(records).id
    by_agent = GeneratedFile(path="a/x", content=b"x", origin="agent_call:7", executable=True)
    commit(records, key, settings, [by_agent, make_file("a/y"), make_file("z")])
    done = commit(records, key, settings, [], step_id="more", move=[Move(source="a", target="b")], delete=["z"])
    assert (done.file_count, done.moved_count, done.deleted_count) == (0, 2, 1)
    assert [(file.path, file.origin, file.step_id, file.mode) for file in records.list_files(key)] == [
        ("b/x", "agent_call:7", "more", 0o100755),
        ("b/y", "step:files", "more", 0o100644),
    ]
    assert_rows_are_the_trees(records, key, settings)


def test_a_step_run_again_takes_its_place_and_later_steps_stay(records: ProjectRecords, settings: Settings) -> None:
    key = open_project(records).id
    commit(records, key, settings, [make_file("a", "1"), make_file("b", "1"), make_file("c", "1")])
    commit(records, key, settings, [make_file("a", "2")], step_id="more", on_conflict=OnConflict.THEIRS, delete=["b"])
    before = records.list_commits(key)
    again = commit(records, key, settings, [make_file("a", "1"), make_file("b", "1"), make_file("c", "1")])
    assert (records.list_commits(key), again.commit) == (before, before[-1].commit)

    commit(records, key, settings, [make_file("a", "3"), make_file("d", "3")])
    repository = get_repository(key, settings=settings)
    head = repository.head() or ""
    assert {entry.path: repository.read(head, entry.path) for entry in repository.files(head)} == {"a": b"2", "d": b"3"}
    assert {file.path: file.step_id for file in records.list_files(key)} == {"a": "more", "d": "files"}
    assert_rows_are_the_trees(records, key, settings)

    commit(records, key, settings, [], step_id="more", move=[Move(source="d", target="e")])
    assert {file.path: file.step_id for file in records.list_files(key)} == {"a": "files", "e": "more"}
    assert_rows_are_the_trees(records, key, settings)


def test_a_step_run_again_may_not_take_a_later_step_s_path(records: ProjectRecords, settings: Settings) -> None:
    key = open_project(records).id
    commit(records, key, settings, [make_file("a")])
    head = commit(records, key, settings, [make_file("b", "later")], step_id="more").commit
    with pytest.raises(FileConflictError, match="'b': step:files of the later step 'more'"):
        commit(records, key, settings, [make_file("a"), make_file("b", "mine")])
    assert records.get_generated_project(key).head_commit == head


def test_what_a_killed_try_left_in_git_is_made_again(records: ProjectRecords, settings: Settings) -> None:
    """Between git's branch and the rows: what is not recorded did not happen, whoever comes next."""
    key = open_project(records).id
    first = commit(records, key, settings, [make_file("a")])
    repository = get_repository(key, settings=settings)
    repository.commit(TreeChanges(written=[make_file("k")]), info=describe_commit("killed"), parent=first.commit)
    assert repository.head() != first.commit
    commit(records, key, settings, [make_file("k", "of another")], step_id="parallel")
    assert_rows_are_the_trees(records, key, settings)
    with pytest.raises(FileConflictError, match="'k': step:files and step:files"):
        commit(records, key, settings, [make_file("k")], step_id="killed")


def test_rows_and_trees_agree_after_any_sequence_of_steps(records: ProjectRecords, settings: Settings) -> None:
    chance = random.Random(20261123)
    names = ["a", "b", "d/a", "d/e/f", "x y", "ü"]
    for _ in range(6):
        key = open_project(records).id
        for _ in range(7):
            files = [make_file(name, chance.choice("123")) for name in chance.sample(names, chance.randint(0, 4))]
            pairs = chance.sample(names, chance.choice([0, 2]))
            with contextlib.suppress(FileConflictError, UnsafePathError):
                commit(
                    records,
                    key,
                    settings,
                    files,
                    step_id=chance.choice(["one", "two", "three", "four"]),
                    delete=[f"/{name}" for name in chance.sample(names, chance.randint(0, 2))],
                    move=[Move(source=pairs[0], target=pairs[1])] if pairs else [],
                    on_conflict=chance.choice(list(OnConflict)),
                )
        assert_rows_are_the_trees(records, key, settings)


def test_a_run_that_is_over_takes_no_more_files(records: ProjectRecords, settings: Settings) -> None:
    key = open_project(records).id
    records.mark_failed(key, error="marked failed by hand", rules=keep_days(7))
    with pytest.raises(StatusTransitionError, match="which is 'failed'; accepted is 'generating'"):
        commit(records, key, settings, [make_file("a")])
    assert not get_project_directory(key, settings=settings).exists()


def test_a_projects_directory_that_cannot_be_written_is_named(records: ProjectRecords, settings: Settings) -> None:
    settings.generated_projects_dir.rmdir()
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
