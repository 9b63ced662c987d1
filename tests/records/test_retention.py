"""Retention: what is due goes, whoever is killed or races; what is live, held, exporting or kept by a rule never does."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.errors import (
    InvalidParametersError,
    RecordNotFoundError,
    RecordsUnavailableError,
    SettingsError,
    StatusTransitionError,
    StorageError,
)
from scaffolder.generation.merge import TreeEdits
from scaffolder.generation.step_commit import commit_step, get_project_directory
from scaffolder.operators.run import get_generated_project_id
from scaffolder.records import schema
from scaffolder.records.models import ExportStatus, GeneratedProjectStatus
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.cleanup import CleanUp, CleanUpRequest, check_request
from scaffolder.retention.directory import ProjectsDirectory
from scaffolder.retention.removal import remove_generated_project
from scaffolder.retention.report import Report
from scaffolder.retention.rules import find_rules, load_rules
from scaffolder.retention.sweep import ABANDONED
from tests.conftest import CHECKOUT
from tests.factories import begin_call, make_file, make_run, open_project
from tests.profile import NIGHTLY, examples

DELETED = GeneratedProjectStatus.DELETED


@dataclass
class LiveRuns:
    """The engine's runs, as a test wants them."""

    live: set[tuple[str, str]] = field(default_factory=set)
    asked: list[Collection[tuple[str, str]]] = field(default_factory=list)

    def find_live(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        self.asked.append(runs)
        return self.live & set(runs)


@dataclass
class Place:
    """Records, a directory, and short ways to generated projects of any age."""

    records: ProjectRecords
    connection: psycopg.Connection[Any]
    settings: Settings
    runs: LiveRuns = field(default_factory=LiveRuns)
    said: list[str] = field(default_factory=list)

    def make(
        self,
        *,
        days: float = 31,
        project: str = "default",
        workflow: str = "openapi_service",
        status: str = "ready",
        files: int = 2,
        written: bool = True,
    ) -> UUID:
        """Make one that ended `days` ago."""
        key = open_project(self.records, project=project, workflow=workflow, run=make_run(dag_id=workflow)).id
        if written:
            edits = TreeEdits(files=[make_file(f"d/{number}.txt", f"{number}\n" * 50) for number in range(files)])
            commit_step(
                self.records, key, step_id="files", subject="x", edits=edits, trailers=(), settings=self.settings
            )
        if status == "ready":
            self.records.mark_ready(key, rules=load_rules(self.settings))
        elif status == "failed":
            self.records.mark_failed(key, error="x", rules=load_rules(self.settings))
        self.age(key, days=days)
        return key

    def make_many(self, count: int, **values: Any) -> list[UUID]:
        return [self.make(written=False, **values) for _ in range(count)]

    def age(self, key: UUID, *, days: float) -> None:
        """Let it have happened `days` earlier."""
        self.connection.execute("ALTER TABLE generated_project DISABLE TRIGGER set_updated_at")
        self.connection.execute(
            "UPDATE generated_project SET ended_at = ended_at - %(by)s, expires_at = expires_at - %(by)s,"
            " created_at = created_at - %(by)s, updated_at = updated_at - %(by)s WHERE id = %(id)s",
            {"by": timedelta(days=days), "id": key},
        )
        self.connection.execute("ALTER TABLE generated_project ENABLE TRIGGER set_updated_at")

    def export(self, key: UUID, *, status: str = "exported") -> UUID:
        export = uuid4()
        self.records.exports.intend(
            export,
            generated_project_id=key,
            step_id="publish",
            target="git",
            options={},
            idempotency_key=str(export),
            commit="a" * 40,
            dag_id="export_repository",
            run_id=f"run-{export}",
        )
        if status != "pending":
            self.records.exports.mark_exporting(export)
        if status == "exported":
            self.records.exports.mark_exported(export, url="https://git.example/x", archive_sha256="b" * 64)
        return export

    def clean_up(self, *, run: str = "cleanup/one", settings: Settings | None = None, **values: Any) -> Report:
        settings = settings or self.settings
        return CleanUp(
            self.records,
            make_request(settings, **values),
            run=run,
            runs=self.runs,
            settings=settings,
            progress=self.said.append,
        ).execute()

    def status(self, key: UUID) -> str:
        return self.records.get_generated_project(key).status.value

    def directory(self, key: UUID) -> Path:
        return get_project_directory(key, settings=self.settings)

    def gone(self, keys: Collection[UUID]) -> set[UUID]:
        return {key for key in keys if self.records.get_generated_project(key).status is DELETED}


def make_request(settings: Settings, **values: Any) -> CleanUpRequest:
    given: dict[str, Any] = {
        "retention_days": settings.generated_projects_retention_days,
        "dry_run": False,
        "project": None,
        "batch_size": 500,
        "max_runtime_minutes": 10,
        "free_size": None,
    }
    return check_request(**(given | values))


@pytest.fixture
def place(records: ProjectRecords, connection: psycopg.Connection[Any], settings: Settings, tmp_path: Path) -> Place:
    settings = replace(settings, cache_dir=tmp_path / "cache")
    settings.generated_projects_dir.mkdir(parents=True, exist_ok=True)
    return Place(records, connection, settings)


def ids(entries: list[dict[str, Any]]) -> set[UUID]:
    return {UUID(one["id"]) for one in entries}


# What is due


def test_what_is_old_goes_and_the_rest_stays(place: Place) -> None:
    old, failed, young, young_failed = (
        place.make(days=30.01),
        place.make(days=7.01, status="failed"),
        place.make(days=29.99),
        place.make(days=6.99, status="failed"),
    )
    export = place.export(old)
    report = place.clean_up()
    assert place.gone([old, failed, young, young_failed]) == {old, failed}
    assert [place.directory(key).exists() for key in (old, failed, young, young_failed)] == [False, False, True, True]
    assert (report.removal.projects, report.removal.files, report.due_left) == (2, 4, 0)
    assert report.disk_bytes > report.removal.size_bytes > 0
    assert {one["id"]: one["why"] for one in report.removal.entries} == {
        str(old): "30 days after it was ready",
        str(failed): "7 days after it was failed",
    }
    # What it was and where it went stays.
    found = place.records.get_generated_project(old)
    assert (found.created_by, found.removal_reason, found.file_count) == ("ada", "30 days after it was ready", 2)
    assert found.head_commit is not None
    kept = place.records.exports.get(export)
    assert (kept.url, kept.archive_sha256, kept.status) == ("https://git.example/x", "b" * 64, ExportStatus.EXPORTED)
    assert place.records.list_files(old) == []
    assert place.clean_up(run="cleanup/two").removal.projects == 0


def test_a_dry_run_says_exactly_what_a_real_run_does(place: Place) -> None:
    place.make(days=40)
    place.make(days=35, project="other")
    place.records.hold(place.make(days=50), reason="demo", username="olga", until=None)
    place.export(place.make(days=60), status="exporting")
    place.make_many(3, days=8, status="failed")
    before = place.connection.execute("SELECT count(*), max(id) FROM event").fetchone()
    files = sorted(place.settings.generated_projects_dir.rglob("*"))
    dry = place.clean_up(dry_run=True).to_json()
    assert place.connection.execute("SELECT count(*), max(id) FROM event").fetchone() == before
    assert [
        one for one in sorted(place.settings.generated_projects_dir.rglob("*")) if ".trash" not in str(one)
    ] == files
    real = place.clean_up().to_json()
    assert dry["removal"] == real["removal"]
    assert dry["kept"] == real["kept"]
    assert (dry["removal"]["projects"], dry["kept"]["projects"]) == (5, 2)
    assert dry["kept"]["because"] == {"held": 1, "it is being exported": 1}


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ('[{"project": "pay*", "days": 90}]', {"payments"}),
        ('[{"workflow": "other", "days": 41}]', {"other workflow"}),
        ('[{"status": "failed", "days": 41}]', {"failed"}),
        ('[{"status": "ready", "days": "forever"}]', {"payments", "other workflow", "ready"}),
        ('[{"project": "payments", "days": 90}, {"days": 1}]', {"payments"}),
        ('[{"days": 90}, {"project": "payments", "days": 1}]', {"payments", "other workflow", "failed", "ready"}),
        ('[{"project": "pay_ents", "days": 90}]', set()),
        ("[]", set()),
    ],
)
def test_the_first_rule_that_fits_decides(place: Place, rules: str, kept: set[str]) -> None:
    made = {
        "payments": place.make(days=40, project="payments", written=False),
        "other workflow": place.make(days=40, workflow="other", written=False),
        "failed": place.make(days=40, status="failed", written=False),
        "ready": place.make(days=40, written=False),
    }
    place.clean_up(settings=replace(place.settings, retention_rules=rules))
    gone = place.gone(made.values())
    assert {name for name, key in made.items() if key not in gone} == kept


