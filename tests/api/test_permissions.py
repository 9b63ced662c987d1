"""Every route for every role, under both auth managers, against the table in the code."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from scaffolder.api.permission_table import TABLE, Answer, Role
from scaffolder.records.models import MemberRole, Visibility
from tests.api.conftest import Api
from tests.api.scenes import Scene

USERS: dict[Role, str | None] = {
    Role.ANONYMOUS: None,
    Role.OUTSIDER: "oscar",
    Role.READER: "vic",
    Role.VIEWER: "vera",
    Role.MEMBER: "mel",
    Role.OWNER: "olga",
    Role.ADMINISTRATOR: "root",
}
# What each answer says is wrong.
STATUSES = {Answer.NOT_AUTHENTICATED: 401, Answer.DENIED: 403, Answer.NOT_THERE: 404}
# What a route answers to those who may use it, where that is not 200. Some cannot be done here, without a scheduler or
# in this state, but get as far as to say so.
DONE = {
    ("POST", "/projects"): 201,
    ("DELETE", "/projects/{project}"): 204,
    ("DELETE", "/projects/{project}/members/{username}"): 204,
    ("POST", "/projects/{project}/generated"): 202,
    ("DELETE", "/projects/{project}/generated/{generated_id}"): 204,
    ("POST", "/projects/{project}/generated/{generated_id}/regenerate"): 202,
    ("POST", "/projects/{project}/generated/{generated_id}/exports"): 202,
    # Its run was never in Airflow.
    ("POST", "/projects/{project}/generated/{generated_id}/exports/{export_id}/retry"): 409,
}
ROUTES = sorted(TABLE)


@dataclass
class Request:
    """A request that would do what its route is for, if it is let through."""

    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)


def prepare(scene: Scene, method: str, template: str) -> Request:
    """Make what the route asks for, anew, and the request."""
    values: dict[str, Any] = {"workflow": "plain", "name": "fastapi_service", "connection": "known"}
    options: dict[str, Any] = {}
    if "{project}" in template:
        values["project"] = scene.make_project()
    if "{username}" in template:
        values["username"] = "vera"
        options["json"] = {"role": "viewer"}
    if "{generated_id}" in template:
        status = "generating" if template.endswith("/cancel") else "ready"
        values["generated_id"] = scene.generate(project=values["project"], status=status)
    if "{export_id}" in template:
        exported = "failed" if template.endswith("/retry") else "exported"
        values["export_id"] = scene.export(values["generated_id"], status=exported)
    bodies = {
        ("POST", "/projects"): {"slug": f"p-{uuid4().hex[:12]}"},
        ("PATCH", "/projects/{project}"): {"description": "other"},
        ("POST", "/projects/{project}/generated"): {"workflow": "plain"},
        ("POST", "/projects/{project}/generated/{generated_id}/hold"): {"reason": "wanted"},
        ("POST", "/projects/{project}/generated/{generated_id}/exports"): {"exports": [{"target": "archive"}]},
    }
    if (method, template) in bodies:
        options["json"] = bodies[method, template]
    if method != "PUT" and "json" in options and "{username}" in template:
        del options["json"]
    if template.endswith(("/diff", "/patch")):
        options["params"] = {"base": "files", "head": "files"}
    return Request(method, template.format(**{"path": "src/main.py", **values}), options)


@pytest.fixture
def scene(api: Api) -> Scene:
    made = Scene(records=api.records, settings=api.settings)
    if made.records.projects.get_access("elsewhere", username=None) is None:
        made.records.projects.create("elsewhere", name="Elsewhere", owner="oscar")
        api.connection.execute(
            "INSERT INTO agent_description (connection, kind, source, base_url, title, version, description, digest, warnings)"
            " VALUES ('known', 'openapi', 'x', '', 'x', '1', '', repeat('0', 64), '[]')"
        )
    return made


def send(api: Api, request: Request, **who: Any) -> tuple[int, Any]:
    """Send it and return status and body, of the endless stream its first bytes."""
    if request.path.endswith("/stream"):
        headers = {"Authorization": f"Bearer {api.server.token(who['user'])}"} if who.get("user") else {}
        if who.get("token"):
            headers = {"Authorization": f"Bearer {who['token']}"}
        with api.server.client.stream("GET", f"/scaffolder/api/v1{request.path}", headers=headers) as answer:
            return answer.status_code, next(answer.iter_text())
    answer = api.ask(request.method, request.path, **who, **request.options)
    return answer.status_code, answer.text


@pytest.mark.parametrize(("method", "template"), ROUTES, ids=[f"{method} {path}" for method, path in ROUTES])
def test_every_role_gets_what_the_table_says(api: Api, scene: Scene, method: str, template: str) -> None:
    found: dict[Role, int] = {}
    bodies: dict[Role, str] = {}
    for role, user in USERS.items():
        found[role], bodies[role] = send(api, prepare(scene, method, template), user=user)
    row: Mapping[Role, Answer] = TABLE[method, template]
    done = DONE.get((method, template), 200)
    wanted = {role: STATUSES.get(answer, done) for role, answer in row.items()}
    assert found == wanted, bodies


@pytest.mark.parametrize(("method", "template"), ROUTES, ids=[f"{method} {path}" for method, path in ROUTES])
def test_no_route_takes_a_token_that_is_none(api: Api, scene: Scene, method: str, template: str) -> None:
    request = prepare(scene, method, template)
    assert send(api, request, user=None, token=api.server.expired_token("root"))[0] == 401
    assert send(api, request, user=None, token="no.token.atall")[0] == 403
    assert send(api, request, user=None, token=api.server.token("root")[:-4] + "AAAA")[0] == 403


def test_no_route_is_missing_from_the_table(api: Api) -> None:
    document = api.ask("GET", "/openapi.json", user="ann").json()
    routes = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert routes | {("GET", "/openapi.json")} == set(TABLE)


@pytest.mark.parametrize(("method", "template"), [route for route in ROUTES if route[0] != "GET"], ids=str)
def test_a_cookie_alone_changes_nothing(api: Api, scene: Scene, method: str, template: str) -> None:
    request = prepare(scene, method, template)
    cookie = {"Cookie": f"_token={api.server.token('root')}"}
    answer = api.ask(request.method, request.path, user=None, headers=cookie, **request.options)
    assert (answer.status_code, "a cookie alone is not accepted" in answer.text) == (403, True)
    # It is good for looking, as a browser does.
    assert api.ask("GET", "/projects", user=None, headers=cookie).status_code == 200


@pytest.mark.parametrize("empty", ["Bearer ", "Bearer    ", "bearer \t", "Basic eDp5", "Bearer\u00a0"])
def test_a_scheme_without_a_token_is_no_token(api: Api, empty: str) -> None:
    # By a client that sends what it is told to.
    connection = http.client.HTTPConnection(api.server.url.removeprefix("http://"), timeout=30)
    body = json.dumps({"slug": f"p-{uuid4().hex[:12]}"})
    headers = {
        "Cookie": f"_token={api.server.token('root')}",
        "Authorization": empty.encode("latin-1"),
        "Content-Type": "application/json",
    }
    connection.request("POST", "/scaffolder/api/v1/projects", body=body, headers=headers)
    answer = connection.getresponse()
    assert answer.status in {401, 403}, answer.read()
    connection.close()


NESTED = [route for route in ROUTES if "{generated_id}" in route[1]]


@pytest.mark.parametrize(("method", "template"), NESTED, ids=[f"{method} {path}" for method, path in NESTED])
def test_ids_of_one_project_are_nothing_in_another(api: Api, scene: Scene, method: str, template: str) -> None:
    """Somebody who owns both projects asks for the one's records below the other."""
    request = prepare(scene, method, template)
    other = scene.make_project()
    moved = Request(request.method, f"/projects/{other}/" + request.path.split("/", 3)[3], request.options)
    status, body = send(api, moved, user="olga")
    assert (status, "there is no generated project" in body) == (404, True)


