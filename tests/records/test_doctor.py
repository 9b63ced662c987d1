"""`scaffolder doctor`: a healthy scene has no findings, and every kind of damage is found, told, and mended or left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.doctor import checkout, root
from scaffolder.doctor.disk import digest_file
from scaffolder.doctor.findings import NOTES, Finding, FindingKind
from scaffolder.doctor.objects import ObjectStore
from scaffolder.doctor.service import Doctor, Scope
from scaffolder.doctor_commands import doctor, print_json, print_lines
from scaffolder.errors import InvalidParametersError, RecordNotFoundError
from scaffolder.exports.service import export_generated_project
from scaffolder.generation.git_remote import GitRemote
from scaffolder.generation.merge import TreeEdits
from scaffolder.generation.step_commit import commit_step, get_project_directory
from scaffolder.records.doctor import DoctorRecords
from scaffolder.records.models import GeneratedProjectStatus, RepositoryExport
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.removal import remove_generated_project
from tests.exports import run_git
from tests.factories import begin_call, make_file, make_run, open_project
from tests.records.test_cli import run
from tests.records.test_projects import intend, request
from tests.servers import GitServer, serve_git

# Byte order and the order of directories differ in these.
FILES = [
    make_file("README.md", "".join(f"line {number}\n" for number in range(500))),
    make_file("a/x", "1\n"),
    make_file("a-b", "2\n"),
    make_file('a.b/é "x"', "3\n"),
    make_file("bin/run", "#!/bin/sh\n", executable=True),
    make_file("empty", ""),
]
STRANGER = "5b0c6c1e-1111-4222-8333-444455556666"
LIVE_RUN = ("openapi_service", "manual__live")
TABLES = ("project", "generated_project", "project_commit", "file_change", "agent_call", "repository_export")


class LiveRuns:
    """Airflow's runs, as a set."""

    def __init__(self) -> None:
        self.live: set[tuple[str, str]] = set()
        self.asked: list[tuple[str, str]] = []

    def find_live(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        self.asked += runs
        return self.live & set(runs)


class Scene:
    """Generated projects in all statuses, made by the code that makes them."""

    def __init__(self, records: ProjectRecords, connection: psycopg.Connection[Any], settings: Settings) -> None:
        self.records = records
        self.connection = connection
        self.settings = settings
        self.root = settings.generated_projects_dir
        self.runs = LiveRuns()
        self.ready = self.generate(steps=2)
        self.export = self.archive(self.ready, format="zip", bundle=True)
        records.mark_ready(self.ready, rules=keep_days(1))
        self.failed = self.generate()
        records.mark_failed(self.failed, error="x", rules=keep_days(1))
        self.generating = self.generate(run_id="manual__live")
        self.runs.live.add(LIVE_RUN)
        self.age("generated_project", self.generating)
        self.empty = open_project(records).id
        records.mark_ready(self.empty, rules=keep_days(1))
        self.deleted = self.generate()
        self.call = uuid4()
        begin_call(records, self.call, records.get_generated_project(self.deleted))
        records.agent_calls.answer(self.call, http_status=200, response={"say": "x"}, latency_ms=1)
        records.mark_ready(self.deleted, rules=keep_days(1))
        remove_generated_project(records, self.deleted, settings=settings)
        open_project(records, project="other")

    def generate(self, *, steps: int = 1, run_id: str | None = None) -> UUID:
        key = open_project(self.records, run=make_run(run_id=run_id)).id
        for number in range(steps):
            self.commit(key, FILES if number == 0 else [make_file(f"more/{number}")], step_id=f"step{number}")
        return key

    def commit(self, key: UUID, files: list[Any], *, step_id: str) -> str:
        return commit_step(
            self.records,
            key,
            step_id=step_id,
            subject=step_id,
            edits=TreeEdits(files=files),
            trailers=(),
            settings=self.settings,
        ).commit

    def archive(self, key: UUID, **options: Any) -> RepositoryExport:
        return export_generated_project(
            self.records, key, step_id="publish", target="archive", options=options, settings=self.settings
        )

    def directory(self, key: UUID) -> Path:
        return get_project_directory(key, settings=self.settings)

    def repository(self, key: UUID) -> Path:
        return self.directory(key) / "repository"

    def head(self, key: UUID) -> str:
        return str(self.records.get_generated_project(key).head_commit)

    def age(self, table: str, key: UUID) -> None:
        self.write(f"UPDATE {table} SET updated_at = now() - interval '2 hours' WHERE id = %s", key)

    def write(self, statement: str, *values: Any) -> None:
        """Change the records behind the back of their triggers, as a bug or a hand would."""
        with self.connection.transaction():
            self.connection.execute("SET LOCAL session_replication_role = replica")
            self.connection.execute(statement, values)

    def examine(self, **scope: Any) -> list[Finding]:
        return list(Doctor(self.records, settings=self.settings, runs=self.runs, scope=Scope(**scope)).examine())

    def snapshot(self) -> tuple[dict[str, str], str]:
        """Return all that is on disk and in the records."""
        disk = {}
        for directory, directories, files in os.walk(self.root):
            for name in [*directories, *files]:
                path = Path(directory, name)
                is_link = path.is_symlink()
                what = path.readlink() if is_link else "" if path.is_dir() else path.read_bytes().hex()
                disk[str(path)] = f"{path.lstat().st_mode:o} {path.lstat().st_mtime_ns} {what}"
        rows = [self.connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1").fetchall() for table in TABLES]
        return disk, str(rows)


class SavedScene:
    """A scene that was made once, and is put back for each test."""

    def __init__(self, scene: Scene) -> None:
        self.state = vars(scene)
        self.copy = scene.root.with_name("copy")
        shutil.copytree(scene.root, self.copy, symlinks=True)
        self.rows: dict[str, list[bytes | memoryview]] = {}
        for table in TABLES:
            with scene.connection.cursor().copy(f"COPY {table} TO STDOUT") as rows:
                self.rows[table] = [bytes(row) for row in rows]

    def put_back(self, records: ProjectRecords, connection: psycopg.Connection[Any]) -> Scene:
        scene = Scene.__new__(Scene)
        vars(scene).update(self.state, records=records, connection=connection, runs=LiveRuns())
        scene.runs.live.add(LIVE_RUN)
        shutil.rmtree(scene.root)
        shutil.copytree(self.copy, scene.root, symlinks=True)
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            for table, rows in self.rows.items():
                with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
                    for row in rows:
                        copy.write(row)
        return scene


@pytest.fixture(scope="module")
def saved() -> list[SavedScene]:
    return []


@pytest.fixture
def new_scene(records: ProjectRecords, connection: psycopg.Connection[Any], settings: Settings) -> Scene:
    return Scene(records, connection, settings)


@pytest.fixture
def scene(
    records: ProjectRecords,
    connection: psycopg.Connection[Any],
    settings: Settings,
    saved: list[SavedScene],
    tmp_path_factory: pytest.TempPathFactory,
) -> Scene:
    if not saved:
        place = tmp_path_factory.mktemp("scene") / "generated-projects"
        made = Scene(records, connection, replace(settings, generated_projects_dir=place))
        saved.append(SavedScene(made))
        return made
    return saved[0].put_back(records, connection)


def found(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(one.kind.value, one.subject) for one in findings]


def test_a_healthy_scene_has_no_findings(new_scene: Scene) -> None:
    scene = new_scene
    statuses = scene.connection.execute("SELECT DISTINCT status FROM generated_project").fetchall()
    assert {status for (status,) in statuses} == set(GeneratedProjectStatus) - {"expired", "pending"}
    before = scene.snapshot()
    assert scene.examine() == []
    assert scene.examine(deep=True, remotes=True) == []
    assert scene.examine(deep=True, repair=True) == []
    assert scene.snapshot() == before
    assert set(scene.runs.asked) == {LIVE_RUN}


# Every kind of damage


@dataclass(frozen=True, kw_only=True)
class Damage:
    """`plant` returns the subject that is to be found; `words` are said of it."""

    kind: FindingKind
    plant: Callable[[Scene], str]
    words: str
    is_mended: bool
    deep: bool = False


def plant_stranger(scene: Scene) -> str:
    (scene.root / STRANGER / "repository").mkdir(parents=True)
    return str(scene.root / STRANGER)


def plant_directory_of_deleted(scene: Scene) -> str:
    scene.directory(scene.deleted).mkdir()
    return str(scene.directory(scene.deleted))


def lose_directory(scene: Scene) -> str:
    shutil.rmtree(scene.directory(scene.ready))
    return str(scene.ready)


def lose_repository(scene: Scene) -> str:
    shutil.rmtree(scene.repository(scene.failed) / ".git")
    return str(scene.failed)


def expire(scene: Scene) -> str:
    scene.records.retention.expire(scene.ready, reason="x")
    return str(scene.ready)


def expire_with_trash(scene: Scene) -> str:
    expire(scene)
    scene.directory(scene.ready).rename(scene.root / ".trash" / f"{scene.ready}-0a")
    return str(scene.ready)


def leave_trash(scene: Scene) -> str:
    left = scene.root / ".trash" / f"{scene.deleted}-0a"
    (left / "x").mkdir(parents=True)
    (left / "out").symlink_to("/etc")
    return str(left)


def leave_trash_link(scene: Scene) -> str:
    left = scene.root / ".trash" / "link"
    left.symlink_to("/etc")
    return str(left)


def plant_file(scene: Scene) -> str:
    (scene.root / "notes.txt").write_text("x")
    return str(scene.root / "notes.txt")


def plant_link_named_like_one(scene: Scene) -> str:
    (scene.root / STRANGER).symlink_to("/etc")
    return str(scene.root / STRANGER)


def plant_upper_case(scene: Scene) -> str:
    (scene.root / STRANGER.upper()).mkdir()
    return str(scene.root / STRANGER.upper())


def link_outside(scene: Scene, target: str = "/etc/passwd", path: str = "repository/a/link") -> str:
    link = scene.directory(scene.ready) / path
    link.symlink_to(target)
    return str(link)


def link_objects_outside(scene: Scene) -> str:
    objects = scene.repository(scene.ready) / ".git" / "objects"
    objects.rename(scene.root.parent / "objects")
    (scene.root.parent / "nothing").mkdir()
    objects.symlink_to(scene.root.parent / "nothing")
    return str(objects)


def borrow_objects(scene: Scene) -> str:
    alternates = scene.repository(scene.ready) / ".git" / "objects" / "info" / "alternates"
    alternates.parent.mkdir(exist_ok=True)
    alternates.write_text(f"{scene.repository(scene.failed)}/.git/objects\n")
    lose_commit(scene)  # what git would say of it is not asked for
    return str(alternates)


def move_branch(scene: Scene) -> str:
    run_git(scene.repository(scene.ready) / ".git", "update-ref", "refs/heads/main", f"{scene.head(scene.ready)}~1")
    return str(scene.ready)


def lose_branch(scene: Scene) -> str:
    (scene.repository(scene.ready) / ".git" / "refs" / "heads" / "main").unlink()
    return str(scene.ready)


def contradict_head(scene: Scene) -> str:
    first = scene.records.list_commits(scene.failed)[0].commit
    scene.write(
        "INSERT INTO project_commit (generated_project_id, position, step_id, commit) VALUES (%s, 1, 'x', %s)",
        scene.failed,
        run_git(scene.repository(scene.failed) / ".git", "commit-tree", "-m", "x", f"{first}^{{tree}}").strip(),
    )
    return str(scene.failed)


def lose_objects(scene: Scene, name: str) -> None:
    """Take one object away: fast-import leaves them loose."""
    path = scene.repository(scene.ready) / ".git" / "objects" / name[:2] / name[2:]
    path.unlink()


def lose_commit(scene: Scene) -> str:
    lose_objects(scene, str(scene.records.list_commits(scene.ready)[0].commit))
    return str(scene.ready)


def find_object(scene: Scene, path: str) -> str:
    return run_git(scene.repository(scene.ready) / ".git", "rev-parse", f"{scene.head(scene.ready)}:{path}").strip()


def lose_tree(scene: Scene) -> str:
    lose_objects(scene, find_object(scene, "a"))
    return str(scene.ready)


def damage_blob(scene: Scene) -> str:
    name = find_object(scene, "README.md")
    path = scene.repository(scene.ready) / ".git" / "objects" / name[:2] / name[2:]
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    return str(scene.ready)


def forget_file(scene: Scene) -> str:
    scene.write("DELETE FROM file_change WHERE generated_project_id = %s AND path = 'empty'", scene.failed)
    scene.write("UPDATE generated_project SET file_count = file_count - 1 WHERE id = %s", scene.failed)
    return str(scene.failed)


def invent_file(scene: Scene) -> str:
    scene.write(
        "INSERT INTO file_change SELECT generated_project_id, position, 'a0', NULL, sha256, 0, mode, origin "
        "FROM file_change WHERE generated_project_id = %s AND path = 'empty'",
        scene.failed,
    )
    scene.write("UPDATE generated_project SET file_count = file_count + 1 WHERE id = %s", scene.failed)
    return str(scene.failed)


def change_row(scene: Scene, column: str, value: str) -> str:
    scene.write(
        f"UPDATE file_change SET {column} = {value} WHERE generated_project_id = %s AND path = 'a-b'", scene.failed
    )
    return str(scene.failed)


def enlarge_row(scene: Scene) -> str:
    scene.write("UPDATE generated_project SET size_bytes = size_bytes + 1 WHERE id = %s", scene.failed)
    return change_row(scene, "size_bytes", "3")


def miscount(scene: Scene, column: str, value: str) -> str:
    scene.write(f"UPDATE generated_project SET {column} = {value} WHERE id = %s", scene.ready)
    return str(scene.ready)


def miscount_project(scene: Scene) -> str:
    scene.write("UPDATE project SET generated_count = 77 WHERE slug = 'default'")
    return "default"


def lose_files(scene: Scene) -> str:
    shutil.rmtree(scene.repository(scene.ready) / "bin")
    (scene.repository(scene.ready) / "a.b" / 'é "x"').unlink()
    return str(scene.ready)


def edit_file(scene: Scene, path: str = "a-b", text: str = "9\n") -> str:
    (scene.repository(scene.ready) / path).write_text(text)
    return str(scene.ready)


def edit_secretly(scene: Scene) -> str:
    """Same size, same time; only its contents tell."""
    path = scene.repository(scene.ready) / "a-b"
    status = path.stat()
    path.write_text("9\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return str(scene.ready)


def make_executable(scene: Scene) -> str:
    (scene.repository(scene.ready) / "a-b").chmod(0o755)
    return str(scene.ready)


def lose_archive(scene: Scene, what: str = "archive_path") -> str:
    Path(scene.export.result.get(what) or str(scene.export.archive_path)).unlink()
    return str(scene.export.id)


def name_foreign_archive(scene: Scene) -> str:
    scene.write("UPDATE repository_export SET archive_path = '/etc/passwd' WHERE id = %s", scene.export.id)
    return str(scene.export.id)


def cut_archive(scene: Scene) -> str:
    path = Path(str(scene.export.archive_path))
    path.write_bytes(path.read_bytes()[:-1])
    return str(scene.export.id)


def damage_archive(scene: Scene, what: str = "archive_path") -> str:
    path = Path(scene.export.result.get(what) or str(scene.export.archive_path))
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    return str(scene.export.id)


def leave_archive(scene: Scene, name: str = "bookings-old.zip") -> str:
    path = scene.directory(scene.ready) / "archives" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (1, 1))
    return str(path)


def leave_directory_among_archives(scene: Scene) -> str:
    (scene.directory(scene.ready) / "archives" / "x").mkdir()
    return leave_archive(scene, "x/y")


def end_run(scene: Scene) -> str:
    scene.runs.live.clear()
    return str(scene.generating)


def end_requested_run(scene: Scene) -> str:
    requested = request(scene.records, run_id="api__gone")
    scene.age("generated_project", requested.generated_project_id)
    return str(requested.generated_project_id)


def end_export_run(scene: Scene) -> str:
    export_id = intend(scene.records, scene.ready, run_id="manual__gone")
    scene.write("UPDATE repository_export SET updated_at = now() - interval '3 hours'")
    scene.records.exports.mark_exporting(export_id)
    scene.age("repository_export", export_id)
    return str(export_id)


def keep_answer(scene: Scene) -> str:
    scene.write('UPDATE agent_call SET response = \'{"say": "x"}\' WHERE id = %s', scene.call)
    return str(scene.deleted)


def keep_job(scene: Scene) -> str:
    scene.write("UPDATE agent_call SET job = '{}' WHERE id = %s", scene.call)
    return str(scene.deleted)


K = FindingKind
DAMAGES = [
    Damage(kind=K.DIRECTORY_WITHOUT_RECORD, plant=plant_stranger, words="has no record", is_mended=True),
    Damage(kind=K.DIRECTORY_OF_DELETED, plant=plant_directory_of_deleted, words="is 'deleted'", is_mended=True),
    Damage(kind=K.RECORD_WITHOUT_DIRECTORY, plant=lose_directory, words="is not there", is_mended=False),
    Damage(kind=K.RECORD_WITHOUT_DIRECTORY, plant=lose_repository, words="no directory '.git'", is_mended=False),
    Damage(kind=K.REMOVAL_UNFINISHED, plant=expire, words="is 'expired'", is_mended=True),
    Damage(kind=K.REMOVAL_UNFINISHED, plant=expire_with_trash, words="is 'expired'", is_mended=True),
    Damage(kind=K.STALE_TRASH, plant=leave_trash, words="left by a removal", is_mended=True),
    Damage(kind=K.STALE_TRASH, plant=leave_trash_link, words="left by a removal", is_mended=True),
    Damage(kind=K.FOREIGN_ENTRY, plant=plant_file, words="file 'notes.txt'", is_mended=False),
    Damage(kind=K.FOREIGN_ENTRY, plant=plant_link_named_like_one, words="symlink", is_mended=False),
    Damage(kind=K.FOREIGN_ENTRY, plant=plant_upper_case, words="directory", is_mended=False),
    Damage(kind=K.OUTSIDE_LINK, plant=link_outside, words="'/etc/passwd'", is_mended=False),
    Damage(
        kind=K.OUTSIDE_LINK,
        plant=lambda scene: link_outside(scene, "../../x", "archives/link"),
        words="'../../x'",
        is_mended=False,
    ),
    Damage(kind=K.OUTSIDE_LINK, plant=link_objects_outside, words="git was not asked", is_mended=False),
    Damage(kind=K.OUTSIDE_LINK, plant=borrow_objects, words="git was not asked", is_mended=False),
    Damage(kind=K.HEAD_DIFFERS, plant=move_branch, words="refs/heads/main", is_mended=True),
    Damage(kind=K.HEAD_DIFFERS, plant=lose_branch, words="is at None", is_mended=True),
    Damage(kind=K.HEAD_DIFFERS, plant=contradict_head, words="contradict", is_mended=False),
    Damage(kind=K.COMMIT_MISSING, plant=lose_commit, words="lacks the commit", is_mended=False),
    Damage(kind=K.OBJECTS_DAMAGED, plant=lose_tree, words="cannot be read by git", is_mended=False),
    Damage(kind=K.OBJECTS_DAMAGED, plant=damage_blob, words="damaged objects", is_mended=False, deep=True),
    Damage(kind=K.FILES_DIFFER, plant=forget_file, words="'empty' is not in the records", is_mended=False),
    Damage(kind=K.FILES_DIFFER, plant=invent_file, words="'a0' is not in the commit", is_mended=False),
    Damage(
        kind=K.FILES_DIFFER,
        plant=lambda scene: change_row(scene, "mode", "33261"),
        words="mode 100755 in the records and 100644",
        is_mended=False,
    ),
    Damage(
        kind=K.FILES_DIFFER,
        plant=enlarge_row,
        words="3 bytes in the records and 2",
        is_mended=False,
    ),
    Damage(
        kind=K.FILES_DIFFER,
        plant=lambda scene: change_row(scene, "sha256", f"'{'0' * 64}'"),
        words="SHA-256",
        is_mended=False,
        deep=True,
    ),
    Damage(
        kind=K.TOTALS_DIFFER,
        plant=lambda scene: miscount(scene, "file_count", "1"),
        words="file_count 1 instead of 7",
        is_mended=True,
    ),
    Damage(
        kind=K.TOTALS_DIFFER,
        plant=lambda scene: miscount(scene, "size_bytes", "1"),
        words="size_bytes 1 instead of",
        is_mended=True,
    ),
    Damage(
        kind=K.TOTALS_DIFFER,
        plant=lambda scene: miscount(scene, "export_count", "0"),
        words="export_count 0 instead of 1",
        is_mended=True,
    ),
    Damage(
        kind=K.TOTALS_DIFFER,
        plant=lambda scene: miscount(scene, "export_status", "NULL"),
        words="export_status none instead of exported",
        is_mended=True,
    ),
    Damage(kind=K.TOTALS_DIFFER, plant=miscount_project, words="77 instead of 4", is_mended=True),
    Damage(kind=K.CHECKOUT_DIFFERS, plant=lose_files, words="'a.b/é \"x\"', 'bin/run'", is_mended=True),
    Damage(kind=K.CHECKOUT_DIFFERS, plant=edit_file, words="'a-b' is changed", is_mended=False),
    Damage(kind=K.CHECKOUT_DIFFERS, plant=edit_secretly, words="'a-b' is changed", is_mended=False),
    Damage(kind=K.CHECKOUT_DIFFERS, plant=make_executable, words="'a-b' is changed", is_mended=False),
    Damage(
        kind=K.CHECKOUT_DIFFERS,
        plant=lambda scene: edit_file(scene, "a/new"),
        words="'a/new' is extra",
        is_mended=False,
    ),
    Damage(kind=K.ARCHIVE_MISSING, plant=lose_archive, words="and there is no", is_mended=False),
    Damage(
        kind=K.ARCHIVE_MISSING,
        plant=lambda scene: lose_archive(scene, "manifest_path"),
        words="manifest.json",
        is_mended=False,
    ),
    Damage(kind=K.ARCHIVE_MISSING, plant=name_foreign_archive, words="'/etc/passwd', and there is no", is_mended=False),
    Damage(kind=K.ARCHIVE_DAMAGED, plant=cut_archive, words="bytes instead of", is_mended=False),
    Damage(kind=K.ARCHIVE_DAMAGED, plant=damage_archive, words="SHA-256", is_mended=False, deep=True),
    Damage(
        kind=K.ARCHIVE_DAMAGED,
        plant=lambda scene: damage_archive(scene, "bundle_path"),
        words=".bundle",
        is_mended=False,
        deep=True,
    ),
    Damage(kind=K.ARCHIVE_UNREFERENCED, plant=leave_archive, words="no export", is_mended=True),
    Damage(kind=K.ARCHIVE_UNREFERENCED, plant=leave_directory_among_archives, words="is left alone", is_mended=False),
    Damage(kind=K.RUN_GONE, plant=end_run, words="run 'manual__live' of DAG 'openapi_service'", is_mended=True),
    Damage(kind=K.RUN_GONE, plant=end_requested_run, words="is 'pending'", is_mended=True),
    Damage(kind=K.RUN_GONE, plant=end_export_run, words="run 'manual__gone' of DAG", is_mended=True),
    Damage(kind=K.ANSWERS_LEFT, plant=keep_answer, words="1 of its agent calls", is_mended=True),
    Damage(kind=K.ANSWERS_LEFT, plant=keep_job, words="1 of its agent calls", is_mended=True),
]
REMOTE_KINDS = {K.REMOTE_MISSING, K.REMOTE_DIFFERS, K.REMOTE_UNKNOWN}


def test_every_kind_is_planted() -> None:
    assert {damage.kind for damage in DAMAGES} | REMOTE_KINDS == set(FindingKind)
    assert {damage.kind for damage in REMOTE_DAMAGES} == REMOTE_KINDS


@pytest.mark.parametrize("damage", DAMAGES, ids=[f"{one.kind}-{number}" for number, one in enumerate(DAMAGES)])
def test_damage_is_found_alone_and_mended_or_left(scene: Scene, damage: Damage) -> None:
    subject = damage.plant(scene)
    if damage.deep:
        assert scene.examine() == []
    before = scene.snapshot()
    first = scene.examine(deep=damage.deep)
    assert found(first) == [(damage.kind.value, subject)]
    assert damage.words in first[0].detail
    assert (first[0].is_repairable, first[0].repaired) == (damage.is_mended, False)
    assert scene.snapshot() == before
    mended = scene.examine(deep=damage.deep, repair=True)
    assert mended == [replace(first[0], repaired=damage.is_mended)]
    if damage.is_mended:
        assert scene.examine(deep=damage.deep) == []
    else:
        assert scene.snapshot() == before


# Remotes


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "git").mkdir()
    with serve_git(tmp_path / "git") as server:
        yield server


@dataclass(frozen=True, kw_only=True)
class HostConnection:
    """What exporters of hosts connect with, as far as the doctor uses it."""

    location: str
    remote: GitRemote

    def get_git_remote(self) -> GitRemote:
        return self.remote


class Remotes:
    """A generated project that was exported to a git server and, as far as its record says, to other hosts."""

    def __init__(self, scene: Scene, server: GitServer, target: str) -> None:
        self.scene = scene
        self.server = server
        self.target = target
        self.directory = server.create("bookings")
        self.remote = GitRemote(url=f"{server.url}/{{name}}.git", username=server.username, password=server.password)
        self.export = export_generated_project(
            scene.records,
            scene.ready,
            step_id="publish",
            target="git",
            options={},
            connection=self.remote,
            connection_id="test_host",
            settings=scene.settings,
        )
        if target != "git":
            scene.write(
                "UPDATE repository_export SET target = %s, remote_id = '7', remote_name = 'bookings', location = %s "
                "WHERE id = %s",
                target,
                server.url,
                self.export.id,
            )

    def examine(self) -> list[Finding]:
        connection: Any = self.remote
        if self.target != "git":
            url = self.remote.url.removesuffix("/{name}.git")
            connection = HostConnection(location=url, remote=replace(self.remote, url=url))
        doctor = Doctor(
            self.scene.records,
            settings=replace(self.scene.settings, export_timeout_seconds=20),
            runs=self.scene.runs,
            scope=Scope(remotes=True, repair=True),
            connect=lambda *_: connection,
        )
        return list(doctor.examine())


def lose_remote_repository(remotes: Remotes) -> None:
    shutil.rmtree(remotes.directory)


def lose_remote_branch(remotes: Remotes) -> None:
    run_git(remotes.directory, "update-ref", "-d", "refs/heads/main")


def move_on(remotes: Remotes) -> None:
    tree = f"{remotes.export.exported_commit}^{{tree}}"
    environment = {
        "GIT_AUTHOR_NAME": "x",
        "GIT_AUTHOR_EMAIL": "x@x",
        "GIT_COMMITTER_NAME": "x",
        "GIT_COMMITTER_EMAIL": "x",
    }
    command = ["git", "--git-dir", str(remotes.directory), "commit-tree", "-m", "x", tree]
    made = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment).stdout
    run_git(remotes.directory, "update-ref", "refs/heads/main", made.strip())