def test_the_newest_are_kept_and_what_no_export_has(place: Place) -> None:
    old = [place.make(days=100 - number, written=False) for number in range(4)]
    other = place.make(days=100, project="other", written=False)
    settings = replace(place.settings, retention_keep_newest=2)
    report = place.clean_up(settings=settings)
    assert place.gone([*old, other]) == set(old[:2])
    assert report.kept_because == {"it is one of the newest": 3}
    place.export(old[3])
    report = place.clean_up(settings=replace(place.settings, retention_keep_unexported=True), run="cleanup/two")
    assert place.gone([*old, other]) == {*old[:2], old[3]}
    assert report.kept_because == {"it was not exported": 2}


def test_what_is_held_exported_or_live_stays_until_it_is_not(place: Place) -> None:
    held, exporting, live = place.make(days=40), place.make(days=40), place.make(days=40, status="failed")
    place.records.hold(held, reason="for the audit", username="olga", until=None)
    export = place.export(exporting, status="exporting")
    run = place.records.get_generated_project(live)
    place.runs.live = {(run.dag_id, run.run_id)}
    report = place.clean_up()
    assert place.gone([held, exporting, live]) == set()
    assert {UUID(one["id"]): one["why"] for one in report.kept.entries} == {
        held: "held by olga: for the audit",
        exporting: "it is being exported",
        live: "its run is live",
    }
    place.records.release(held)
    place.records.exports.mark_failed(export, error="x")
    place.runs.live = set()
    place.clean_up()
    assert place.gone([held, exporting, live]) == {held, exporting, live}


def test_a_hold_ends_by_itself(place: Place) -> None:
    key = place.make(days=40)
    until = place.records.retention.read_clock() + timedelta(seconds=30)
    place.records.hold(key, reason="x", username="olga", until=until)
    assert place.clean_up().kept.entries[0]["why"].startswith("held by olga until ")
    place.connection.execute("UPDATE generated_project SET held_until = now() - interval '1 second'")
    place.clean_up()
    assert place.gone([key]) == {key}


def test_one_project_alone(place: Place) -> None:
    mine, other = place.make(days=40, project="mine"), place.make(days=40, project="other")
    report = place.clean_up(project="mine")
    assert (place.gone([mine, other]), report.swept) == ({mine}, {})
    with pytest.raises(RecordNotFoundError, match="no project 'nowhere'"):
        place.clean_up(project="nowhere")