def test_an_export_of_one_generated_project_is_nothing_below_another(api: Api, scene: Scene) -> None:
    project = scene.make_project()
    first, second = scene.generate(project=project), scene.generate(project=project)
    export = scene.export(first)
    for ending in ("", "/archive", "/manifest", "/bundle"):
        answer = api.ask("GET", f"/projects/{project}/generated/{second}/exports/{export}{ending}")
        assert (answer.status_code, answer.json()["detail"]) == (404, f"there is no repository export '{export}'")


def test_what_is_private_and_what_is_not_there_look_the_same(api: Api, scene: Scene) -> None:
    project = scene.make_project()
    generated = scene.generate(project=project)
    for path in ("", f"/generated/{generated}", "/members", "/generated"):
        private = api.ask("GET", f"/projects/{project}{path}", user="oscar")
        missing = api.ask("GET", f"/projects/p-nowhere{path}", user="oscar")
        assert private.status_code == missing.status_code == 404
        assert private.text.replace(project, "p-nowhere") == missing.text


def test_everybody_reads_a_public_project_and_its_members_write(api: Api, scene: Scene) -> None:
    project = scene.make_project(visibility=Visibility.PUBLIC)
    generated = scene.generate(project=project)
    url = f"/projects/{project}/generated/{generated}"
    statuses = {user: api.ask("GET", url, user=user).status_code for user in ("ann", "vera", "mel")}
    assert statuses == {"ann": 200, "vera": 200, "mel": 200}
    held = {
        user: api.ask("POST", f"{url}/hold", user=user, json={"reason": "x"}).status_code
        for user in ("ann", "vera", "mel")
    }
    assert held == {"ann": 403, "vera": 403, "mel": 200}


def test_an_open_project_is_everybody_s_but_nobody_s_to_manage(api: Api, scene: Scene) -> None:
    slug = f"p-{uuid4().hex[:12]}"
    scene.records.projects.create(slug, name="Open", visibility=Visibility.OPEN)
    generated = scene.generate(project=slug)
    assert (
        api.ask("POST", f"/projects/{slug}/generated/{generated}/hold", user="ann", json={"reason": "x"}).status_code
        == 200
    )
    assert api.ask("PATCH", f"/projects/{slug}", user="ann", json={"name": "Mine"}).status_code == 403
    assert api.ask("PUT", f"/projects/{slug}/members/ann", user="ann", json={"role": "owner"}).status_code == 403
    assert api.ask("PUT", f"/projects/{slug}/members/ann", user="root", json={"role": "owner"}).status_code == 200
    assert api.ask("PATCH", f"/projects/{slug}", user="ann", json={"visibility": "private"}).status_code == 200


def test_membership_that_is_taken_away_ends_at_once(api: Api, scene: Scene) -> None:
    project = scene.make_project()
    url = f"/projects/{project}"
    assert api.ask("GET", url, user="mel").status_code == 200
    scene.records.projects.remove_member(project, username="mel")
    assert api.ask("GET", url, user="mel").status_code == 404
    scene.records.projects.set_member(project, username="mel", role=MemberRole.VIEWER)
    assert api.ask("DELETE", url, user="mel").status_code == 403
