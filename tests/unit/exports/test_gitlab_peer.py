"""The tests' own GitLab behaves as GitLab's documentation says: what it takes, keeps, refuses and redirects."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gitlab
import pytest
import requests

from tests.gitlab_peer import GitlabPeer, serve_gitlab


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitlabPeer]:
    with serve_gitlab(tmp_path_factory.mktemp("gitlab")) as peer:
        yield peer


@pytest.fixture
def peer(served: GitlabPeer) -> GitlabPeer:
    served.reset()
    return served


def ask(peer: GitlabPeer, method: str, path: str, body: Any = None, *, token: str = "", **options: Any) -> Any:
    headers = {"PRIVATE-TOKEN": token or peer.token}
    given = {"headers": headers, "timeout": 10, "allow_redirects": False} | options
    return requests.request(method, peer.api_url + path, json=body, **given)


def git(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "credential.helper="]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=30
    )


def make_clone(peer: GitlabPeer, directory: Path, full_path: str, *, password: str = "") -> Path:
    """Make a repository with one commit whose remote is the peer's."""
    directory.mkdir()
    git("init", "-q", "-b", "trunk", cwd=directory)
    git("commit", "-q", "--allow-empty", "-m", "First", cwd=directory)
    url = f"{peer.url}/{full_path}.git".replace("//", f"//oauth2:{password or peer.token}@", 1)
    git("remote", "add", "origin", url, cwd=directory)
    return directory


PROJECT = "/projects/acme%2Fshop"
REFUSALS: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/projects/acme%2Fnowhere", None, 404, "404 Project Not Found"),
    ("GET", "/projects/4711", None, 404, "404 Project Not Found"),
    ("GET", "/namespaces/elsewhere", None, 404, "404 Namespace Not Found"),
    ("GET", "/groups/robot", None, 404, "404 Group Not Found"),
    ("POST", "/projects", {}, 400, "name, path are missing"),
    ("POST", "/projects", {"name": "x", "colour": "red"}, 400, "there are no attributes ['colour']"),
    ("POST", "/projects", {"name": "x", "visibility": "secret"}, 400, "visibility does not have a valid value"),
    ("POST", "/projects", {"name": "x", "topics": "a"}, 400, "topics is invalid"),
    ("POST", "/projects", {"name": "x", "build_timeout": True}, 400, "build_timeout is invalid"),
    ("POST", "/projects", {"name": "x", "default_branch": "a"}, 400, "needs initialize_with_readme"),
    ("POST", "/projects", {"name": "x", "description": "x" * 2001}, 400, "is too long"),
    ("POST", "/projects", {"path": "x--y"}, 400, "must not start or end with a special character"),
    ("POST", "/projects", {"name": "x", "ci_default_git_depth": 1}, 400, "there are no attributes"),
    ("PUT", PROJECT, {}, 400, "at least one parameter must be provided"),
    ("PUT", PROJECT, {"default_branch": "nowhere"}, 400, "branch 'nowhere' does not exist"),
    ("POST", f"{PROJECT}/members", {"username": "ada"}, 400, "access_level is missing"),
    ("POST", f"{PROJECT}/members", {"username": "ada", "access_level": 35}, 400, "access_level does not have a valid"),
    ("POST", f"{PROJECT}/members", {"access_level": 30}, 400, "exactly one parameter must be provided"),
    ("POST", f"{PROJECT}/members", {"username": "nobody", "access_level": 30}, 404, "404 User Not Found"),
    ("PUT", f"{PROJECT}/members/1003", {"access_level": 30}, 404, "404 Member Not Found"),
    ("POST", f"{PROJECT}/variables", {"key": "A"}, 400, "value is missing"),
    ("POST", f"{PROJECT}/variables", {"key": "A-B", "value": "x"}, 400, "can contain only letters"),
    ("POST", f"{PROJECT}/variables", {"key": "A", "value": "x", "masked": True}, 400, "is invalid"),
    ("PUT", f"{PROJECT}/variables/A", {"value": "x"}, 404, "404 Variable Not Found"),
    ("POST", f"{PROJECT}/labels", {"name": "x"}, 400, "color is missing"),
    ("POST", f"{PROJECT}/labels", {"name": "x", "color": "red-ish"}, 400, "must be a valid color code"),
    ("PUT", f"{PROJECT}/labels/x", {"color": "#000000"}, 404, "404 Label Not Found"),
    ("POST", f"{PROJECT}/hooks", {"push_events": True}, 400, "url is missing"),
    ("POST", f"{PROJECT}/protected_branches", {"name": "a", "push_access_level": 50}, 400, "does not have a valid"),
    ("POST", f"{PROJECT}/protected_branches", {"name": "a", "unprotect_access_level": 0}, 400, "does not have a valid"),
    ("GET", f"{PROJECT}/protected_branches/a", None, 404, "404 Not Found"),
    ("POST", f"{PROJECT}/merge_requests", {"source_branch": "a", "title": "t"}, 400, "target_branch is missing"),
    ("POST", f"{PROJECT}/merge_requests", {"source_branch": "a", "target_branch": "main", "title": "t"}, 400, "not exist"),
    ("POST", f"{PROJECT}/merge_requests", {"source_branch": "main", "target_branch": "main", "title": "t"}, 400, "same"),
    ("GET", f"{PROJECT}/merge_requests?author=ada", None, 400, "does not have a valid value"),
    ("GET", f"{PROJECT}/merge_requests/1", None, 404, "404 Not Found"),
    ("GET", "/nowhere", None, 404, "404 Not Found"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), REFUSALS)
