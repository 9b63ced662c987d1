"""Retention: what is due goes, whoever is killed or races; what is live, held, exporting or kept by a rule never does."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.errors import InvalidParametersError, RecordNotFoundError, SettingsError, StorageError
from scaffolder.generation.merge import TreeEdits
from scaffolder.generation.step_commit import commit_step, get_project_directory
from scaffolder.records.models import ExportStatus, GeneratedProjectStatus
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.cleanup import CleanUp, CleanUpRequest, check_request
from scaffolder.retention.report import Report
from scaffolder.retention.rules import load_rules
from tests.factories import make_file, make_run, open_project

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
    days = lambda key: (
        (  # noqa: E731
            (found := place.records.get_generated_project(key)).expires_at - found.ended_at  # type: ignore[operator]
        ).days
    )
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
    monkeypatch.undo()
    assert place.clean_up(run="cleanup/two").removal.projects == 1
    assert (place.status(stuck), list(trash.iterdir())) == ("deleted", [])


_ = (Iterator, EmbeddedPostgres, keep_days)