def merge_request(remotes: Remotes) -> None:
    lose_remote_branch(remotes)
    remotes.scene.write('UPDATE repository_export SET result = \'{"request": "1"}\' WHERE id = %s', remotes.export.id)


def change_password(remotes: Remotes) -> None:
    remotes.remote = replace(remotes.remote, password="wr0ng-secret")


def take_host_away(remotes: Remotes) -> None:
    remotes.scene.write(
        "UPDATE repository_export SET location = 'http://127.0.0.1:9/{name}.git', "
        "remote_id = 'http://127.0.0.1:9/bookings.git' WHERE id = %s",
        remotes.export.id,
    )
    remotes.remote = replace(remotes.remote, url="http://127.0.0.1:9/{name}.git")


def name_another_host(remotes: Remotes) -> None:
    """Credentials go to no host that only the records name."""
    remotes.scene.write(
        "UPDATE repository_export SET remote_id = 'http://evil.example/bookings.git' WHERE id = %s", remotes.export.id
    )


def move_connection(remotes: Remotes) -> None:
    remotes.scene.write(
        "UPDATE repository_export SET location = 'https://old.example' WHERE id = %s", remotes.export.id
    )


@dataclass(frozen=True, kw_only=True)
class RemoteDamage:
    kind: FindingKind
    plant: Callable[[Remotes], None]
    words: str
    target: str = "git"