def test_refuses_what_gitlab_refuses(
    peer: GitlabPeer, method: str, path: str, body: Any, status: int, message: str
) -> None:
    peer.create_project("acme/shop")
    answer = ask(peer, method, path, body)
    assert (answer.status_code, message in answer.text) == (status, True), answer.text


def test_attributes_and_routes_that_gitlab_does_not_have_are_flaws(peer: GitlabPeer) -> None:
    ask(peer, "POST", "/projects", {"name": "x", "colour": "red"})
    ask(peer, "GET", "/nowhere")
    assert [flaw.split(":")[0] for flaw in peer.flaws] == ["POST /projects", "GET /nowhere"]


@pytest.mark.parametrize("headers", [{}, {"PRIVATE-TOKEN": "wrong"}, {"Authorization": "Bearer wrong"}])
def test_a_request_without_a_token_is_refused(peer: GitlabPeer, headers: dict[str, str]) -> None:
    answer = ask(peer, "GET", "/user", headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"message": "401 Unauthorized"})


def test_an_oauth_token_stands_only_in_its_own_header(peer: GitlabPeer) -> None:
    assert ask(peer, "GET", "/user", token=peer.oauth_token).status_code == 401
    bearer = {"Authorization": f"Bearer {peer.oauth_token}"}
    assert ask(peer, "GET", "/user", headers=bearer).json()["username"] == "robot"


def test_python_gitlab_understands_it(peer: GitlabPeer) -> None:
    client = gitlab.Gitlab(peer.url, private_token=peer.token)
    client.auth()
    group = client.groups.get("acme/platform")
    made = client.projects.create({"name": "Shop", "path": "shop", "namespace_id": group.id, "topics": ["a"]})
    found = client.projects.get("acme/platform/shop")
    assert (found.id, found.name, found.topics, found.empty_repo) == (made.id, "Shop", ["a"], True)
    found.variables.create({"key": "A", "value": "b"})
    found.labels.create({"name": "bug", "color": "#ff0000"})
    hook = found.hooks.create({"url": "https://x.example", "push_events": False})
    hook.tag_push_events = True
    hook.save()
    found.protectedbranches.create({"name": "release/*", "push_access_level": 0})
    assert found.protectedbranches.get("release/*").push_access_levels[0]["access_level"] == 0
    found.archive()
    assert client.projects.get(found.id).archived
    assert peer.flaws == []


def test_a_name_that_is_taken_is_told_of_name_and_path(peer: GitlabPeer) -> None:
    peer.create_project("acme/shop")
    acme = peer.namespaces["acme"].id
    both = ask(peer, "POST", "/projects", {"name": "Shop", "path": "shop", "namespace_id": acme})
    assert both.status_code == 400
    assert both.json()["message"]["path"] == both.json()["message"]["name"] == ["has already been taken"]
    name = ask(peer, "POST", "/projects", {"name": "SHOP", "path": "other", "namespace_id": acme})
    assert set(name.json()["message"]) == {"name", "project_namespace.name"}
    assert ask(peer, "POST", "/projects", {"name": "shop"}).status_code == 201  # in the user's own namespace