@pytest.mark.parametrize("name", ["retention_days", "batch_size", "max_runtime_minutes"])
@pytest.mark.parametrize("value", [0, -1, None, "", "30", "all", 1.5, True, 10**9])
def test_a_number_that_is_none_deletes_nothing(place: Place, name: str, value: Any) -> None:
    with pytest.raises(InvalidParametersError, match=r"so nothing was deleted; accepted is a whole number from 1 to"):
        make_request(place.settings, **{name: value})


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "{}",
        '[{"days": 0}]',
        '[{"days": -1}]',
        '[{"days": "30"}]',
        '[{"days": null}]',
        '[{"days": true}]',
        '[{"project": ""}]',
        '[{"project": "a b", "days": 1}]',
        '[{"status": "deleted", "days": 1}]',
        '[{"workflow": "demo", "keep_newest": 1}]',
        '[{"status": "ready", "keep_newest": 1}]',
        '[{"retention": 1}]',
        "[3]",
        "[" * 10_000,
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(place: Place, text: str) -> None:
    key = place.make(days=1_000)
    with pytest.raises(SettingsError, match=r"SCAFFOLDER_RETENTION_RULES.*accepted"):
        place.clean_up(settings=replace(place.settings, retention_rules=text))
    assert place.gone([key]) == set()


def test_the_directory_that_is_not_there_deletes_nothing(place: Place, tmp_path: Path) -> None:
    key = place.make(days=40)
    with pytest.raises(StorageError, match="is mounted"):
        place.clean_up(settings=replace(place.settings, generated_projects_dir=tmp_path / "not mounted"))
    assert place.gone([key]) == set()


def test_what_expires_when_follows_the_rules_of_today(place: Place) -> None:
    ready, failed = place.make(days=1), place.make(days=1, status="failed")

    def days(key: UUID) -> int:
        found = place.records.get_generated_project(key)
        assert found.expires_at is not None
        assert found.ended_at is not None
        return (found.expires_at - found.ended_at).days

    assert (days(ready), days(failed)) == (30, 7)
    settings = replace(place.settings, generated_projects_retention_days=60, failed_retention_days=3)
    assert place.clean_up(settings=settings).restated == 2
    assert (days(ready), days(failed)) == (60, 3)
    assert place.clean_up(settings=settings).restated == 0
    # A single run with other days changes nobody's expiry.
    assert place.clean_up(settings=settings, retention_days=50).restated == 0
    forever = replace(settings, retention_rules='[{"days": "forever"}]')
    assert place.clean_up(settings=forever).restated == 2
    assert place.records.get_generated_project(ready).expires_at is None


def test_it_stops_when_its_time_is_over_or_enough_is_free(place: Place) -> None:
    keys = [place.make(days=100 - number, written=False) for number in range(50)]
    report = place.clean_up(free_size=1)
    assert (report.stopped, report.removal.projects, report.due_left) == ("free_size: 1 bytes are free", 0, 50)
    clean_up = CleanUp(
        place.records,
        make_request(place.settings, batch_size=10),
        run="cleanup/two",
        runs=place.runs,
        settings=place.settings,
        progress=lambda _: None,
    )
    clean_up._until = 0
    report = clean_up.execute()
    assert (report.stopped, report.due_left) == ("max_runtime: 10 minute(s) have passed", 50)
    # All there is goes where the target cannot be reached, what ended first goes first.
    report = place.clean_up(free_size=2**62)
    assert [UUID(one["id"]) for one in report.removal.entries] == keys


def test_it_says_how_far_it_is(place: Place) -> None:
    place.make_many(5, days=40)
    place.clean_up(batch_size=2)
    assert [one for one in place.said if one.startswith(("5 ", "Removed"))] == [
        place.said[0],
        "Removed 2 generated project(s), 5 were due: 0 bytes",
        "Removed 4 generated project(s), 5 were due: 0 bytes",
        "Removed 5 generated project(s), 5 were due: 0 bytes",
    ]


def test_a_report_names_the_first_and_counts_all(place: Place) -> None:
    place.make_many(5, days=40)
    settings = replace(place.settings, cleanup_report_size=2)
    for dry_run in (True, False):
        removal = place.clean_up(settings=settings, dry_run=dry_run).to_json()["removal"]
        assert (removal["projects"], len(removal["entries"]), removal["not_listed"]) == (5, 2, 3)