REMOTE_DAMAGES = [
    RemoteDamage(kind=K.REMOTE_MISSING, plant=lose_remote_repository, words="is gone"),
    RemoteDamage(kind=K.REMOTE_MISSING, plant=lose_remote_branch, words="no branch 'main'"),
    RemoteDamage(kind=K.REMOTE_MISSING, plant=lose_remote_repository, words="is gone", target="github"),
    RemoteDamage(kind=K.REMOTE_MISSING, plant=lose_remote_branch, words="no branch 'main'", target="gitlab"),
    RemoteDamage(kind=K.REMOTE_DIFFERS, plant=move_on, words="has moved on"),
    RemoteDamage(kind=K.REMOTE_DIFFERS, plant=merge_request, words="as after a merge", target="github"),
    RemoteDamage(kind=K.REMOTE_UNKNOWN, plant=change_password, words="Authentication failed"),
    RemoteDamage(kind=K.REMOTE_UNKNOWN, plant=take_host_away, words="could not be checked"),
    RemoteDamage(kind=K.REMOTE_UNKNOWN, plant=name_another_host, words="'http://evil.example/bookings.git'"),
    RemoteDamage(kind=K.REMOTE_UNKNOWN, plant=move_connection, words="'https://old.example'"),
]


@pytest.mark.parametrize(
    "damage", REMOTE_DAMAGES, ids=[f"{one.kind}-{number}" for number, one in enumerate(REMOTE_DAMAGES)]
)
def test_what_became_of_a_remote_is_told_and_never_repaired(
    scene: Scene, git_server: GitServer, damage: RemoteDamage
) -> None:
    remotes = Remotes(scene, git_server, damage.target)
    assert remotes.examine() == []
    damage.plant(remotes)
    [finding] = remotes.examine()
    assert (finding.kind, finding.subject) == (damage.kind, str(remotes.export.id))
    assert damage.words in finding.detail
    assert (finding.is_repairable, finding.remains) == (False, damage.kind not in NOTES)
    assert not [secret for secret in (git_server.password, "wr0ng-secret") if secret in finding.detail]