def test_what_is_there_is_a_conflict_the_second_time(peer: GitlabPeer) -> None:
    peer.create_project("acme/shop")
    group = peer.namespaces["readers"].id
    for path, body, status in (
        ("members", {"username": "ada", "access_level": 30}, 409),
        ("share", {"group_id": group, "group_access": 30}, 409),
        ("labels", {"name": "x", "color": "#000000"}, 409),
        ("variables", {"key": "A", "value": "x"}, 400),
        ("protected_branches", {"name": "dev"}, 409),
        ("hooks", {"url": "https://x.example"}, 201),  # GitLab takes the same one twice
    ):
        assert ask(peer, "POST", f"{PROJECT}/{path}", body).status_code == 201
        assert ask(peer, "POST", f"{PROJECT}/{path}", body).status_code == status, path


def test_variables_of_one_key_are_told_apart_by_their_scope(peer: GitlabPeer) -> None:
    peer.create_project("acme/shop")
    for scope in ("*", "prod/*"):
        body = {"key": "A", "value": scope, "environment_scope": scope}
        assert ask(peer, "POST", f"{PROJECT}/variables", body).status_code == 201
    assert ask(peer, "PUT", f"{PROJECT}/variables/A", {"value": "x"}).status_code == 409
    chosen = f"{PROJECT}/variables/A?filter[environment_scope]=prod/*"
    assert ask(peer, "PUT", chosen, {"value": "x"}).json()["environment_scope"] == "prod/*"


def test_a_hidden_variable_shows_no_value_and_stays_hidden(peer: GitlabPeer) -> None:
    peer.create_project("acme/shop")
    body = {"key": "A", "value": "long-enough", "masked_and_hidden": True}
    shown = ask(peer, "POST", f"{PROJECT}/variables", body).json()
    assert (shown["value"], shown["hidden"], shown["masked"]) == (None, True, True)
    assert ask(peer, "PUT", f"{PROJECT}/variables/A", {"value": "x" * 9, "masked": False}).status_code == 400


@pytest.mark.parametrize("redirects", [True, False])
def test_a_project_that_was_renamed_is_found_by_its_old_path(peer: GitlabPeer, *, redirects: bool) -> None:
    peer.redirects_moved = redirects
    project = peer.create_project("acme/shop")
    peer.rename(project, "store")
    answer = ask(peer, "GET", PROJECT)
    if redirects:
        assert (answer.status_code, answer.headers["Location"]) == (301, f"{peer.api_url}/projects/{project.id}")
    else:
        assert (answer.status_code, answer.json()["path_with_namespace"]) == (200, "acme/store")
    peer.create_project("acme/shop")
    assert ask(peer, "GET", PROJECT).json()["id"] != project.id


def test_a_deletion_is_delayed_under_another_path(peer: GitlabPeer) -> None:
    project = peer.create_project("acme/shop")
    assert ask(peer, "DELETE", PROJECT).status_code == 202
    shown = ask(peer, "GET", f"/projects/{project.id}").json()
    assert shown["path_with_namespace"] == f"acme/shop-deletion_scheduled-{project.id}"
    assert shown["marked_for_deletion_on"]
    assert ask(peer, "DELETE", f"/projects/{project.id}").status_code == 400
    peer.deletes_at_once = True
    other = peer.create_project("acme/shop")
    ask(peer, "DELETE", f"/projects/{other.id}")
    assert ask(peer, "GET", f"/projects/{other.id}").status_code == 404


def test_an_archived_project_is_read_only(peer: GitlabPeer, tmp_path: Path) -> None:
    peer.create_project("acme/shop")
    for _ in range(2):
        assert ask(peer, "POST", f"{PROJECT}/archive").status_code == 201
    assert ask(peer, "POST", f"{PROJECT}/labels", {"name": "x", "color": "#000000"}).status_code == 403
    clone = make_clone(peer, tmp_path / "clone", "acme/shop")
    assert "403" in git("push", "origin", "trunk:dev", cwd=clone).stderr
    assert not ask(peer, "POST", f"{PROJECT}/unarchive").json()["archived"]


def test_a_project_of_others_is_invisible_or_read_only(peer: GitlabPeer) -> None:
    peer.create_project("acme/shop", level=None)
    assert ask(peer, "GET", PROJECT).status_code == 404
    peer.project("acme/shop").level = 20
    assert ask(peer, "GET", PROJECT).status_code == 200
    assert ask(peer, "PUT", PROJECT, {"description": "x"}).json() == {"message": "403 Forbidden"}