def test_what_cannot_be_removed_is_said_and_goes_later(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, free = place.make(days=40), place.make(days=40)
    trash = place.settings.generated_projects_dir / ".trash"
    real_rename = os.rename

    def rename(source: Any, target: Any, **values: Any) -> None:
        if str(source) == str(stuck):
            raise PermissionError(13, "Permission denied")
        real_rename(source, target, **values)

    monkeypatch.setattr(os, "rename", rename)
    report = place.clean_up()
    assert list(report.errors) == [str(stuck)]
    assert "Permission denied" in report.errors[str(stuck)]
    assert (place.status(stuck), place.status(free)) == ("expired", "deleted")
    # One that stays stuck keeps nobody else.
    another = place.make(days=40)
    assert place.clean_up(run="cleanup/other", batch_size=1).error_count == 1
    assert (place.status(stuck), place.status(another)) == ("expired", "deleted")
    monkeypatch.undo()
    assert place.clean_up(run="cleanup/two").removal.projects == 1
    assert (place.status(stuck), list(trash.iterdir())) == ("deleted", [])


def test_a_disk_that_fails_meanwhile_does_not_expire_everything(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    many = place.make_many(50, days=40)
    for key in many:
        place.directory(key).mkdir()

    def set_aside(self: ProjectsDirectory, name: str) -> str | None:
        raise StorageError(f"{name!r} cannot be removed: Read-only file system")

    monkeypatch.setattr(ProjectsDirectory, "set_aside", set_aside)
    report = place.clean_up(batch_size=20)
    assert (report.error_count, len(report.errors), report.stopped) == (20, 20, "none of 20 could be removed")
    assert [place.status(key) for key in many].count("ready") == 30
    assert report.due_left == 50
    monkeypatch.undo()
    place.clean_up()
    assert place.gone(many) == set(many)


# Kills and races


def test_a_clean_up_that_is_killed_at_any_step_is_finished_by_the_next(
    postgres: EmbeddedPostgres, records_database: str, tmp_path: Path
) -> None:
    """kill -9 as every third function is first entered; at night at every call of all."""
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.records.cleaning",
            postgres.url(records_database),
            str(tmp_path),
            *(("calls", "1") if NIGHTLY else ("steps", "3")),
        ],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT / "plugins"), str(CHECKOUT)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=3_000 if NIGHTLY else 280,
    )
    assert finished.returncode == 0, finished.stderr
    result = json.loads(finished.stdout)
    assert result["kills"] >= (500 if NIGHTLY else 28)
    untouched = result["states"][-1]
    statuses = {row[0]: row[1] for row in untouched["projects"]}
    assert statuses == {
        "due": "deleted",
        "due too": "deleted",
        "begun": "deleted",
        "held": "ready",
        "young": "ready",
        "abandoned": "failed",
        "exported": "ready",
    }
    assert {path.partition("/")[0] for path in untouched["disk"]} == {
        ".scaffolder",
        ".trash",
        "held",
        "young",
        "abandoned",
        "exported",
    }
    assert "held/archives" in untouched["disk"]
    assert "held/archives/left.zip" not in untouched["disk"]
    assert {row[2] for row in untouched["moves"]} == {"1"}
    for number, state in enumerate(result["states"]):
        assert state == untouched, number


def _hold(records: ProjectRecords, place: Place, key: UUID) -> None:
    records.hold(key, reason="x", username="olga", until=None)


def _export(records: ProjectRecords, place: Place, key: UUID) -> None:
    replace(place, records=records).export(key, status="exporting")


def _generate(records: ProjectRecords, place: Place, key: UUID) -> None:
    found = records.get_generated_project(key)
    run = make_run(dag_id=found.dag_id, run_id=found.run_id)
    open_project(records, run=run, workflow=found.workflow)


def _delete(records: ProjectRecords, place: Place, key: UUID) -> None:
    remove_generated_project(records, key, settings=place.settings)


def _clean_up(records: ProjectRecords, place: Place, key: UUID) -> None:
    replace(place, records=records).clean_up(run="cleanup/other", batch_size=1)


_RIVALS: dict[str, tuple[Callable[[ProjectRecords, Place, UUID], None], str]] = {
    "hold": (_hold, "ready"),
    "export": (_export, "ready"),
    "generation": (_generate, "failed"),
    "delete": (_delete, "ready"),
    "clean-up": (_clean_up, "ready"),
}


@pytest.mark.parametrize("rival", _RIVALS)
def test_a_clean_up_races(
    place: Place, postgres: EmbeddedPostgres, records_database: str, rival: str, records: ProjectRecords
) -> None:
    """Twenty times each: who was first has it, and nothing is lost, removed twice or left due."""
    work, status = _RIVALS[rival]
    outcomes = Counter[str]()
    for number in range(examples(20)):
        keys = [place.make(days=40, status=status, written=False) for _ in range(3)]
        for key in keys:
            (place.directory(key) / "repository").mkdir(parents=True)
        barrier = threading.Barrier(2)

        def race(number: int, keys: list[UUID] = keys, barrier: threading.Barrier = barrier) -> str:
            with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
                mine = ProjectRecords(connection)
                barrier.wait()
                try:
                    if number == 0:
                        replace(place, records=mine).clean_up(run="cleanup/races", batch_size=2)
                    else:
                        time.sleep(random.uniform(0, 0.03))  # not always the same one first
                        work(mine, place, keys[1])
                except StatusTransitionError:
                    return "refused"
            return "done"

        with ThreadPoolExecutor(2) as pool:
            cleaned, told = pool.map(race, (0, 1))
        assert cleaned == "done"
        outcomes[told] += 1
        found = records.get_generated_project(keys[1])
        if rival in {"hold", "export", "generation"}:
            # It is there, whole, exactly where the rival was first.
            assert (found.status is DELETED) == (told == "refused" or (rival == "hold" and not found.held))
            assert place.directory(keys[1]).exists() == (found.status is not DELETED)
        if found.held:
            records.release(keys[1])
        for export in records.exports.list(keys[1]):
            records.exports.mark_failed(export.id, error="x")
        if found.status is GeneratedProjectStatus.GENERATING:
            records.mark_failed(keys[1], error="x", rules=load_rules(place.settings))
            place.age(keys[1], days=40)
        place.clean_up(run=f"cleanup/after-{number}")
        assert place.gone(keys) == set(keys)
        assert not any(place.directory(key).exists() for key in keys)
        moves = Counter(
            (event.generated_project_id, event.detail["to"])
            for key in keys
            for event in records.list_events(key)
            if event.subject == "generated_project" and event.detail.get("to") in {"expired", "deleted"}
        )
        assert set(moves.values()) == {1}
    assert records.projects.get("default").generated_count == 0


