"""Runs that the API starts: as the caller, once for each key, through Airflow's own API."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from scaffolder.operators.run import find_exportable, open_generated_project
from scaffolder.records.models import RunIdentity
from tests.api.conftest import Api
from tests.api.scenes import Scene


@pytest.fixture
def scene(api: Api) -> Scene:
    made = Scene(records=api.records, settings=api.settings)
    made.project = made.make_project()
    return made


def find_run(api: Api, generated: dict[str, Any], *, user: str = "root") -> Any:
    run = generated["run"]
    return api.server.request("GET", f"/api/v2/dags/{run['dag_id']}/dagRuns/{run['run_id']}", user=user).json()


def test_creating_starts_a_run_as_the_caller(api: Api, scene: Scene) -> None:
    url = f"/projects/{scene.project}/generated"
    answer = api.ask("POST", url, user="mel", json={"workflow": "plain", "params": {"name": "mine", "count": 3}})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["status"], made["created_by"], made["name"]) == ("pending", "mel", "mine")
    assert made["params"] == {"name": "mine", "count": 3, "passphrase": "", "project": scene.project}
    # What it names is there at once.
    assert answer.headers["location"] == f"/scaffolder/api/v1{url}/{made['id']}"
    assert api.server.request("GET", answer.headers["location"], user="vera").json() == made
    run = find_run(api, made)
    assert (run["triggering_user_name"], run["state"], run["triggered_by"]) == ("mel", "queued", "rest_api")
    assert run["conf"] == made["params"]
    assert made["run"]["url"].startswith("/dags/plain/runs/api__")
    # Airflow's own audit log has it, as of any client.
    logged = api.server.request("GET", "/api/v2/eventLogs?dag_id=plain&event=trigger_dag_run&limit=500", user="root")
    assert made["run"]["run_id"] in logged.text


def test_the_opening_task_takes_over_the_record_of_the_api(api: Api, scene: Scene) -> None:
    """An administrator who is no member: the API has let them in, so the run may go on."""
    made = api.ask("POST", f"/projects/{scene.project}/generated", user="root", json={"workflow": "plain"}).json()
    run = find_run(api, made)
    identity = RunIdentity(
        dag_id="plain", run_id=made["run"]["run_id"], run_at=run["run_after"], triggered_by=run["triggering_user_name"]
    )
    opened = open_generated_project(
        scene.records, identity, project=scene.project, name="plain", workflow="plain", params=made["params"]
    )
    assert (str(opened.id), opened.status) == (made["id"], "generating")


def test_the_same_key_starts_one_run(api: Api, scene: Scene) -> None:
    url = f"/projects/{scene.project}/generated"
    key = str(uuid4())

    def create(**body: Any) -> Any:
        return api.ask("POST", url, json={"workflow": "plain", **body}, headers={"Idempotency-Key": key})

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: create(), range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert scene.records.projects.get(scene.project).generated_count == 1
    other = create(params={"name": "other"})
    assert (other.status_code, other.json()["type"]) == (422, "urn:scaffolder:problem:idempotency-key")
    # Keys belong to who sends them.
    theirs = api.ask("POST", url, user="mel", json={"workflow": "plain"}, headers={"Idempotency-Key": key})
    assert theirs.json()["id"] != answers[0].json()["id"]


def test_a_project_that_has_used_up_its_quota_is_refused_and_nothing_is_left(api: Api) -> None:
    project = Scene(records=api.records, settings=api.settings).make_project(f"quota-{uuid4().hex[:12]}")
    url, headers = f"/projects/{project}/generated", {"Idempotency-Key": str(uuid4())}
    first = api.ask("POST", url, json={"workflow": "plain"}, headers=headers).json()
    for path in (url, f"{url}/{first['id']}/regenerate"):
        body = {"workflow": "plain"} if path == url else {}
        answer = api.ask("POST", path, json=body, headers={"Idempotency-Key": "another"})
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:scaffolder:problem:quota-exceeded")
        assert f"project {project!r} has 1 generated projects that are not deleted" in answer.json()["detail"]
    assert api.connection.execute(
        "SELECT count(*) FROM requested_run r JOIN generated_project g ON g.id = r.generated_project_id "
        "JOIN project p ON p.id = g.project_id WHERE p.slug = %s",
        (project,),
    ).fetchone() == (1,)
    assert api.ask("POST", url, json={"workflow": "plain"}, headers=headers).json()["id"] == first["id"]
    # What is deleted makes room at once.
    api.ask("POST", f"{url}/{first['id']}/cancel")
    assert api.ask("DELETE", f"{url}/{first['id']}").status_code == 204
    assert api.ask("POST", url, json={"workflow": "plain"}, headers={"Idempotency-Key": "another"}).status_code == 202


@pytest.mark.parametrize(
    ("body", "pointer", "sentence"),
    [
        ({"workflow": "plain", "params": {"name": "NO"}}, "/params/name", "parameter 'name'"),
        ({"workflow": "plain", "params": {"a/b~c": 1}}, "/params/a~1b~0c", "unknown parameter 'a/b~c'"),
        ({"workflow": "plain", "params": {"count": 0}}, "/params/count", "less than the minimum"),
        ({"workflow": "plain", "params": {"project": "other"}}, "/params/project", "accepted is that of the path"),
        ({"workflow": "nowhere"}, "/workflow", "accepted are ['paused', 'plain']"),
        ({"workflow": "plain", "more": 1}, "/more", "is unknown"),
        ({}, "/workflow", "Field required"),
        ([], "", "dictionary"),
    ],
)
def test_what_is_wrong_is_pointed_at(api: Api, scene: Scene, body: Any, pointer: str, sentence: str) -> None:
    answer = api.ask("POST", f"/projects/{scene.project}/generated", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    [problem] = answer.json()["errors"]
    assert (problem["pointer"], sentence in problem["detail"]) == (pointer, True), problem
    assert scene.records.projects.get(scene.project).generated_count == 0


def test_a_paused_workflow_is_refused_and_leaves_nothing(api: Api, scene: Scene) -> None:
    answer = api.ask("POST", f"/projects/{scene.project}/generated", json={"workflow": "paused"})
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "DAG 'paused' is paused in Airflow; accepted is one that is not",
    )
    assert scene.records.projects.get(scene.project).generated_count == 0


def test_secret_parameters_are_masked(api: Api, scene: Scene) -> None:
    body = {"workflow": "plain", "params": {"passphrase": "hush-hush"}}
    answer = api.ask("POST", f"/projects/{scene.project}/generated", json=body)
    assert answer.status_code == 202
    shown = api.server.request("GET", answer.headers["location"], user="vera")
    assert (shown.json()["params"]["passphrase"], "hush" in answer.text + shown.text) == ("***", False)


def test_nothing_secret_is_shown_where_nobody_knows_what_is(api: Api, scene: Scene) -> None:
    key = scene.generate()
    api.connection.execute(
        "UPDATE generated_project SET workflow = 'gone', params = '{\"passphrase\": \"hush\"}' WHERE id = %s", (key,)
    )
    assert api.ask("GET", f"/projects/{scene.project}/generated/{key}").json()["params"] == {"passphrase": "***"}


def test_the_same_key_starts_nothing_again_whatever_became_of_the_first(api: Api, scene: Scene) -> None:
    url, headers = f"/projects/{scene.project}/generated", {"Idempotency-Key": str(uuid4())}
    first = api.ask("POST", url, json={"workflow": "plain"}, headers=headers).json()
    api.ask("POST", f"{url}/{first['id']}/cancel")
    run = f"/api/v2/dags/plain/dagRuns/{first['run']['run_id']}"
    assert api.server.request("DELETE", run, user="root").status_code == 204
    again = api.ask("POST", url, json={"workflow": "plain"}, headers=headers)
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (202, first["id"], "failed")
    assert api.server.request("GET", run, user="root").status_code == 404


def test_many_who_ask_a_paused_workflow_with_one_key_start_nothing(api: Api, scene: Scene) -> None:
    headers = {"Idempotency-Key": str(uuid4())}

    def create(_: int) -> int:
        url = f"/projects/{scene.project}/generated"
        return api.ask("POST", url, json={"workflow": "paused"}, headers=headers).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(create, range(12))) == {409}
    runs = api.server.request("GET", "/api/v2/dags/paused/dagRuns", user="root").json()
    assert (runs["total_entries"], scene.records.projects.get(scene.project).generated_count) == (0, 0)


@pytest.mark.parametrize("depth", [101, 300, 900])
def test_parameters_nested_too_deep_are_refused_and_leave_nothing(api: Api, scene: Scene, depth: int) -> None:
    body = '{"workflow": "plain", "params": {"name": ' + "[" * depth + "]" * depth + "}}"
    answer = api.ask(
        "POST",
        f"/projects/{scene.project}/generated",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in {400, 422}, answer.text
    assert scene.records.projects.get(scene.project).generated_count == 0


def test_a_hold_that_is_over_before_it_begins_is_refused(api: Api, scene: Scene) -> None:
    key = scene.generate()
    body = {"reason": "x", "until": "2020-01-01T00:00:00Z"}
    answer = api.ask("POST", f"/projects/{scene.project}/generated/{key}/hold", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/until")


def test_an_export_of_what_is_deleted_is_not_tried_again(api: Api, scene: Scene) -> None:
    key = scene.generate()
    export = scene.export(key, status="failed")
    url = f"/projects/{scene.project}/generated/{key}"
    assert api.ask("DELETE", url).status_code == 204
    answer = api.ask("POST", f"{url}/exports/{export}/retry")
    assert (answer.status_code, "accepted is one that is still there" in answer.text) == (409, True)


def test_regenerating_runs_the_same_again(api: Api, scene: Scene) -> None:
    first = scene.generate()
    url = f"/projects/{scene.project}/generated/{first}/regenerate"
    again = api.ask("POST", url).json()
    assert (again["regenerated_from"], again["params"]["name"]) == (str(first), "plain")
    other = api.ask("POST", url, json={"params": {"name": "other"}}).json()
    assert (other["params"]["name"], other["id"] != again["id"]) == ("other", True)
    wrong = api.ask("POST", url, json={"params": {"name": 7}})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/params/name")


def test_cancelling_ends_the_run_in_airflow(api: Api, scene: Scene) -> None:
    made = api.ask("POST", f"/projects/{scene.project}/generated", json={"workflow": "plain"}).json()
    url = f"/projects/{scene.project}/generated/{made['id']}"
    cancelled = api.ask("POST", f"{url}/cancel", user="mel").json()
    assert (cancelled["status"], cancelled["error"]) == ("failed", "cancelled by mel")
    assert find_run(api, made)["state"] == "failed"
    again = api.ask("POST", f"{url}/cancel")
    assert (again.status_code, "accepted is one that is under way" in again.text) == (409, True)
    [event] = [one for one in api.ask("GET", f"{url}/events").json()["items"] if one["detail"].get("to") == "failed"]
    assert event["actor"] in {"mel", None}  # Airflow's listener may be first


def test_exporting_starts_the_dag_once_for_a_key(api: Api, scene: Scene) -> None:
    generated = scene.generate()
    url = f"/projects/{scene.project}/generated/{generated}/exports"
    body = {"exports": [{"target": "archive", "options": {"format": "zip"}}]}
    key = {"Idempotency-Key": "once"}
    first = api.ask("POST", url, user="root", json=body, headers=key)
    assert first.status_code == 202, first.text
    made = first.json()
    assert api.ask("POST", url, user="root", json=body, headers=key).json() == made
    run = find_run(api, made)
    assert run["conf"] == {"generated_project": str(generated), **body}
    assert made["run"]["dag_id"] == "export_repository"
    assert first.headers["location"] == made["exports_url"]
    assert api.server.request("GET", made["exports_url"], user="vera").json() == {"items": [], "next_cursor": None}
    # The administrator is no member, but the API has let them in.
    identity = RunIdentity(
        dag_id="export_repository", run_id=made["run"]["run_id"], run_at=run["run_after"], triggered_by="root"
    )
    assert find_exportable(scene.records, str(generated), run=identity).id == generated


@pytest.mark.parametrize(
    ("exports", "pointer"),
    [
        ([{"target": "nowhere"}], "/exports/0"),
        ([{"target": "archive"}, {"target": "archive", "options": {"format": "rar"}}], "/exports/1"),
        ([{"target": "archive"}, {"target": "archive"}], "/exports"),
        ([{"target": "github"}], "/exports/0"),
        ([], "/exports"),
        ([{"target": "archive", "more": 1}], "/exports/0/more"),
    ],
)
def test_exports_that_cannot_be_are_pointed_at(api: Api, scene: Scene, exports: Any, pointer: str) -> None:
    generated = scene.generate()
    answer = api.ask("POST", f"/projects/{scene.project}/generated/{generated}/exports", json={"exports": exports})
    assert (answer.status_code, [one["pointer"] for one in answer.json()["errors"]]) == (422, [pointer])


def test_only_what_is_ready_is_exported(api: Api, scene: Scene) -> None:
    generated = scene.generate(status="failed")
    body = {"exports": [{"target": "archive"}]}
    answer = api.ask("POST", f"/projects/{scene.project}/generated/{generated}/exports", json=body)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:scaffolder:problem:export-conflict")


def test_an_export_that_has_arrived_is_not_tried_again(api: Api, scene: Scene) -> None:
    generated = scene.generate()
    export: UUID = scene.export(generated)
    answer = api.ask("POST", f"/projects/{scene.project}/generated/{generated}/exports/{export}/retry")
    assert (answer.status_code, "accepted is one that is 'failed'" in answer.text) == (409, True)


def test_deleting_and_holding(api: Api, scene: Scene) -> None:
    generated = scene.generate()
    url = f"/projects/{scene.project}/generated/{generated}"
    held = api.ask("POST", f"{url}/hold", json={"reason": "demo", "until": "2099-01-01T00:00:00+02:00"}).json()
    assert (held["held"], held["held_by"], held["held_until"]) == (True, "olga", "2098-12-31T22:00:00Z")
    refused = api.ask("DELETE", url)
    assert (refused.status_code, "is held by olga" in refused.text) == (409, True)
    assert api.ask("POST", f"{url}/release").json()["held"] is False
    assert api.ask("DELETE", url).status_code == 204
    assert api.ask("DELETE", url).status_code == 204
    assert api.ask("GET", url).json()["status"] == "deleted"
    assert api.ask("GET", f"/projects/{scene.project}/generated").json()["items"] == []
    gone = api.ask("GET", f"/projects/{scene.project}/generated?status=deleted").json()["items"]
    assert [one["id"] for one in gone] == [str(generated)]
    assert api.ask("GET", f"{url}/content/README.md").status_code == 404