def test_the_first_branch_that_is_pushed_is_the_default_branch_and_protected(peer: GitlabPeer, tmp_path: Path) -> None:
    peer.create_project("acme/shop", commits=False)
    clone = make_clone(peer, tmp_path / "clone", "acme/shop")
    assert git("push", "-q", "origin", "trunk", cwd=clone).returncode == 0
    assert ask(peer, "GET", PROJECT).json()["default_branch"] == "trunk"
    shown = ask(peer, "GET", f"{PROJECT}/protected_branches/trunk").json()
    assert [one["access_level"] for one in shown["push_access_levels"]] == [40]


def test_git_wants_the_token_as_a_password(peer: GitlabPeer, tmp_path: Path) -> None:
    peer.create_project("acme/shop")
    wrong = make_clone(peer, tmp_path / "wrong", "acme/shop", password="wrong")
    assert git("push", "origin", "trunk:dev", cwd=wrong).returncode != 0
    unseen = make_clone(peer, tmp_path / "unseen", "elsewhere/shop")
    assert "not found" in git("fetch", "origin", cwd=unseen).stderr
    assert list(peer.project("acme/shop").branches) == ["main"]


def open_request(peer: GitlabPeer, **values: Any) -> Any:
    peer.create_project("acme/shop")
    peer.push_foreign_commit("acme/shop", "topic")
    body = {"source_branch": "topic", "target_branch": "main", "title": "Draft: T", "labels": "a,b"} | values
    return ask(peer, "POST", f"{PROJECT}/merge_requests", body)


def test_a_merge_request_is_opened_once_and_merged_when_it_is_ready(peer: GitlabPeer) -> None:
    opened = open_request(peer)
    assert (opened.status_code, opened.json()["draft"], opened.json()["labels"]) == (201, True, ["a", "b"])
    again = {"source_branch": "topic", "target_branch": "main", "title": "T"}
    assert ask(peer, "POST", f"{PROJECT}/merge_requests", again).status_code == 409
    one = f"{PROJECT}/merge_requests/1"
    assert ask(peer, "PUT", f"{one}/merge", {"auto_merge": True}).status_code == 405  # not looked at yet
    assert ask(peer, "GET", one).json()["detailed_merge_status"] == "checking"
    assert ask(peer, "GET", one).json()["detailed_merge_status"] == "draft_status"
    ask(peer, "PUT", one, {"title": "T"})
    assert ask(peer, "PUT", f"{one}/merge", {"sha": "0" * 40}).status_code == 409
    assert ask(peer, "PUT", f"{one}/merge", {"auto_merge": True}).json()["state"] == "merged"
    branches = peer.project("acme/shop").branches
    assert branches["main"] == branches["topic"]
    assert ask(peer, "PUT", f"{one}/merge", {}).status_code == 405


def test_without_premium_one_reviewer_counts(peer: GitlabPeer) -> None:
    ids = [peer.users["ada"], peer.users["grace"]]
    peer.is_premium = False
    assert [one["username"] for one in open_request(peer, reviewer_ids=ids).json()["reviewers"]] == ["ada"]


def test_lists_come_in_pages(peer: GitlabPeer) -> None:
    peer.create_project("acme/shop")
    for number in range(3):
        ask(peer, "POST", f"{PROJECT}/hooks", {"url": f"https://x.example/{number}"})
    first = ask(peer, "GET", f"{PROJECT}/hooks?per_page=2")
    assert (len(first.json()), first.headers["X-Next-Page"], first.headers["X-Total"]) == (2, "2", "3")
    assert len(ask(peer, "GET", f"{PROJECT}/hooks?per_page=2&page=2").json()) == 1


def test_faults_meet_the_requests_that_they_are_for(peer: GitlabPeer) -> None:
    peer.fail("POST", "^/projects$", "502 after")
    peer.fail("GET", "^/user$", "429", seconds=7)
    peer.fail("GET", "^/groups/", "reset")
    lost = ask(peer, "POST", "/projects", {"name": "shop"})
    assert (lost.status_code, lost.headers["Content-Type"]) == (502, "text/html")
    assert peer.project("robot/shop")
    limited = ask(peer, "GET", "/user")
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")
    assert 5 < int(limited.headers["RateLimit-Reset"]) - time.time() < 9
    with pytest.raises(requests.ConnectionError):
        ask(peer, "GET", "/groups/acme")
    assert ask(peer, "GET", "/user").status_code == 200
    assert [one.status for one in peer.requests] == [502, 429, 0, 200]


def test_what_is_not_the_api_is_a_page_for_people(peer: GitlabPeer) -> None:
    answer = requests.get(f"{peer.url}/acme", timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
