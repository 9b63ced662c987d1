"""Runs that are killed, marked or cut off from Postgres on a live Airflow."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest

from local_airflow.airflow_rest import wait_until
from scaffolder.records.models import AgentCallStatus, GeneratedProjectStatus
from tests.acceptance.conftest import Live, Run
from tests.servers import json_answer

GOOD = json_answer({"files": [{"path": "README.md", "content": "# Hi\n"}]})


class Gate:
    """An answer of the agent that waits until it is let through."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, handler: Any) -> None:
        self.reached.set()
        self.open.wait(60)
        with suppress(OSError):
            handler._send(*GOOD)


@pytest.fixture
def gate(live: Live) -> Iterator[Gate]:
    found = Gate()
    live.agent.answer(found, GOOD)
    yield found
    found.open.set()


def wait_for(condition: Callable[[], bool], *, timeout_seconds: float = 60) -> None:
    assert wait_until(condition, timeout_seconds=timeout_seconds)


def set_state(live: Live, run: Run, state: str) -> None:
    live.rest.call("PATCH", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}", json={"state": state})


def test_a_run_marked_failed_in_the_ui_leaves_a_failed_record(live: Live, gate: Gate) -> None:
    run = live.start("steps", name="marked")
    assert gate.reached.wait(60)
    set_state(live, run, "failed")
    wait_for(lambda: run.generated_project.status is GeneratedProjectStatus.FAILED)
    assert "manually set to `failed`" in str(run.generated_project.error)
    gate.open.set()
    run.wait()
    time.sleep(2)
    assert run.read("files") == []
    assert run.generated_project.status is GeneratedProjectStatus.FAILED


def test_a_run_marked_successful_before_its_end_is_not_ready(live: Live, gate: Gate) -> None:
    run = live.start("steps", name="too-early")
    assert gate.reached.wait(60)
    set_state(live, run, "success")
    wait_for(lambda: run.generated_project.status is GeneratedProjectStatus.FAILED)
    assert "manually set to `success`" in str(run.generated_project.error)
    assert [call.status for call in run.read("agent_calls")] == [AgentCallStatus.FAILED]


def test_a_failed_run_whose_step_is_mended_by_hand_becomes_ready(live: Live) -> None:
    live.agent.answer(GOOD)
    run = live.run("steps", name="mended", target="git", connection="")
    assert run.generated_project.status is GeneratedProjectStatus.FAILED
    path = f"/api/v2/dags/steps/dagRuns/{run.run_id}/taskInstances/publish"
    live.rest.call("PATCH", path, json={"new_state": "success"})
    body = {"dry_run": False, "dag_run_id": run.run_id, "only_failed": False, "task_ids": ["finish_generated_project"]}
    live.rest.call("POST", "/api/v2/dags/steps/clearTaskInstances", json=body)
    run.wait()
    assert run.generated_project.status is GeneratedProjectStatus.READY


def test_a_task_marked_failed_leaves_a_failed_record_that_names_it(live: Live, gate: Gate) -> None:
    run = live.start("steps", name="task-marked")
    assert gate.reached.wait(60)
    path = f"/api/v2/dags/steps/dagRuns/{run.run_id}/taskInstances/models"
    live.rest.call("PATCH", path, json={"new_state": "failed"})
    gate.open.set()
    run.wait()
    project = run.generated_project
    assert project.status is GeneratedProjectStatus.FAILED
    assert "models (failed)" in str(project.error)


def find_task_process(live: Live, gate: Gate) -> psutil.Process:
    """Return the process that runs the task waiting at the gate: the youngest below the scheduler."""
    scheduler = psutil.Process(live.airflow.running()["scheduler"])
    return max(scheduler.children(recursive=True), key=lambda process: process.create_time())


def test_a_task_killed_while_it_waits_is_tried_again_and_leaves_one_commit(live: Live, gate: Gate) -> None:
    run = live.start("steps", name="killed")
    assert gate.reached.wait(60)
    find_task_process(live, gate).send_signal(signal.SIGKILL)
    run.wait()
    assert run.state == "success", run.tasks
    assert run.tries("models") == 2
    assert [commit.step_id for commit in run.repository.history()] == ["files", "more"]
    assert [call.attempts for call in run.read("agent_calls")] == [2]
    keys = {request["headers"]["Idempotency-Key"] for request in live.agent.requests[-2:]}
    assert len(keys) == 1


@contextmanager
def postgres_away(live: Live) -> Iterator[None]:
    live.records_postgres.stop()
    try:
        yield
    finally:
        live.records_postgres.start()


def test_postgres_away_in_the_middle_of_a_run_is_waited_for(live: Live, gate: Gate) -> None:
    run = live.start("steps", name="cut")
    assert gate.reached.wait(60)
    with postgres_away(live):
        gate.open.set()
        wait_for(lambda: run.tasks["models"] == "up_for_retry")
        assert "RecordsUnavailableError: the records' database cannot be used now" in run.log("models")
    run.wait()
    assert run.state == "success", run.tasks
    assert run.generated_project.status is GeneratedProjectStatus.READY
    assert [commit.step_id for commit in run.repository.history()] == ["files", "more"]


def test_postgres_away_from_the_start_fails_the_run_with_a_clear_error(live: Live) -> None:
    live.agent.answer(GOOD)
    live.rest.wait_for_dag("steps")
    with postgres_away(live):
        run = live.run("steps", name="never")
        assert run.state == "failed"
        assert "RecordsUnavailableError: the records' database cannot be used now" in run.log("open_generated_project")
        assert run.tries("open_generated_project") == 3
    assert run.read("generated_project") is None
    assert live.run("steps", name="after").state == "success"


def test_a_scheduler_killed_in_the_middle_of_a_run_is_survived(live: Live, gate: Gate) -> None:
    run = live.start("steps", name="survives")
    assert gate.reached.wait(60)
    live.airflow.kill("scheduler")
    gate.open.set()
    live.airflow.restart("scheduler")
    run.wait(timeout_seconds=180)
    assert run.state == "success", run.tasks
    assert [commit.step_id for commit in run.repository.history()] == ["files", "more"]
    assert run.generated_project.status is GeneratedProjectStatus.READY


def test_an_unwritable_projects_directory_is_named_and_nothing_is_recorded(live: Live, gate: Gate) -> None:
    run = live.start("steps", name="unwritable")
    assert gate.reached.wait(60)
    directory = live.settings.generated_projects_dir / str(run.generated_project.id)
    directory.write_text("a file is in the way")
    gate.open.set()
    run.wait()
    assert run.state == "failed"
    assert run.tries("files") == 1
    assert "StorageError: the directory" in run.log("files")
    assert "SCAFFOLDER_GENERATED_PROJECTS_DIR" in str(run.generated_project.error)
    assert (run.read("files"), run.generated_project.head_commit) == ([], None)
    directory.unlink()