def test_what_somebody_works_on_is_judged_again_before_it_goes(
    place: Place, postgres: EmbeddedPostgres, records_database: str
) -> None:
    """A row that was locked is claimed at the end; by then its run may be live."""
    live, held, due = (place.make(days=40, status="failed") for _ in range(3))
    run = place.records.get_generated_project(live)
    with psycopg.connect(postgres.url(records_database)) as other:
        other.execute("SELECT FROM generated_project WHERE id = ANY(%s) FOR UPDATE", ([live, held],))
        asked = place.runs.find_live

        def find_live(runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
            if place.runs.asked:
                ProjectRecords(other).hold(held, reason="x", username="olga", until=None)
                other.commit()
                place.runs.live = {(run.dag_id, run.run_id)}
            return asked(runs)

        place.runs.find_live = find_live  # type: ignore[method-assign]  # of this one alone
        report = place.clean_up()
    assert place.gone([live, held, due]) == {due}
    assert {one["id"]: one["why"] for one in report.kept.entries} == {
        str(live): "its run is live",
        str(held): "somebody was at work on it",
    }


def test_an_export_at_work_and_the_sweep_wait_for_each_other(
    place: Place, postgres: EmbeddedPostgres, records_database: str
) -> None:
    """Exports are locked before their generated project, by both."""
    for _ in range(examples(20)):
        key = place.make(status="generating", days=0, written=False)
        export = place.export(key, status="exporting")
        place.age(key, days=2)
        [record] = [
            one
            for one in place.records.retention.list_under_way(
                as_of=place.records.retention.read_clock(), grace_seconds=60
            )
            if one.id == key
        ]
        barrier = threading.Barrier(2)

        def note(key: UUID = key, export: UUID = export, barrier: threading.Barrier = barrier) -> None:
            with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
                barrier.wait()
                ProjectRecords(connection).exports.note(export, remote_name="x")

        with ThreadPoolExecutor(1) as pool:
            noting = pool.submit(note)
            barrier.wait()
            with place.records.transaction():
                assert place.records.retention.lock_under_way(record)
                time.sleep(0.01)
                place.records.mark_failed(key, error="x", rules=None)
            noting.result()
        place.connection.execute("TRUNCATE generated_project CASCADE")


def test_several_share_the_work(place: Place, postgres: EmbeddedPostgres, records_database: str) -> None:
    keys = place.make_many(60, days=40)

    def clean_up(number: int) -> Report:
        with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
            mine = replace(place, records=ProjectRecords(connection))
            return mine.clean_up(run=f"cleanup/{number}", batch_size=5)

    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(clean_up, range(4)))
    assert place.gone(keys) == set(keys)
    removed = [UUID(one["id"]) for report in reports for one in report.removal.entries]
    assert sorted(removed) == sorted(keys)


def test_a_report_counts_what_killed_tries_of_its_run_have_removed(place: Place) -> None:
    place.make_many(2, days=40)
    place.clean_up()
    place.make_many(1, days=40)
    assert place.clean_up().removal.projects == 3


