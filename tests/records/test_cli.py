"""The command as people run it: a process of its own, finding its connection in the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.exports.service import export_generated_project
from scaffolder.generation.merge import OnConflict, TreeEdits
from scaffolder.generation.step_commit import commit_step
from scaffolder.records import schema
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from tests.factories import make_file, make_run, open_project

COMMAND = str(Path(sys.executable).parent / "scaffolder")


def run(
    postgres: EmbeddedPostgres, database: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    connection = {
        "conn_type": "postgres",
        "host": str(postgres.socket_directory),
        "port": 5432,
        "login": "postgres",
        "schema": database,
    }
    return subprocess.run(
        [COMMAND, *arguments],
        env=os.environ | {"AIRFLOW_CONN_SCAFFOLDER_DB": json.dumps(connection), "COLUMNS": "60"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_shows_a_generated_project_whole(
    postgres: EmbeddedPostgres, records_database: str, records: ProjectRecords, settings: Settings
) -> None:
    identity = make_run(run_id="manual__it")
    key = open_project(records, run=identity).id
    files = [make_file("src/app.py"), make_file("README.md", "\x1b[31m")]
    commit = commit_step(
        records,
        key,
        step_id="files",
        subject="files: 2 files",
        edits=TreeEdits(files=files),
        trailers=(),
        settings=settings,
    ).commit
    export = export_generated_project(records, key, step_id="publish", target="archive", options={}, settings=settings)
    records.mark_ready(key, rules=keep_days(30))
    environment = {"SCAFFOLDER_GENERATED_PROJECTS_DIR": str(settings.generated_projects_dir)}

    shown = run(postgres, records_database, "show", str(key), **environment)
    assert shown.returncode == 0, shown.stderr
    expected = ["app.py", commit, "files: 2 files", str(export.archive_path), str(export.archive_sha256), "ready"]
    assert [text for text in expected if text not in shown.stdout] == []

    by_run = run(postgres, records_database, "show", "--json", "--run", "openapi_service", "manual__it", **environment)
    data = json.loads(by_run.stdout)
    assert data["generated_project"]["id"] == str(key)
    assert [file["path"] for file in data["files"]] == ["README.md", "src/app.py"]
    assert [(one["id"], one["step_id"]) for one in data["commits"]] == [(commit, "files")]
    assert data["exports"][0]["archive_sha256"] == export.archive_sha256


def test_shows_the_tree_and_the_diff_of_any_commits(
    postgres: EmbeddedPostgres, records_database: str, records: ProjectRecords, settings: Settings
) -> None:
    key = open_project(records).id
    for step_id, edits in {
        "files": TreeEdits(files=[make_file("a.txt", "one\n"), make_file("b.txt", "b\n")]),
        "more": TreeEdits(files=[make_file("a.txt", "two\x1b[31m\n")], delete=["b.txt"], on_conflict=OnConflict.THEIRS),
    }.items():
        commit_step(records, key, step_id=step_id, subject=step_id, edits=edits, trailers=(), settings=settings)
    first = records.list_commits(key)[0].commit
    environment = {"SCAFFOLDER_GENERATED_PROJECTS_DIR": str(settings.generated_projects_dir)}

    def show(*arguments: str, **environ: str) -> str:
        finished = run(postgres, records_database, "show", str(key), *arguments, **(environment | environ))
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    at_first = show("--at", str(first)[:8])
    assert [
        text for text in ("b.txt", "(2 files, 6 bytes)", f"at commit {str(first)[:12]}") if text not in at_first
    ] == []
    assert "b.txt" not in show().partition("Commits")[0]
    told = show("--diff", "files", "more")
    expected = ["2 files differ", "changed  a.txt  step:files", "deleted  b.txt", "-one", "+two\\x1b[31m"]
    assert [text for text in expected if text not in told] == []
    data = json.loads(show("--diff", "more", "files", "--json"))
    assert [(one["path"], one["before"] is None) for one in data["differences"]] == [("a.txt", False), ("b.txt", True)]
    assert "+one" in data["diff"]
    elsewhere = show("--diff", "files", "more", SCAFFOLDER_GENERATED_PROJECTS_DIR=str(settings.cache_dir))
    assert [text for text in ("changed  a.txt", "not on this machine") if text not in elsewhere] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", str(uuid4())), "RecordNotFoundError: there is no generated project"),
        (("show", "x"), "InvalidParametersError: id 'x'; accepted is a UUID"),
        (("show",), "InvalidParametersError: accepted is either GENERATED_ID or --run"),
        (("show", "--run", "a", "b"), "RecordNotFoundError: run 'b' of DAG 'a' has no generated project"),
    ],
)
def test_an_error_is_one_sentence(
    postgres: EmbeddedPostgres, records_database: str, arguments: tuple[str, ...], message: str
) -> None:
    finished = run(postgres, records_database, *arguments)
    assert (finished.returncode, message in finished.stderr) == (1, True), finished.stderr
    assert "Traceback" not in finished.stderr


def test_migrates_and_checks(postgres: EmbeddedPostgres, empty_database: str) -> None:
    unready = run(postgres, empty_database, "db", "check")
    assert (unready.returncode, "run `scaffolder db migrate`" in unready.stderr) == (1, True)
    assert run(postgres, empty_database, "db", "migrate").returncode == 0
    assert schema.LATEST_REVISION in run(postgres, empty_database, "db", "check").stdout
    assert "at revision base" in run(postgres, empty_database, "db", "migrate", "--revision", "base").stdout


def test_a_missing_connection_is_named(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "AIRFLOW_CONN_SCAFFOLDER_DB"}
    environment |= {"AIRFLOW_HOME": str(tmp_path), "_AIRFLOW_PROCESS_CONTEXT": "client"}
    finished = subprocess.run([COMMAND, "db", "check"], env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert "SettingsError: there is no connection 'scaffolder_db' for the records" in finished.stderr