def test_a_host_that_is_away_is_not_asked_for_ever(scene: Scene, git_server: GitServer) -> None:
    remotes = Remotes(scene, git_server, "git")
    take_host_away(remotes)
    for _ in range(5):
        scene.write(
            "INSERT INTO repository_export (id, generated_project_id, step_id, target, connection, location, options, "
            "idempotency_key, commit, status, remote_id, exported_commit, branch, url) "
            "SELECT gen_random_uuid(), generated_project_id, step_id, target, connection, location, options, "
            "gen_random_uuid()::text, commit, status, remote_id, exported_commit, branch, url "
            "FROM repository_export WHERE id = %s",
            remotes.export.id,
        )
    scene.records.doctor.recount(scene.ready)
    told = [one.detail for one in remotes.examine()]
    assert [("was not asked again" in detail) for detail in told] == [False] * 3 + [True] * 3


# Safety


def plant_strangers(scene: Scene, count: int) -> list[Path]:
    paths = [scene.root / str(uuid4()) for _ in range(count)]
    for path in paths:
        path.mkdir(parents=True)
    return paths


def test_many_directories_without_a_record_stay_until_that_is_asked_for(scene: Scene) -> None:
    paths = plant_strangers(scene, root.MAX_REMOVED + 1)
    findings = scene.examine(repair=True)
    assert {one.subject for one in findings} == set(map(str, paths))
    assert {(one.is_repairable, one.repaired) for one in findings} == {(False, False)}
    assert "--repair --all-directories" in findings[0].detail
    assert all(path.is_dir() for path in paths)
    assert {one.repaired for one in scene.examine(repair=True, all_directories=True)} == {True}
    assert scene.examine() == []


