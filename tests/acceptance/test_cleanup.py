"""The clean-up as its users have it: by trigger and by schedule's rules, on a live Airflow, with its metrics."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from scaffolder.generation.step_commit import get_project_directory
from scaffolder.records.models import GeneratedProjectStatus
from scaffolder.records.store import ProjectRecords
from tests.acceptance.browser import Browser
from tests.acceptance.conftest import Live, Run
from tests.acceptance.test_steps import GOOD

DAG = "cleanup_generated_projects"


@pytest.fixture
def old(live: Live) -> Run:
    """A run that was 40 days ago."""
    live.agent.answer(GOOD)
    run = live.run("steps", name="long-ago", project="cleaned")
    assert run.state == "success"
    age(live, run)
    return run


def age(live: Live, run: Run, *, days: int = 40) -> None:
    with psycopg.connect(live.records_postgres.url("scaffolder"), autocommit=True) as connection:
        connection.execute(
            "UPDATE generated_project SET ended_at = ended_at - %s WHERE run_id = %s",
            (timedelta(days=days), run.run_id),
        )


def read_report(live: Live, run: Run) -> dict[str, Any]:
    path = f"/dags/{DAG}/dagRuns/{run.run_id}/taskInstances/clean_up/xcomEntries/return_value"
    report: dict[str, Any] = live.rest.get(path, deserialize="true")["value"]
    return report


def read_metrics(live: Live) -> dict[str, str]:
    """Return what Airflow has sent to its statsd server since this was asked before, the last of each."""
    live.metrics.settimeout(1)
    found: dict[str, str] = {}
    while True:
        try:
            lines = live.metrics.recv(65_536).decode().splitlines()
        except TimeoutError:
            return found
        found |= dict(line.split("|")[0].rsplit(":", 1) for line in lines)


def test_a_dry_run_reports_and_a_real_run_removes(
    live: Live,
    old: Run,
    browser: Browser,
) -> None:
    generated = old.generated_project
    directory = get_project_directory(generated.id, settings=live.settings)
    dry = live.run(DAG, dry_run=True, project="cleaned")
    assert dry.state == "success", dry.log("clean_up")
    told = read_report(live, dry)
    assert [one["id"] for one in told["removal"]["entries"]] == [str(generated.id)]
    assert directory.exists()
    read_metrics(live)
    real = live.run(DAG, project="cleaned")
    assert real.state == "success", real.log("clean_up")
    report = read_report(live, real)
    assert report["removal"] == told["removal"]
    assert (report["due_left"], report["errors"]) == (0, {})
    assert not directory.exists()
    found = old.generated_project
    assert (found.status, found.removal_reason) == (GeneratedProjectStatus.DELETED, "30 days after it was ready")
    assert [export.archive_sha256 is not None for export in old.read("exports")] == [True]
    assert {event.actor for event in old.read("events") if event.detail.get("to") == "deleted"} == {"admin"}
    assert "1 generated project(s) are due" in real.log("clean_up")
    sent = read_metrics(live)
    assert sent["airflow.scaffolder.cleanup.removed"] == "1"
    # One project's are not those of all.
    assert "airflow.scaffolder.cleanup.due" not in sent
    assert int(sent["airflow.scaffolder.cleanup.bytes_freed"]) > 0
    browser.open(f"/scaffolder/projects/cleaned/generated/{generated.id}")
    browser.find_text("p", "Removed: 30 days after it was ready. What it was, what it cost and where it went is kept.")
    browser.find_text("td", "removed")
    browser.save_screenshot("removed")


def test_the_whole_clean_up_sweeps_too(live: Live, old: Run) -> None:
    left = live.settings.generated_projects_dir / "not-ours"
    left.mkdir()
    read_metrics(live)
    try:
        run = live.run(DAG)
    finally:
        left.rmdir()
    sent = read_metrics(live)
    assert (sent["airflow.scaffolder.cleanup.due"], sent["airflow.scaffolder.cleanup.orphans"]) == ("0", "0")
    assert run.state == "success", run.log("clean_up")
    report = read_report(live, run)
    assert str(old.generated_project.id) in [one["id"] for one in report["removal"]["entries"]]
    assert "not-ours" in report["swept"]["foreign_entries"]["entries"]


def test_a_run_that_is_live_again_is_kept(live: Live) -> None:
    """Its record is failed and old, and a task of it was cleared just now."""
    asked, over = threading.Event(), threading.Event()

    def think(_: object) -> None:
        asked.set()
        over.wait(60)

    live.agent.answer(think, GOOD)
    try:
        run = live.start("steps", name="live-again", project="cleaned")
        assert asked.wait(60)
        with psycopg.connect(live.records_postgres.url("scaffolder"), autocommit=True) as connection:
            records = ProjectRecords(connection)
            generated = run.generated_project
            connection.execute("UPDATE generated_project SET status = 'failed' WHERE id = %s", (generated.id,))
            age(live, run)
            kept = read_report(live, live.run(DAG, project="cleaned"))["kept"]
            assert [(one["id"], one["why"]) for one in kept["entries"]] == [(str(generated.id), "its run is live")]
            assert records.get_generated_project(generated.id).status is GeneratedProjectStatus.FAILED
    finally:
        over.set()
    run.wait()


@pytest.mark.parametrize("value", [0, -1, "30", None, 1.5])
def test_days_that_are_none_delete_nothing(live: Live, value: Any) -> None:
    live.rest.wait_for_dag(DAG)
    answer = live.rest.request(
        "POST", f"/api/v2/dags/{DAG}/dagRuns", json={"logical_date": None, "conf": {"retention_days": value}}
    )
    assert answer.status_code == 400, answer.text
    assert "retention_days" in answer.text


def test_a_run_that_somebody_clears_has_no_rights_of_who_triggered_it(live: Live, old: Run) -> None:
    run = live.run(DAG, retention_days=20, project="elsewhere")
    assert "there is no project 'elsewhere'" in run.log("clean_up")
    with psycopg.connect(live.records_postgres.url("scaffolder"), autocommit=True) as connection:
        ProjectRecords(connection).projects.create("elsewhere", name="Elsewhere")
    body = {"dry_run": False, "dag_run_id": run.run_id, "only_failed": False, "reset_dag_runs": True}
    live.rest.call("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", json=body)
    run.wait()
    assert run.state == "failed"
    assert "somebody has cleared this run" in run.log("clean_up")
    assert get_project_directory(old.generated_project.id, settings=live.settings).exists()


def test_fewer_days_are_for_administrators(live: Live, old: Run) -> None:
    run = live.start_as("ada", DAG, retention_days=1).wait()
    assert run.state == "failed"
    assert "PermissionDeniedError: retention_days is 1, so nothing was deleted: user 'ada'" in run.log("clean_up")
    assert Path(get_project_directory(old.generated_project.id, settings=live.settings)).exists()
