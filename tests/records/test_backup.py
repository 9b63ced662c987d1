"""Back-up and restore by the commands of docs/operations.md, with work going on between its two halves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from local_airflow.postgres import EmbeddedPostgres, find_programs
from scaffolder.config import Settings
from scaffolder.doctor.findings import Finding
from scaffolder.doctor.findings import FindingKind as K
from scaffolder.doctor.service import Doctor, Scope
from scaffolder.exports.service import export_generated_project
from scaffolder.generation.merge import TreeEdits
from scaffolder.generation.step_commit import commit_step, get_project_directory
from scaffolder.records.models import GeneratedProjectStatus as Status
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.removal import remove_generated_project
from tests.documents import read_commands
from tests.exports import run_git
from tests.factories import make_file, make_run, open_project
from tests.records.test_cli import run
from tests.records.test_doctor import LiveRuns

PAGE = "operations.md"


class Place:
    """An installation: records and a directory."""

    def __init__(self, postgres: EmbeddedPostgres, database: str, settings: Settings) -> None:
        self.url = postgres.url(database)
        self.settings = settings
        self.root = settings.generated_projects_dir
        self.runs = LiveRuns()
        self.connection = psycopg.connect(self.url, autocommit=True)
        self.records = ProjectRecords(self.connection)

    def shell(self, commands: str, *, backup: Path, **variables: str) -> None:
        given = {
            "RECORDS_URL": self.url,
            "SCAFFOLDER_GENERATED_PROJECTS_DIR": str(self.root),
            "BACKUP": str(backup),
            # The programs of the server's own version.
            "PATH": f"{find_programs()}{os.pathsep}{os.environ['PATH']}",
        }
        done = subprocess.run(
            ["sh", "-euxc", commands],
            env=os.environ | given | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    def generate(self, name: str, *, steps: int = 1) -> UUID:
        key = open_project(self.records, run=make_run(run_id=name), name=name).id
        for number in range(steps):
            self.commit(key, number)
        return key

    def commit(self, key: UUID, number: int) -> str:
        return commit_step(
            self.records,
            key,
            step_id=f"step{number}",
            subject=f"step{number}",
            edits=TreeEdits(files=[make_file(f"src/{number}/é {index}.py", f"{index}\n" * 50) for index in range(20)]),
            trailers=(),
            settings=self.settings,
        ).commit

    def finish(self, key: UUID) -> None:
        self.records.mark_ready(key, rules=keep_days(30))

    def archive(self, key: UUID, **options: Any) -> None:
        export_generated_project(
            self.records, key, step_id=f"to {options}", target="archive", options=options, settings=self.settings
        )

    def remove(self, key: UUID) -> None:
        remove_generated_project(self.records, key, settings=self.settings)

    def age(self, key: UUID) -> None:
        """Let its last change be two hours ago."""
        with self.connection.transaction():
            self.connection.execute("SET LOCAL session_replication_role = replica")
            self.connection.execute(
                "UPDATE generated_project SET updated_at = now() - interval '2 hours' WHERE id = %s", (key,)
            )

    def status(self, key: UUID) -> Status:
        return self.records.get_generated_project(key).status

    def last_event(self) -> int:
        return int(self.connection.execute("SELECT max(id) FROM event").fetchall()[0][0])

    def first_event_after(self, event_id: int) -> int:
        rows = self.connection.execute("SELECT min(id) FROM event WHERE id > %s", (event_id,)).fetchall()
        return int(rows[0][0])

    def examine(self, *, repair: bool = False) -> list[Finding]:
        scope = Scope(deep=True, repair=repair)
        return list(Doctor(self.records, settings=self.settings, runs=self.runs, scope=scope).examine())


@pytest.fixture
def original(postgres: EmbeddedPostgres, records_database: str, settings: Settings) -> Iterator[Place]:
    place = Place(postgres, records_database, settings)
    with place.connection:
        yield place


@pytest.fixture
def restored(postgres: EmbeddedPostgres, empty_database: str, settings: Settings, tmp_path: Path) -> Iterator[Place]:
    place = Place(
        postgres, empty_database, replace(settings, generated_projects_dir=tmp_path / "elsewhere" / "generated")
    )
    with place.connection:
        yield place


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    (tmp_path / "backup").mkdir()
    return tmp_path / "backup"


def back_up(place: Place, backup: Path, *, meanwhile: Any = lambda: None) -> None:
    records, _, projects = read_commands(PAGE, "Back up")[0].partition("tar ")
    assert records.startswith("pg_dump ")
    place.shell(records, backup=backup)
    meanwhile()
    place.shell(f"tar {projects}", backup=backup)


def restore(place: Place, backup: Path) -> None:
    place.shell(read_commands(PAGE, "Restore")[0], backup=backup)


def test_what_was_quiet_comes_back_whole(
    original: Place, restored: Place, backup: Path, postgres: EmbeddedPostgres
) -> None:
    ready = original.generate("ready", steps=2)
    original.archive(ready, format="zip", bundle=True)
    original.finish(ready)
    failed = original.generate("failed")
    original.records.mark_failed(failed, error="x", rules=keep_days(30))
    removed = original.generate("removed")
    original.finish(removed)
    original.remove(removed)
    back_up(original, backup)
    shutil.rmtree(original.root)
    restore(restored, backup)
    assert restored.examine() == []
    database = restored.connection.info.dbname
    assert run(postgres, database, "db", "check").returncode == 0
    head = str(restored.records.get_generated_project(ready).head_commit)
    repository = restored.root / str(ready) / "repository"
    assert run_git(repository / ".git", "rev-parse", "main").strip() == head
    assert subprocess.run(
        ["git", "status", "--porcelain"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout == ""  # fmt: skip
    assert [restored.status(key) for key in (ready, failed, removed)] == [Status.READY, Status.FAILED, Status.DELETED]
    shutil.rmtree(repository / ".git" / "objects")
    assert restored.examine() != []
    restored.shell(read_commands(PAGE, "One generated project alone")[0], backup=backup, GENERATED_ID=str(ready))
    assert restored.examine() == []
    restored.remove(ready)
    restored.finish(restored.generate("new"))
    assert restored.examine() == []


def test_work_between_the_halves_is_mended_as_the_page_says(original: Place, restored: Place, backup: Path) -> None:
    kept = original.generate("kept")
    original.finish(kept)
    going_on = original.generate("going-on")
    lost_run = original.generate("lost-run")
    for key in (going_on, lost_run):
        original.age(key)
    failed = original.generate("failed")
    original.records.mark_failed(failed, error="x", rules=keep_days(30))
    gone = original.generate("gone")
    original.finish(gone)
    commits: dict[UUID, str] = {}
    made: list[UUID] = []

    def work() -> None:
        made.append(original.generate("made-meanwhile", steps=2))
        original.archive(kept, format="tar.gz")
        for path in get_project_directory(kept, settings=original.settings).glob("archives/*"):
            os.utime(path, (1, 1))
        open_project(original.records, run=make_run(run_id="failed"), name="failed")
        for key in (going_on, lost_run, failed):
            commits[key] = original.commit(key, 1)
            original.finish(key)
        original.remove(gone)

    backed_up = original.last_event()
    back_up(original, backup, meanwhile=work)
    restore(restored, backup)
    restored.runs.live.add(("openapi_service", "going-on"))
    findings = restored.examine(repair=True)
    archives = restored.root / str(kept) / "archives"
    stem = f"kept-{original.records.get_generated_project(kept).head_commit}"[: len("kept-") + 12]
    assert sorted((one.kind, one.subject, one.repaired) for one in findings) == sorted(
        [
            (K.DIRECTORY_WITHOUT_RECORD, str(restored.root / str(made[0])), True),
            (K.ARCHIVE_UNREFERENCED, str(archives / f"{stem}.tar.gz"), True),
            (K.ARCHIVE_UNREFERENCED, str(archives / f"{stem}.tar.gz.manifest.json"), True),
            (K.RUN_GONE, str(lost_run), True),
            (K.RECORD_WITHOUT_DIRECTORY, str(gone), False),
        ]
    )
    restored.remove(gone)
    assert restored.examine() == []
    assert [restored.status(key) for key in (kept, going_on, lost_run, failed, gone)] == [
        Status.READY, Status.GENERATING, Status.FAILED, Status.FAILED, Status.DELETED,
    ]  # fmt: skip
    # A run that Airflow still has goes on, and makes the commits that it had made.
    assert restored.commit(going_on, 1) == commits[going_on]
    restored.finish(going_on)
    assert restored.examine() == []
    # No new event has an id that another one had before, which receivers would take for a duplicate.
    assert restored.first_event_after(backed_up) > original.last_event()


def test_the_halves_the_other_way_round_lose_commits(original: Place, restored: Place, backup: Path) -> None:
    """Why the page has the records first."""
    key = original.generate("going-on")
    records, _, projects = read_commands(PAGE, "Back up")[0].partition("tar ")
    original.shell(f"tar {projects}", backup=backup)
    original.commit(key, 1)
    original.finish(key)
    original.shell(records, backup=backup)
    restore(restored, backup)
    assert K.COMMIT_MISSING in {one.kind for one in restored.examine(repair=True) if not one.repaired}


def test_a_directory_of_other_records_is_left_alone(original: Place, restored: Place, backup: Path) -> None:
    """Records alone, beside the directory of another installation: nothing is removed."""
    removed = original.generate("removed")
    original.finish(removed)
    original.remove(removed)
    kept = original.generate("kept")
    original.finish(kept)
    back_up(original, backup)
    restore(restored, backup)
    (restored.root / ".scaffolder").write_text("00000000-0000-4000-8000-000000000000\n")
    shutil.copytree(restored.root / str(kept), restored.root / str(UUID(int=7)))
    (finding,) = restored.examine(repair=True)
    assert (finding.kind, finding.repaired) == (K.DIRECTORY_WITHOUT_RECORD, False)
    assert "belongs to other records" in finding.detail