def test_postgres_may_be_restarted_meanwhile(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> None:
    home = Path(tempfile.mkdtemp(prefix="scaffolder-restart-"))
    home.chmod(0o711)
    server = EmbeddedPostgres(home)
    server.start()
    try:
        server.create_database("restarted")
        schema.migrate(make_url(server.url("restarted", driver="psycopg")))
        with psycopg.connect(server.url("restarted"), autocommit=True) as connection:
            place = Place(ProjectRecords(connection), connection, settings)
            keys = place.make_many(6, days=40)

            def restart(sentence: str) -> None:
                if sentence.startswith("Removed 2 "):
                    server.stop()
                    server.start()

            worker = CleanUp(
                place.records,
                make_request(settings, batch_size=2),
                run="cleanup/one",
                runs=place.runs,
                settings=settings,
                progress=restart,
            )
            with pytest.raises(RecordsUnavailableError):
                worker.execute()
        with psycopg.connect(server.url("restarted"), autocommit=True) as connection:
            place = Place(ProjectRecords(connection), connection, settings)
            assert len(place.gone(keys)) in {2, 3, 4}
            # The same run again, as Airflow tries it.
            assert place.clean_up().removal.projects == 6
            assert place.gone(keys) == set(keys)
    finally:
        server.stop()
        shutil.rmtree(home)


# The disk


def _make_outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    (outside / "archives").mkdir(parents=True)
    (outside / "precious").write_text("x")
    (outside / "archives" / "old.zip").write_text("x")
    return outside


def test_links_that_were_planted_lead_nowhere(place: Place, tmp_path: Path) -> None:
    outside = _make_outside(tmp_path)
    before = sorted(outside.rglob("*"))
    root = place.settings.generated_projects_dir
    due, due_link, ready = place.make(days=40), place.make(days=40, written=False), place.make(days=1)
    (place.directory(due) / "repository" / "link").symlink_to(outside, target_is_directory=True)
    (place.directory(due) / "repository" / "file").symlink_to(outside / "precious")
    place.directory(due_link).symlink_to(outside, target_is_directory=True)
    (place.directory(ready) / "archives").symlink_to(outside / "archives", target_is_directory=True)
    (root / str(uuid4())).symlink_to(outside, target_is_directory=True)
    (root / ".trash").mkdir()
    (root / ".trash" / "left").symlink_to(outside, target_is_directory=True)
    report = place.clean_up(settings=replace(place.settings, sweep_grace_hours=0))
    assert sorted(outside.rglob("*")) == before
    assert place.gone([due, due_link, ready]) == {due, due_link}
    assert not os.path.lexists(place.directory(due_link))
    assert list((root / ".trash").iterdir()) == []
    assert report.swept["foreign_entries"].count == 1


def test_a_trash_that_is_a_link_is_refused(place: Place, tmp_path: Path) -> None:
    outside = _make_outside(tmp_path)
    before = sorted(outside.rglob("*"))
    (place.settings.generated_projects_dir / ".trash").symlink_to(outside, target_is_directory=True)
    key = place.make(days=40)
    with pytest.raises(StorageError, match=r"\.trash"):
        place.clean_up()
    assert sorted(outside.rglob("*")) == before
    assert place.directory(key).exists()
    assert place.status(key) == "ready"


def test_a_directory_that_is_swapped_for_a_link_meanwhile_leads_nowhere(place: Place, tmp_path: Path) -> None:
    outside = _make_outside(tmp_path)
    for number in range(40):
        (outside / f"more{number}").mkdir()
        (outside / f"more{number}" / "precious").write_text("x")
    before = sorted(outside.rglob("*"))
    stop = threading.Event()
    root = place.settings.generated_projects_dir

    def swap() -> None:
        """Swap directories below the trash, and whole generated projects, for links to the outside and back."""
        found: list[Path] = []
        while not stop.is_set():
            with suppress(OSError):  # what is looked at goes meanwhile
                found = [*root.glob("*/repository/d*"), *root.glob(".trash/*/repository/d*")][:50]
            for path in found:
                with suppress(OSError):
                    path.rename(tmp_path / f"aside-{uuid4()}")
                    path.symlink_to(outside, target_is_directory=True)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(10):
            key = place.make(days=40, written=False)
            for number in range(60):
                (tmp_path / "made" / "repository" / f"d{number}" / "deep").mkdir(parents=True)
            (tmp_path / "made").rename(place.directory(key))
            place.clean_up()
    finally:
        stop.set()
        swapper.join()
    assert sorted(outside.rglob("*")) == before
    # What a swap has kept from being removed goes once nobody swaps.
    place.clean_up(settings=replace(place.settings, sweep_grace_hours=0))
    assert sorted(root.iterdir()) == [root / ".scaffolder", root / ".trash"]
    assert list((root / ".trash").iterdir()) == []


def test_a_volume_that_is_not_mounted_deletes_nothing(place: Place) -> None:
    """It leaves an empty directory where it was; another one may be mounted there."""
    root = place.settings.generated_projects_dir
    due, young = place.make(days=40), place.make(days=1)
    volume = root.with_name("volume")
    root.rename(volume)
    root.mkdir()
    with pytest.raises(StorageError, match="holds none of the generated projects that the records know"):
        place.clean_up()
    root.rmdir()
    volume.rename(root)
    place.clean_up(dry_run=True)
    assert not (root / ".scaffolder").exists()
    place.clean_up(retention_days=50)
    assert (root / ".scaffolder").read_text().strip() == str(place.records.retention.read_installation().id)
    root.rename(volume)
    root.mkdir()
    (root / str(young)).mkdir()
    for _ in range(2):
        with pytest.raises(StorageError, match=r"has no file '\.scaffolder'.*is mounted"):
            place.clean_up()
        with pytest.raises(StorageError, match=r"has no file '\.scaffolder'"):
            remove_generated_project(place.records, young, settings=place.settings)
    (root / ".scaffolder").write_text(f"{uuid4()}\n")
    with pytest.raises(StorageError, match="belongs to other records"):
        place.clean_up()
    assert [place.status(key) for key in (due, young)] == ["ready", "ready"]
    shutil.rmtree(root)
    volume.rename(root)
    place.clean_up()
    assert place.gone([due, young]) == {due}


def test_a_disk_that_takes_nothing_expires_nothing(place: Place) -> None:
    key = place.make(days=40)
    (place.settings.generated_projects_dir / ".trash").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be removed"):
        place.clean_up()
    with pytest.raises(StorageError, match="cannot be removed"):
        remove_generated_project(place.records, key, settings=place.settings)
    assert place.status(key) == "ready"


def test_what_is_mounted_below_is_not_gone_through(place: Place, tmp_path: Path) -> None:
    outside = _make_outside(tmp_path)
    key, free = place.make(days=40), place.make(days=40)
    below = place.directory(key) / "repository" / "a mount"
    below.mkdir()
    if subprocess.run(["mount", "--bind", str(outside), str(below)], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        report = place.clean_up()
    finally:
        subprocess.run(["umount", str(below)], check=True)
    assert (outside / "precious").read_text() == "x"
    assert list(report.errors) == [str(key)]
    assert "something is mounted at" in report.errors[str(key)]
    assert (place.status(free), report.due_left) == ("deleted", 1)
    place.clean_up(run="cleanup/two")
    assert place.gone([key]) == {key}


def test_names_of_any_bytes_are_reported(place: Place) -> None:
    (place.settings.generated_projects_dir / os.fsdecode(b"\xff\xfe\n")).mkdir()
    report = place.clean_up().to_json()
    assert report["swept"]["foreign_entries"]["entries"] == ["\\xff\\xfe\\x0a"]
    json.dumps(report, ensure_ascii=False).encode()


# The sweep


def test_what_is_left_over_is_swept_after_its_time_of_grace(place: Place) -> None:
    root = place.settings.generated_projects_dir
    orphan, ready = root / str(uuid4()), place.make(days=1)
    orphan.mkdir()
    (root / ".trash").mkdir()
    (root / ".trash" / f"{uuid4()}-0").mkdir()
    (root / "README").write_text("mine")
    (root / "not-an-id").mkdir()
    gone = place.make(days=2)
    shutil.rmtree(place.directory(gone))
    archives = place.directory(ready) / "archives"
    archives.mkdir()
    for name in ("kept.zip", "kept.zip.manifest.json", "removed.zip"):
        (archives / name).write_text("x")
    export = place.export(ready, status="exporting")
    place.records.exports.mark_exported(
        export,
        url="file:///x",
        archive_path=str(archives / "kept.zip"),
        archive_sha256="a" * 64,
        result={"manifest_path": str(archives / "kept.zip.manifest.json"), "bundle_path": None},
    )
    kinds = ("directories_without_record", "records_without_directory", "trash", "foreign_entries", "archives")
    report = place.clean_up()
    assert [report.swept[kind].count for kind in kinds] == [0, 1, 0, 2, 0]
    settings = replace(place.settings, sweep_grace_hours=0)
    dry = place.clean_up(settings=settings, dry_run=True).swept
    assert orphan.exists()
    swept = place.clean_up(settings=settings).swept
    assert {kind: (one.count, one.entries) for kind, one in dry.items()} == {
        kind: (one.count, one.entries) for kind, one in swept.items()
    }
    assert [swept[kind].count for kind in kinds] == [1, 1, 1, 2, 1]
    assert swept["archives"].entries == [f"{ready}/removed.zip"]
    assert swept["records_without_directory"].entries == [str(gone)]
    assert sorted(path.name for path in archives.iterdir()) == ["kept.zip", "kept.zip.manifest.json"]
    assert sorted(path.name for path in root.iterdir()) == sorted(
        [".scaffolder", ".trash", "README", "not-an-id", str(ready)]
    )
    assert list((root / ".trash").iterdir()) == []


def test_the_records_of_another_place_delete_nothing(place: Place) -> None:
    root = place.settings.generated_projects_dir
    settings = replace(place.settings, sweep_grace_hours=0)
    (root / str(uuid4())).mkdir()
    swept = place.clean_up(settings=settings).swept["directories_without_record"]
    assert (swept.count, (swept.left or "").partition(":")[0]) == (1, "1 are more than the 0 that have a record")
    known = [place.make(days=1, files=1) for _ in range(2)]
    (root / str(uuid4())).mkdir()
    assert (
        place.clean_up(settings=replace(settings, sweep_grace_hours=24)).swept["directories_without_record"].count == 0
    )
    assert place.clean_up(settings=settings).swept["directories_without_record"].left is None
    for key in [uuid4() for _ in range(99)]:
        (root / str(key)).mkdir()
        known.append(place.make(days=1, written=False))
        place.directory(known[-1]).mkdir()
    for _ in range(2):
        (root / str(uuid4())).mkdir()
    swept = place.clean_up(settings=settings).swept["directories_without_record"]
    assert (swept.count, len(list(root.glob("*-*")))) == (101, 202)
    assert "SCAFFOLDER_SWEEP_MAX_DIRECTORIES" in (swept.left or "")
    assert (
        place.clean_up(settings=replace(settings, sweep_max_directories=101)).swept["directories_without_record"].left
        is None
    )
    assert sorted(root.glob("*-*")) == sorted(map(place.directory, known))


def test_a_directory_whose_run_begins_anew_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id follows from its run: that of a purged record may come back when the run is cleared."""
    place.make(days=1)
    run = make_run(run_id="purged")
    name = str(get_generated_project_id(run.dag_id, run.run_id))
    (place.settings.generated_projects_dir / name).mkdir()
    set_aside = ProjectsDirectory.set_aside

    def set_aside_too_late(self: ProjectsDirectory, name: str) -> str | None:
        aside = set_aside(self, name)
        open_project(place.records, run=run)
        return aside

    monkeypatch.setattr(ProjectsDirectory, "set_aside", set_aside_too_late)
    swept = place.clean_up(settings=replace(place.settings, sweep_grace_hours=0)).swept["directories_without_record"]
    assert (swept.count, (place.settings.generated_projects_dir / name).is_dir()) == (0, True)


def test_a_dry_run_counts_what_a_real_run_sweeps(place: Place) -> None:
    """What goes with what is due is not left over by then."""
    due, lost, begun = place.make(days=40), place.make(days=40), place.make(days=40)
    place.make(days=1)
    (place.directory(due) / "archives").mkdir()
    (place.directory(due) / "archives" / "old.zip").write_text("x")
    shutil.rmtree(place.directory(lost))
    trash = place.settings.generated_projects_dir / ".trash"
    trash.mkdir()
    place.records.retention.expire(begun, reason="x")
    place.directory(begun).rename(trash / f"{begun}-0")
    tombstone = place.make(days=40)
    place.records.retention.expire(tombstone, reason="x")
    place.records.retention.delete([tombstone])
    shutil.rmtree(place.directory(tombstone))
    place.age(tombstone, days=400)
    place.connection.execute("UPDATE event SET at = at - interval '400 days'")
    settings = replace(place.settings, sweep_grace_hours=0)
    dry = place.clean_up(settings=settings, dry_run=True)
    real = place.clean_up(settings=settings)
    assert {kind: one.count for kind, one in dry.swept.items()} == {kind: one.count for kind, one in real.swept.items()}
    assert real.swept["events"].count > 0
    assert place.clean_up(settings=settings, dry_run=True, free_size=1).stopped == "free_size: 1 bytes are free"


def test_a_mistake_in_the_rules_ends_no_run_otherwise(place: Place) -> None:
    rules = find_rules(replace(place.settings, retention_rules="no JSON"))
    assert rules is None
    key = open_project(place.records).id
    place.records.mark_ready(key, rules=rules)
    assert (place.status(key), place.records.get_generated_project(key).expires_at) == ("ready", None)
    place.clean_up()
    assert place.records.get_generated_project(key).expires_at is not None


def test_what_a_run_has_left_under_way_fails(place: Place) -> None:
    live, gone, changed = (place.make(status="generating", days=2, written=False) for _ in range(3))
    ready = place.make(days=2)
    lost, running = place.export(ready, status="exporting"), place.export(ready, status="exporting")
    place.connection.execute("ALTER TABLE repository_export DISABLE TRIGGER USER")
    place.connection.execute("UPDATE repository_export SET updated_at = now() - interval '2 days'")
    place.connection.execute("ALTER TABLE repository_export ENABLE TRIGGER USER")
    run = place.records.get_generated_project(live)
    export = place.records.exports.get(running)
    place.runs.live = {(run.dag_id, run.run_id), (str(export.dag_id), str(export.run_id))}
    # A run that begins again while Airflow is asked is no more the one that was listed.
    find_live = place.runs.find_live

    def find_and_change(runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        place.records.record_error(changed, error="at work")
        return find_live(runs)

    place.runs.find_live = find_and_change  # type: ignore[method-assign]  # of this one alone
    assert (
        place.clean_up(dry_run=True, settings=replace(place.settings, sweep_grace_hours=72))
        .swept["abandoned_records"]
        .count
        == 0
    )
    swept = place.clean_up().swept["abandoned_records"]
    assert sorted(swept.entries) == sorted([f"generated project {gone}", f"repository export {lost}"])
    assert [place.status(key) for key in (live, gone, changed)] == ["generating", "failed", "generating"]
    assert place.records.get_generated_project(gone).error == ABANDONED
    assert place.records.get_generated_project(gone).expires_at is not None
    assert place.records.exports.get(lost).status is ExportStatus.FAILED
    assert place.records.exports.get(running).status is ExportStatus.EXPORTING


def test_a_tombstone_stays_for_the_time_of_audit(place: Place) -> None:
    old, young = place.make(days=40), place.make(days=40)
    export = place.export(old)
    place.clean_up()
    place.age(old, days=365.01)
    place.age(young, days=364.9)
    place.connection.execute("UPDATE event SET at = at - interval '365.1 days' WHERE generated_project_id = %s", (old,))
    assert place.clean_up(dry_run=True).swept["tombstones"].count == 1
    assert place.clean_up(settings=replace(place.settings, audit_days=400)).swept["tombstones"].count == 0
    swept = place.clean_up(run="cleanup/two").swept
    assert (swept["tombstones"].count, swept["events"].count > 0) == (1, True)
    with pytest.raises(RecordNotFoundError):
        place.records.get_generated_project(old)
    with pytest.raises(RecordNotFoundError):
        place.records.exports.get(export)
    assert place.status(young) == "deleted"
    # That it went is the last that is known of it.
    assert [event.kind for event in place.records.list_events(old)] == ["deleted"]
    assert place.records.list_events(young)
    # What it has cost still counts as long as budgets look back.
    place.age(young, days=30)
    assert (
        place.clean_up(settings=replace(place.settings, audit_days=1, budget_days=500)).swept["tombstones"].count == 0
    )


def test_answers_that_nothing_has_are_forgotten(place: Place) -> None:
    key, alive = place.make(days=40), place.make(days=1)
    for one in (key, alive):
        call = uuid4()
        begin_call(place.records, call, place.records.get_generated_project(one))
        place.records.agent_calls.answer(call, http_status=200, response={"say": "x"}, latency_ms=1)
    place.clean_up()
    place.connection.execute("UPDATE agent_call SET response = '1' WHERE generated_project_id = %s", (key,))
    swept = place.clean_up(settings=replace(place.settings, sweep_grace_hours=0)).swept
    assert swept["answers"].count == 1
    [forgotten] = place.records.agent_calls.list(key)
    assert forgotten.status == "answered"
    # Nobody is given what was forgotten.
    place.connection.execute("UPDATE agent_call SET response = NULL")
    assert place.records.agent_calls.find_answer(alive, request_digest=forgotten.request_digest) is None
    place.connection.execute("""UPDATE agent_call SET response = '{"say": "x"}' WHERE id <> %s""", (forgotten.id,))
    assert [call.response for one in (key, alive) for call in place.records.agent_calls.list(one)] == [
        None,
        {"say": "x"},
    ]


def test_caches_keep_what_is_used(place: Place) -> None:
    cache = place.settings.cache_dir
    long_ago = time.time() - 31 * 86_400
    old, used, young = ("0" * 32, "1" * 32, "2" * 32)
    # Somebody's own, where the cache is where their templates are.
    for name in (f"templates/{old}", f"templates/{used}", f"templates/{young}", f"renderings/{old}", "templates/mine"):
        (cache / name / "below").mkdir(parents=True)
        (cache / name / "below" / "file").write_text("x" * 10_000)
        (cache / name / "used").touch()
    (cache / "compiled").mkdir()
    for name in (f"compiled/{old}{old}", f"compiled/{young}{young}"):
        (cache / name).write_text("x")
    for name in (
        f"templates/{old}/used",
        f"templates/{old}",
        f"templates/{used}",
        f"renderings/{old}/used",
        f"compiled/{old}{old}",
        "templates/mine/used",
    ):
        os.utime(cache / name, (long_ago, long_ago))
    dry = place.clean_up(dry_run=True).swept["caches"]
    swept = place.clean_up().swept["caches"]
    assert dry.entries == swept.entries == [f"templates/{old}", f"renderings/{old}", f"compiled/{old}{old}"]
    assert swept.size_bytes >= 20_000
    assert sorted(str(path.relative_to(cache)) for path in cache.glob("*/*")) == [
        f"compiled/{young}{young}",
        f"templates/{used}",
        f"templates/{young}",
        "templates/mine",
    ]


def test_endpoints_that_are_long_gone_are_forgotten(place: Place) -> None:
    place.connection.execute("""
        INSERT INTO agent_description (connection, kind, source, base_url, title, version, description, digest, warnings)
        VALUES ('demo_agent', 'openapi', 'x', 'x', 'x', '1', '', repeat('a', 64), '[]');
        INSERT INTO endpoint (connection, operation_id, method, path, summary, definition, digest, gone_at)
        SELECT 'demo_agent', days::text, 'GET', '/', '', '{}', repeat('a', 64), now() - make_interval(days => days)
        FROM unnest(ARRAY[29, 31]) days
    """)
    assert place.clean_up().swept["endpoints"].count == 1
    assert [row[0] for row in place.connection.execute("SELECT operation_id FROM endpoint")] == ["29"]
    place.connection.execute("DELETE FROM agent_description")
