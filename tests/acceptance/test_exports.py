"""Exports on a live Airflow: several targets at once, again by REST, killed, refused, rolled back, made to wait."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import pytest

from local_airflow.airflow_rest import wait_until
from scaffolder.records.models import ExportStatus, GeneratedProjectStatus, MemberRole, RepositoryExport
from scaffolder.records.store import ProjectRecords
from tests.acceptance.conftest import Live, Run
from tests.exports import list_files, refs, run_git


@pytest.fixture
def hub(live: Live) -> Iterator[Live]:
    live.github.on_request = None
    live.github.faults.clear()
    yield live
    live.github.on_request = None
    live.github.faults.clear()
    with psycopg.connect(live.records_postgres.url("scaffolder"), autocommit=True) as connection:
        connection.execute("TRUNCATE host_pace")
    assert live.github.flaws == []


def exports_of(run: Run) -> dict[str, RepositoryExport]:
    return {export.step_id: export for export in run.read("exports")}


@pytest.fixture(scope="module")
def published(live: Live) -> Run:
    live.git.create("published")
    run = live.run("publishing", name="published")
    assert run.state == "success", {task: run.log(task) for task, state in run.tasks.items() if state == "failed"}
    return run


def test_one_commit_goes_to_several_targets_at_once_each_with_a_record(hub: Live, published: Run) -> None:
    commit = published.generated_project.head_commit
    found = exports_of(published)
    assert set(found) == {"zip", "plain", "hub", "last"}
    assert {export.commit for export in found.values()} == {commit}
    assert {export.status for export in found.values()} == {ExportStatus.EXPORTED}
    assert refs(hub.git.root / "published.git") == {"refs/heads/main": commit}
    repository = hub.github.repository("acme/published")
    tip = repository.branches["main"]
    assert (repository.description, repository.topics) == ("published, by admin", ["made"])
    assert repository.open_secret("TOKEN") == hub.agent.token
    author = run_git(repository.directory, "log", "-1", "--format=%an <%ae> %cn", tip).strip()
    assert author == "Release Bot <bot@acme.example> Release Bot"
    assert list_files(repository.directory, tip) == {"README.md": "# published\n"}
    begun = {
        task["task_id"]: (task["start_date"], task["end_date"])
        for task in hub.rest.get(f"/dags/publishing/dagRuns/{published.run_id}/taskInstances")["task_instances"]
    }
    ends = [begun[task][1] for task in ("zip", "plain", "hub")]
    assert max(begun[task][0] for task in ("zip", "plain", "hub")) < max(ends)


def test_no_token_of_any_target_stands_in_logs_xcoms_or_the_records(hub: Live, published: Run) -> None:
    told = "".join(published.log(task) for task in published.tasks)
    base = f"/dags/publishing/dagRuns/{published.run_id}"
    told += str(hub.rest.get(f"{base}/taskInstances"))
    for task in published.tasks:
        told += str(hub.rest.get(f"{base}/taskInstances/{task}/xcomEntries"))
        told += str(hub.rest.get(f"{base}/taskInstances/{task}/xcomEntries/return_value"))
    for database in (hub.records_postgres.url("scaffolder"),):
        with psycopg.connect(database, autocommit=True) as connection:
            for table in ("repository_export", "event", "generated_project"):
                told += str(connection.execute(f"SELECT t::text FROM {table} t").fetchall())  # type: ignore[call-overload]  # no literal
    directory = published.repository.directory.parent
    for path in directory.rglob("*"):
        if path.is_file():
            told += path.read_bytes().decode("latin-1")
    for secret in (hub.github.token, hub.git.password, hub.agent.token):
        assert secret not in told


def test_a_failed_run_rolls_its_repository_back_and_says_what_is_left(hub: Live) -> None:
    hub.git.create("failing")
    run = hub.run("publishing", name="failing", last="svn")
    assert run.state == "failed"
    assert run.generated_project.status is GeneratedProjectStatus.FAILED
    with pytest.raises(LookupError):
        hub.github.repository("acme/failing")
    found = exports_of(run)
    assert (found["hub"].status, found["plain"].status) == (ExportStatus.ROLLED_BACK, ExportStatus.EXPORTED)
    log = run.log("finish_generated_project")
    assert "Rolled back the export" in log
    assert "target 'svn'; accepted are" in log


def test_a_failed_run_leaves_a_repository_that_somebody_has_pushed_to(hub: Live) -> None:
    hub.git.create("used")

    def push(when: str, method: str, path: str) -> None:
        if method == "PUT" and path.endswith("/secrets/TOKEN") and when == "after":
            hub.github.on_request = None
            hub.github.push_foreign_commit("acme/used", "dev")

    hub.github.on_request = push
    run = hub.run("publishing", name="used", last="svn")
    assert hub.github.repository("acme/used").branches.keys() == {"main", "dev"}
    log = run.log("finish_generated_project")
    assert f"{hub.github.url}/acme/used is left behind: somebody has pushed to it since" in log
    assert "somebody has pushed" in str(exports_of(run)["hub"].error)


def clear(live: Live, run: Run, *task_ids: str) -> None:
    body = {"dry_run": False, "dag_run_id": run.run_id, "only_failed": False, "task_ids": list(task_ids)}
    live.rest.call("POST", "/api/v2/dags/publishing/clearTaskInstances", json=body)
    run.wait()


def test_a_ready_project_whose_task_is_cleared_and_fails_keeps_its_repository(hub: Live) -> None:
    hub.git.create("kept")
    run = hub.run("publishing", name="kept")
    assert run.state == "success"
    hub.github.fail("GET", "/repositories/", "401")
    clear(hub, run, "hub", "finish_generated_project")
    assert run.state == "failed"
    assert "the generated project stays as it is" in run.log("finish_generated_project")
    assert run.generated_project.status is GeneratedProjectStatus.READY
    assert hub.github.repository("acme/kept").branches


def test_a_run_that_is_mended_after_its_roll_back_is_not_ready_without_its_repository(hub: Live) -> None:
    hub.git.create("mended-late")
    run = hub.run("publishing", name="mended-late", last="svn")
    assert exports_of(run)["hub"].status is ExportStatus.ROLLED_BACK
    path = f"/api/v2/dags/publishing/dagRuns/{run.run_id}/taskInstances/last"
    hub.rest.call("PATCH", path, json={"new_state": "success"})
    clear(hub, run, "finish_generated_project")
    assert run.state == "failed"
    assert "clear hub as well" in run.log("finish_generated_project")
    clear(hub, run, "hub", "finish_generated_project")
    assert run.generated_project.status is GeneratedProjectStatus.READY
    assert hub.github.repository("acme/mended-late").branches


KILLED = [("POST", "/orgs/acme/repos", "before"), ("POST", "/orgs/acme/repos", "after"),
          ("POST", "git-receive-pack", "after"), ("PATCH", "/repos/acme/", "after")]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "moment"), KILLED)
def test_a_task_killed_at_a_remote_step_is_tried_again_and_leaves_one_repository(
    hub: Live, method: str, path: str, moment: str
) -> None:
    name = f"killed-{KILLED.index((method, path, moment))}"
    hub.git.create(name)
    killed: list[int] = []

    def kill(when: str, asked: str, where: str) -> bool | None:
        if not killed and (when, asked) == (moment, method) and path in where:
            killed.append(find_exporting_task(hub))
            os.kill(killed[0], signal.SIGKILL)
            return False if when == "before" else None
        return None

    hub.github.on_request = kill
    run = hub.run("publishing", name=name)
    assert killed
    assert run.state == "success", run.tasks
    assert run.tries("hub") == 2, tell_tries(hub, run)
    found = exports_of(run)["hub"]
    repository = hub.github.repository(f"acme/{name}")
    assert [one for one in hub.github.repositories if one.name.startswith(name)] == [repository]
    assert refs(repository.directory) == {"refs/heads/main": found.exported_commit}
    assert (found.status, found.remote_id, repository.description) == (
        ExportStatus.EXPORTED, str(repository.id), f"{name}, by admin")  # fmt: skip


def tell_tries(live: Live, run: Run) -> str:
    base = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/hub"
    return "\n".join(live.rest.request("GET", f"{base}/logs/{number}").text[-3000:] for number in range(1, 4))


def find_exporting_task(live: Live) -> int:
    """Return the process that is talking to GitHub, or whose git is."""
    port = int(live.github.url.rpartition(":")[2])
    scheduler = psutil.Process(live.airflow.running()["scheduler"])
    found: list[int] = []

    def look() -> bool:
        for process in scheduler.children(recursive=True):
            with suppress(psutil.Error):  # some end meanwhile
                if any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp")):
                    family = (process, *process.parents())
                    found.append(next(one.pid for one in family if "git" not in one.name()))
        return bool(found)

    assert wait_until(look, timeout_seconds=10), "no task talks to GitHub"
    return found[0]


def test_a_long_wait_takes_no_worker_and_the_export_goes_on(hub: Live) -> None:
    hub.git.create("patient")
    hub.github.fail("POST", "/orgs/acme/repos", "secondary limit", seconds=4)
    run = hub.run("publishing", name="patient")
    assert run.state == "success", run.tasks
    assert "without a worker" in run.log("hub")
    assert run.tries("hub") == 1
    assert exports_of(run)["hub"].status is ExportStatus.EXPORTED


# The DAG export_repository


def export_again(live: Live, run: Run, *exports: dict[str, Any], user: str = "admin") -> Run:
    live.rest.wait_for_dag("export_repository")
    conf = {"generated_project": str(run.generated_project.id), "exports": list(exports)}
    rest = live.rest if user == "admin" else live.airflow.rest_as(user)
    return Run(live, "export_repository", rest.trigger("export_repository", conf=conf)).wait()


def test_a_ready_project_is_exported_again_to_several_targets(hub: Live, published: Run) -> None:
    again = export_again(
        hub,
        published,
        {"target": "archive", "options": {"format": "tar.gz"}},
        {"target": "github", "connection": "test_github",
         "options": {"owner": "acme", "repository": "again", "description": "{{ 7*7 }} {{ conn.test_git.password }}"}},
        user="ada",
    )  # fmt: skip
    assert again.state == "success", again.log("plan")
    repository = hub.github.repository("acme/again")
    assert repository.description == "{{ 7*7 }} {{ conn.test_git.password }}"
    assert refs(repository.directory) == {"refs/heads/main": published.generated_project.head_commit}
    made = [export for export in published.read("exports") if export.step_id.startswith("export[")]
    assert {(export.target, export.status) for export in made} == {
        ("archive", ExportStatus.EXPORTED), ("github", ExportStatus.EXPORTED)}  # fmt: skip
    count = len(published.read("exports"))
    assert export_again(hub, published, {"target": "archive", "options": {"format": "tar.gz"}}).state == "success"
    assert len(published.read("exports")) == count


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"target": "github", "connection": "test_github", "options": {"secrets": {"X": {"connection": "test_git"}}}},
     r"options \['secrets'\] of target 'github' are for authors of workflows"),
    ({"target": "github", "connection": "prod_github", "options": {"owner": "acme"}},
     r"connection 'prod_github' may not be used here; accepted are \['test_\*'\]"),
    ({"target": "github"}, "target 'github' needs a connection"),
    ({"target": "svn"}, "target 'svn'; accepted are"),
    ({"target": "archive", "options": {"fromat": "zip"}}, "there is no option 'fromat'"),
]  # fmt: skip


def test_exports_that_may_not_be_made_are_refused_together_and_nothing_is_made(hub: Live, published: Run) -> None:
    before = len(published.read("exports"))
    run = export_again(hub, published, *[entry for entry, _ in REFUSED])
    assert run.state == "failed"
    log = run.log("plan")
    for index, (_, message) in enumerate(REFUSED):
        assert re.search(rf"exports\[{index}\]: .*{message}", log), log
    assert len(published.read("exports")) == before


def test_a_project_of_others_cannot_be_exported_nor_told_from_none(hub: Live) -> None:
    with psycopg.connect(hub.records_postgres.url("scaffolder"), autocommit=True) as connection:
        records = ProjectRecords(connection)
        records.projects.create("secretive", name="Secretive", owner="admin")
        records.projects.set_member("secretive", username="vera", role=MemberRole.VIEWER)
    hub.git.create("theirs")
    run = hub.run("publishing", name="theirs", project="secretive")
    refused = export_again(hub, run, {"target": "archive"}, user="ada")
    assert refused.state == "failed"
    assert f"there is no generated project '{run.generated_project.id}'" in refused.log("plan")
    conf = {"generated_project": str(uuid4()), "exports": [{"target": "archive"}]}
    missing = Run(hub, "export_repository", hub.rest.trigger("export_repository", conf=conf)).wait()
    assert "there is no generated project" in missing.log("plan")


def test_a_project_that_is_not_ready_is_not_exported_again(hub: Live) -> None:
    hub.git.create("unready")
    run = hub.run("publishing", name="unready", last="svn")
    again = export_again(hub, run, {"target": "archive"})
    assert again.state == "failed"
    assert "is 'failed'; accepted is one that is 'ready'" in again.log("plan")


def test_an_export_whose_run_is_ended_from_outside_is_over_too(hub: Live, published: Run) -> None:
    seen: list[str] = []

    def stop(when: str, method: str, path: str) -> None:
        if method == "POST" and when == "before" and not seen:
            seen.append(path)
            hub.rest.call("PATCH", f"/api/v2/dags/export_repository/dagRuns/{run.run_id}", json={"state": "failed"})

    hub.github.on_request = stop
    hub.rest.wait_for_dag("export_repository")
    export = {"target": "github", "connection": "test_github", "options": {"owner": "acme", "repository": "cut-off"}}
    conf = {"generated_project": str(published.generated_project.id), "exports": [export]}
    run = Run(hub, "export_repository", hub.rest.trigger("export_repository", conf=conf))
    # The task may be through before Airflow ends it: then it is exported after all, and both are told.
    assert wait_until(
        lambda: any(
            one.subject == "repository_export" and one.detail.get("error") == "its run ended before it did"
            for one in published.read("events")
        ),
        timeout_seconds=60,
    )
    hub.github.on_request = None
    assert run.wait().state == "failed"


def test_a_run_ended_from_outside_says_what_is_left_and_its_finaliser_takes_it_back(hub: Live) -> None:
    hub.git.create("ended")
    seen: list[str] = []

    def stop(when: str, method: str, path: str) -> None:
        if path.endswith("/topics") and when == "before" and not seen:
            seen.append(path)
            hub.rest.call("PATCH", f"/api/v2/dags/publishing/dagRuns/{run.run_id}", json={"state": "failed"})

    hub.github.on_request = stop
    run = hub.start("publishing", name="ended")
    assert wait_until(
        lambda: (found := run.read("generated_project")) is not None and found.status is GeneratedProjectStatus.FAILED,
        timeout_seconds=60,
    )
    hub.github.on_request = None
    assert "not rolled back: the run was ended from outside" in str(exports_of(run)["hub"].error)
    clear(hub, run, "finish_generated_project")
    assert exports_of(run)["hub"].status is ExportStatus.ROLLED_BACK
    with pytest.raises(LookupError):
        hub.github.repository("acme/ended")
