"""The main job, an export and what others hear of it, through our REST API on a live Airflow, as a plain user."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Live, Run
from tests.acceptance.test_steps import GOOD

API = "/scaffolder/api/v1"


@pytest.fixture
def ada(live: Live) -> Iterator[httpx2.Client]:
    """Somebody who may use Airflow, and no more."""
    live.rest.wait_for_dag("steps")
    live.rest.wait_for_dag("export_repository")
    with live.log_in("ada") as client:
        client.post(f"{API}/projects", json={"slug": "own", "name": "Own"})
        yield client


def wait_for(client: httpx2.Client, url: str, field: str, *values: str, timeout_seconds: float = 90) -> Any:
    until = time.monotonic() + timeout_seconds
    while True:
        found = client.get(url).json()
        if found[field] in values:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.2)


def generate(client: httpx2.Client, **params: str) -> str:
    answer = client.post(f"{API}/projects/own/generated", json={"workflow": "steps", "params": params})
    assert answer.status_code == 202, answer.text
    url: str = answer.headers["location"]
    return url


def test_a_project_is_generated_watched_exported_and_downloaded(live: Live, ada: httpx2.Client) -> None:
    live.agent.answer(GOOD)
    url = generate(ada, name="through-the-api")
    moves = []
    with ada.stream("GET", f"{url}/events/stream") as stream:
        for line in stream.iter_lines():
            if not line.startswith("data: "):
                continue
            event = json.loads(line.removeprefix("data: "))
            if (event["subject"], event["kind"]) == ("generated_project", "status"):
                moves.append(event["detail"]["to"])
                if moves[-1] in {"ready", "failed"}:
                    break
    assert moves == ["generating", "ready"]
    ready = ada.get(url).json()
    assert (ready["created_by"], ready["export_status"], ready["export_count"]) == ("ada", "exported", 1)
    assert ada.get(f"{url}/content/docs/through-the-api.md").text.startswith("# through-the-api\n")
    assert [one["step_id"] for one in ada.get(f"{url}/commits").json()["items"]] == ["files", "more"]
    [call] = ada.get(f"{url}/agent-calls").json()["items"]
    assert (call["step_id"], call["status"]) == ("models", "answered")

    body = {"exports": [{"target": "archive", "options": {"format": "tar.gz", "bundle": True}}, {"target": "archive"}]}
    asked = ada.post(f"{url}/exports", json=body)
    assert asked.status_code == 202, asked.text
    made = _wait_for_exports(ada, asked.headers["location"], count=2)
    assert {one["status"] for one in made} == {"exported"}
    assert {one["run"]["run_id"] for one in made} == {asked.json()["run"]["run_id"]}
    zipped = next(one for one in made if not one["result"].get("bundle_sha256"))
    archive = ada.get(f"{url}/exports/{zipped['id']}/archive")
    with zipfile.ZipFile(io.BytesIO(archive.content)) as file:
        assert any(name.endswith("docs/through-the-api.md") for name in file.namelist())
    bundled = next(one for one in made if one["result"].get("bundle_sha256"))
    assert ada.get(f"{url}/exports/{bundled['id']}/bundle").content.startswith(b"# v2 git bundle\n")
    assert ada.get(f"{url}/exports/{bundled['id']}/manifest").json()["commit"] == ready["head_commit"]

    heard = _wait_for_heard(live, ready["id"])
    assert heard["scaffolder_generated_project_ready"]["name"] == "through-the-api"
    page = heard["scaffolder_generated_project_ready"]["url"]
    assert page == f"/scaffolder/projects/own/generated/{ready['id']}"
    assert ada.get(heard["scaffolder_repository_exported"]["url"]).content[:2] in {b"PK", b"\x1f\x8b"}


def _wait_for_exports(client: httpx2.Client, url: str, *, count: int) -> list[dict[str, Any]]:
    until = time.monotonic() + 90
    while True:
        found: list[dict[str, Any]] = client.get(url).json()["items"]
        if len(found) == count and all(one["status"] not in {"pending", "exporting"} for one in found):
            return found
        assert time.monotonic() < until, found
        time.sleep(0.2)


def _wait_for_heard(live: Live, generated_project_id: str) -> dict[str, dict[str, Any]]:
    """Return what the DAG that is scheduled on our assets was told of a generated project, by asset."""
    until = time.monotonic() + 90
    found: dict[str, dict[str, Any]] = {}
    while len(found) < 2:
        assert time.monotonic() < until, found
        time.sleep(0.5)
        runs = live.rest.get("/dags/hearing/dagRuns?limit=100&order_by=-run_after")["dag_runs"]
        for run in runs:
            if run["state"] != "success":
                continue
            path = f"/dags/hearing/dagRuns/{run['dag_run_id']}/taskInstances/hear/xcomEntries/return_value"
            for extra in json.loads(json.dumps(live.rest.get(path)["value"])):
                if extra["generated_project_id"] == generated_project_id:
                    found[extra["asset"]] = extra
    return found


def test_a_run_is_cancelled_while_it_works(live: Live, ada: httpx2.Client) -> None:
    asked, over = threading.Event(), threading.Event()

    def think(_: object) -> None:
        asked.set()
        over.wait(60)

    live.agent.answer(think)
    url = generate(ada, name="too-slow")
    assert asked.wait(60)
    cancelled = ada.post(f"{url}/cancel")
    over.set()
    assert cancelled.status_code == 200, cancelled.text
    found = wait_for(ada, url, "status", "failed")
    assert found["error"] == "cancelled by ada"
    live.agent.answer(GOOD)
    again = ada.post(f"{url}/regenerate").headers["location"]
    assert wait_for(ada, again, "status", "ready", "failed")["status"] == "ready"


def test_a_failed_export_is_tried_again_in_its_own_run(live: Live, ada: httpx2.Client) -> None:
    live.agent.answer(GOOD)
    url = generate(ada, name="twice", target="git", connection="test_git")
    failed = wait_for(ada, url, "status", "failed", "ready")
    assert failed["status"] == "failed", failed
    [export] = ada.get(f"{url}/exports").json()["items"]
    assert (export["status"], export["run"]["dag_id"]) == ("failed", "steps")
    run = Run(live, "steps", export["run"]["run_id"]).wait()  # its last task has said so a moment before it ends
    assert run.state == "failed"
    live.git.create("twice")  # what was missing
    retried = ada.post(f"{url}/exports/{export['id']}/retry")
    assert retried.status_code == 202, retried.text
    assert wait_for(ada, retried.headers["location"], "status", "exported")["error"] is None
    assert wait_for(ada, url, "status", "ready")["error"] is None


def test_what_is_private_is_refused_to_runs_by_hand_too(live: Live, ada: httpx2.Client) -> None:
    """Somebody else triggers the workflow in Airflow itself, below the project of ada."""
    run = live.start_as("bob", "steps", name="intruder", project="own").wait()
    assert run.state == "failed"
    assert "PermissionDeniedError: user 'bob' is no member of project 'own'" in run.log("open_generated_project")
    # An administrator may by our API, where Airflow's auth manager can be asked.
    made = live.rest.request(
        "POST", f"{API}/projects/own/generated", json={"workflow": "steps", "params": {"name": "let-in"}}
    )
    assert made.status_code == 202, made.text
    found = Run(live, "steps", made.json()["run"]["run_id"]).wait()
    assert found.state == "success"
    assert (found.generated_project.project, found.generated_project.created_by) == ("own", "admin")