def test_a_hundred_directories_without_a_record_go(scene: Scene) -> None:
    plant_strangers(scene, root.MAX_REMOVED)
    assert [one.repaired for one in scene.examine(repair=True)] == [True] * root.MAX_REMOVED


def test_the_records_of_another_installation_remove_nothing(records: ProjectRecords, settings: Settings) -> None:
    paths = [settings.generated_projects_dir / str(uuid4()) for _ in range(root.MAX_REMOVED_OF_STRANGERS + 1)]
    for path in paths:
        path.mkdir(parents=True)
    doctor = Doctor(records, settings=settings, runs=LiveRuns(), scope=Scope(repair=True))
    assert {one.repaired for one in doctor.examine()} == {False}
    assert all(path.is_dir() for path in paths)


def test_nothing_is_removed_in_a_directory_of_other_records(scene: Scene) -> None:
    [path] = plant_strangers(scene, 1)
    marker = path.parent / ".scaffolder"
    marker.write_text(f"{uuid4()}\n")
    [finding] = scene.examine(repair=True, all_directories=True)
    assert (finding.repaired, path.is_dir()) == (False, True)
    assert "belongs to other records" in finding.detail
    marker.unlink()
    assert [one.repaired for one in scene.examine(repair=True)] == [True]


def test_removal_takes_nothing_that_a_link_leads_to(scene: Scene, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    plant_stranger(scene)
    (scene.root / STRANGER / "link").symlink_to(outside, target_is_directory=True)
    leave_trash_link(scene)
    assert {one.repaired for one in scene.examine(repair=True)} == {True}
    assert (outside / "precious").read_text() == "x"
    assert not (scene.root / STRANGER).exists()


def test_a_trash_that_is_a_link_is_foreign_and_not_used(scene: Scene, tmp_path: Path) -> None:
    (scene.root / ".trash").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (scene.root / ".trash").symlink_to(tmp_path / "elsewhere")
    plant_stranger(scene)
    findings = scene.examine(repair=True)
    assert {(one.kind, one.repaired) for one in findings} == {
        (K.FOREIGN_ENTRY, False),
        (K.DIRECTORY_WITHOUT_RECORD, False),
    }
    assert "It was not repaired: " in str(findings)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_nothing_that_was_planted_in_a_repository_runs(scene: Scene, tmp_path: Path) -> None:
    """Neither when it is read nor when its branch is moved and its files are written."""
    repository = scene.repository(scene.ready)
    trap = tmp_path / "trap"
    trap.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/sprung\ncat\n')
    trap.chmod(0o755)
    hooks = repository / ".git" / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout", "post-index-change", "pre-auto-gc"):
        shutil.copy(trap, hooks / name)
    with (repository / ".git" / "config").open("a") as config:
        config.write(
            f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = {trap}\n\tpager = {trap}\n\tsshCommand = {trap}\n"
            f"\talternateRefsCommand = {trap}\n\teditor = {trap}\n"
            f'[filter "trap"]\n\tclean = {trap}\n\tsmudge = {trap}\n\trequired = true\n'
            f'[diff "trap"]\n\ttextconv = {trap}\n\tcommand = {trap}\n'
            f'[remote "origin"]\n\turl = ssh://x/x\n\tpromisor = true\n\tuploadpack = {trap}\n'
            "[extensions]\n\tpartialClone = origin\n"
            f"[gpg]\n\tprogram = {trap}\n[credential]\n\thelper = {trap}\n[alias]\n\tcat-file = !{trap}\n"
        )
    (repository / ".git" / "info" / "attributes").write_text("* filter=trap diff=trap\n")
    move_branch(scene)
    assert (tmp_path / "sprung").exists(), "the trap springs where git is asked as usual"
    (tmp_path / "sprung").unlink()
    lose_files(scene)
    assert [one.repaired for one in scene.examine(deep=True, repair=True)] == [True, True]
    lose_commit(scene)
    assert K.COMMIT_MISSING in [one.kind for one in scene.examine(deep=True, repair=True)]
    assert not (tmp_path / "sprung").exists()
    assert (repository / "bin" / "run").read_text() == "#!/bin/sh\n"
    assert run_git(repository / ".git", "rev-parse", "refs/heads/main").strip() == scene.head(scene.ready)


def test_a_configuration_hides_no_damage(scene: Scene) -> None:
    """Asked there, git would not go beyond it."""
    with (scene.repository(scene.ready) / ".git" / "config").open("a") as config:
        config.write("[core]\n\trepositoryFormatVersion = 1\n[extensions]\n\tunknown = true\n")
    assert scene.examine() == []
    lose_commit(scene)
    assert [one.kind for one in scene.examine()] == [K.COMMIT_MISSING]


def test_a_replacement_hides_no_damage(scene: Scene) -> None:
    repository = scene.repository(scene.ready) / ".git"
    good, bad = find_object(scene, "README.md"), find_object(scene, "empty")
    run_git(repository, "update-ref", f"refs/replace/{good}", bad)
    lose_objects(scene, good)
    assert [one.kind for one in scene.examine()] == [K.OBJECTS_DAMAGED]


def test_archives_are_found_where_the_directory_has_moved(scene: Scene) -> None:
    """Their records name the place before."""
    for path in (scene.directory(scene.ready) / "archives").iterdir():
        os.utime(path, (1, 1))
    scene.write(
        "UPDATE repository_export SET archive_path = replace(archive_path, %s, '/srv'), "
        "result = replace(result::text, %s, '/srv')::json",
        str(scene.root),
        str(scene.root),
    )
    before = scene.snapshot()
    assert scene.examine(repair=True, deep=True) == []
    assert scene.snapshot() == before
    cut_archive(scene)
    assert [one.kind for one in scene.examine()] == [K.ARCHIVE_DAMAGED]


def test_an_edit_is_never_overwritten(scene: Scene) -> None:
    edit_file(scene, "README.md", "mine\n")
    lose_files(scene)
    (scene.repository(scene.ready) / "bin").symlink_to("a")
    findings = scene.examine(repair=True)
    assert sorted((one.is_repairable, one.repaired) for one in findings) == [(False, False), (True, False)]
    assert any("something else is in the way of 'bin/run'" in one.detail for one in findings)
    assert (scene.repository(scene.ready) / "README.md").read_text() == "mine\n"
    assert sorted(path.name for path in (scene.repository(scene.ready) / "a").iterdir()) == ["x"]


def test_files_come_back_with_their_contents_and_modes(scene: Scene) -> None:
    repository = scene.repository(scene.ready)
    for path in repository.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert [one.repaired for one in scene.examine(repair=True)] == [True]
    for file in FILES:
        path = repository / file.path
        assert path.read_bytes() == file.content
        assert bool(path.stat().st_mode & 0o100) == file.executable
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=repository, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""


def test_what_is_under_way_is_left_to_its_next_try(scene: Scene) -> None:
    for key in (scene.generating, scene.failed):
        git_directory = scene.repository(key) / ".git"
        (git_directory / "refs" / "heads" / "main").unlink()
        (scene.repository(key) / "a-b").unlink()
    assert scene.examine(repair=True) == []


def test_what_is_young_is_no_finding(scene: Scene) -> None:
    scene.runs.live.clear()
    scene.write("UPDATE generated_project SET updated_at = now() WHERE id = %s", scene.generating)
    intend(scene.records, scene.ready, run_id="manual__gone")
    Path(leave_archive(scene)).write_bytes(b"new")
    assert scene.examine(repair=True) == []


def test_a_run_that_was_taken_up_again_is_not_failed(scene: Scene) -> None:
    key = end_run(scene)
    doctor = Doctor(scene.records, settings=scene.settings, runs=scene.runs, scope=Scope(repair=True))
    find_live = scene.runs.find_live

    def restart(runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        live = find_live(runs)
        scene.runs.live.add(LIVE_RUN)
        return live

    scene.runs.find_live = restart  # type: ignore[method-assign]  # of this one alone
    [finding] = doctor.examine()
    assert (finding.repaired, "goes on by now" in finding.detail) == (False, True)
    assert scene.records.get_generated_project(UUID(key)).status is GeneratedProjectStatus.GENERATING


def test_a_run_that_is_gone_leaves_its_reason(scene: Scene) -> None:
    end_run(scene)
    scene.examine(repair=True)
    failed = scene.records.get_generated_project(scene.generating)
    assert failed.status is GeneratedProjectStatus.FAILED
    assert str(failed.error).startswith("its run is gone: run 'manual__live' of DAG 'openapi_service'")


def test_what_changes_meanwhile_is_looked_at_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal that runs at the same time makes no finding."""
    find_missing = ObjectStore.find_missing
    removed: list[UUID] = []

    def remove_first(store: ObjectStore, commits: Any) -> set[str]:
        if not removed and str(scene.ready) in str(store._objects):
            removed.append(scene.ready)
            remove_generated_project(scene.records, scene.ready, settings=scene.settings)
        return find_missing(store, commits)

    monkeypatch.setattr(ObjectStore, "find_missing", remove_first)
    assert scene.examine() == []
    assert removed == [scene.ready]


def test_a_removal_that_ends_meanwhile_is_no_finding(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    list_examined = DoctorRecords.list_examined
    expire(scene)

    def end_removals(records: DoctorRecords, **values: Any) -> Any:
        page = list_examined(records, **values)
        remove_generated_project(scene.records, scene.ready, settings=scene.settings)
        return page

    monkeypatch.setattr(DoctorRecords, "list_examined", end_removals)
    assert scene.examine() == []


def test_no_transaction_is_open_while_disks_are_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = set()
    find_missing = ObjectStore.find_missing

    def look(store: ObjectStore, commits: Any) -> set[str]:
        statuses.add(scene.connection.info.transaction_status)
        return find_missing(store, commits)

    monkeypatch.setattr(ObjectStore, "find_missing", look)
    scene.examine()
    assert statuses == {psycopg.pq.TransactionStatus.IDLE}


def test_many_files_are_read_in_pages(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaffolder.records.doctor._FILES_PER_PAGE", 2)
    assert scene.examine(deep=True) == []
    invent_file(scene)
    assert [one.kind for one in scene.examine()] == [K.FILES_DIFFER]


def test_one_project_is_looked_at_alone(scene: Scene) -> None:
    plant_stranger(scene)
    leave_trash(scene)
    end_export_run(scene)
    plant_directory_of_deleted(scene)
    miscount_project(scene)
    edit_file(scene)
    assert scene.examine(project="other") == []
    assert {one.kind for one in scene.examine(project="default")} == {
        K.RUN_GONE,
        K.DIRECTORY_OF_DELETED,
        K.TOTALS_DIFFER,
        K.CHECKOUT_DIFFERS,
    }
    with pytest.raises(RecordNotFoundError, match="no project 'nowhere'"):
        scene.examine(project="nowhere")


def test_many_links_are_counted(scene: Scene) -> None:
    for number in range(25):
        link_outside(scene, path=f"repository/a/link{number}")
    findings = scene.examine()
    assert [one.kind for one in findings] == [K.OUTSIDE_LINK] * 11
    assert "15 more symlinks" in findings[-1].detail


# The command


def test_the_command_tells_and_ends_with_what_remains(
    scene: Scene, postgres: EmbeddedPostgres, records_database: str
) -> None:
    environment = {"SCAFFOLDER_GENERATED_PROJECTS_DIR": str(scene.root)}
    scene.write("UPDATE generated_project SET updated_at = now()")  # Airflow's database is not asked

    def examine(*arguments: str) -> tuple[int, str, str]:
        finished = run(postgres, records_database, "doctor", *arguments, **environment)
        return finished.returncode, finished.stdout, finished.stderr

    assert examine("--deep")[:2] == (0, "Nothing is wrong\n")
    plant_stranger(scene)
    plant_file(scene)
    code, told, errors = examine("--repair", "--json")
    data = json.loads(told)
    assert (code, data["remaining"]) == (1, 1), errors
    assert sorted((one["kind"], one["is_repairable"], one["repaired"]) for one in data["findings"]) == [
        ("directory-without-record", True, True),
        ("foreign-entry", False, False),
    ]


def test_all_directories_go_only_with_a_repair() -> None:
    with pytest.raises(InvalidParametersError, match="accepted is --repair with it"):
        doctor(all_directories=True)


def test_an_answer_without_findings_is_json() -> None:
    told: list[str] = []
    assert print_json(iter(()), told.append) == 0
    assert json.loads("".join(told)) == {"findings": [], "remaining": 0}


def test_a_finding_reaches_the_terminal_as_text() -> None:
    told: list[str] = []
    finding = Finding(kind=K.FOREIGN_ENTRY, subject="x", detail="\x1b[31m\udcff", is_repairable=False, repaired=False)
    assert print_lines(iter([finding, replace(finding, repaired=True)]), told.append) == 1
    assert told[-1] == "2 findings, 1 repaired, 1 remain\n"
    assert "".join(told).isascii()
    assert "\x1b" not in "".join(told)


def test_files_that_nobody_has_touched_are_read_only_when_asked_to(
    new_scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def note(name: str, **values: Any) -> str | None:
        read.append(name)
        return digest_file(name, **values)

    monkeypatch.setattr(checkout, "digest_file", note)
    assert new_scene.examine() == []
    shallow = len(read)
    assert new_scene.examine(deep=True) == []
    # The last one may be as old as the index, to the clock's tick.
    assert (shallow <= 1, len(read) - shallow) == (True, len(FILES) + 1)


def test_every_kind_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    rows = {
        line.split("`")[1] for line in text.splitlines() if line.startswith("| `") and "--" not in line.split("`")[1]
    }
    assert rows == {kind.value for kind in FindingKind}
