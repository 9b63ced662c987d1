from __future__ import annotations

import base64
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import github
import jwt
import pytest
import requests
from nacl.public import PublicKey, SealedBox

from tests.github_peer import GithubPeer, SecondaryLimits, serve_github

PROTECTION: dict[str, Any] = {
    "required_status_checks": None,
    "enforce_admins": True,
    "required_pull_request_reviews": {"required_approving_review_count": 1},
    "restrictions": None,
}


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[GithubPeer]:
    with serve_github(tmp_path / "hosted") as served:
        yield served


def ask(peer: GithubPeer, method: str, path: str, body: Any = None, *, token: str = "", **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {token or peer.token}"}
    return requests.request(method, peer.api_url + path, json=body, headers=headers, timeout=10, **options)


def git(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "credential.helper="]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=30
    )


def make_clone(peer: GithubPeer, directory: Path, name: str, *, token: str = "") -> Path:
    """Make a repository with one commit whose remote is the peer's."""
    directory.mkdir()
    git("init", "-q", "-b", "trunk", cwd=directory)
    git("commit", "-q", "--allow-empty", "-m", "First", cwd=directory)
    url = f"{peer.url}/{name}.git".replace("//", f"//anybody:{token or peer.token}@", 1)
    git("remote", "add", "origin", url, cwd=directory)
    return directory


def seal(key: dict[str, str], value: str) -> dict[str, str]:
    box = SealedBox(PublicKey(base64.b64decode(key["key"]))).encrypt(value.encode())
    return {"encrypted_value": base64.b64encode(box).decode(), "key_id": key["key_id"]}


REFUSALS: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/orgs/acme/repos", {}, 422, "missing_field"),
    ("POST", "/orgs/acme/repos", {"name": "shop", "privat": True}, 422, "privat"),
    ("POST", "/orgs/acme/repos", {"name": "shop", "private": "yes"}, 422, "valid boolean"),
    ("POST", "/orgs/acme/repos", {"name": "TAKEN"}, 422, "name already exists on this account"),
    ("POST", "/orgs/acme/repos", {"name": "shop", "custom_properties": {"tier": "tin"}}, 422, "not an allowed value"),
    ("POST", "/orgs/ada/repos", {"name": "shop"}, 404, "Not Found"),
    ("POST", "/orgs/elsewhere/repos", {"name": "shop"}, 403, "admin access to the organization"),
    ("POST", "/user/repos", {"name": "shop", "visibility": "private"}, 422, "visibility"),
    ("PATCH", "/repos/acme/taken", {"default_branch": "none"}, 422, "The branch none was not found"),
    ("PATCH", "/repos/acme/empty", {"default_branch": "main"}, 422, "for an empty repository"),
    ("PATCH", "/repos/acme/taken", {"squash_merge_commit_title": "PR_BODY"}, 422, "squash_merge_commit_title"),
    ("PATCH", "/repos/acme/taken", {"merge_commit_title": "PR_TITLE"}, 422, "invalid setting combination"),
    ("PATCH", "/repos/acme/taken", {"squash_merge_commit_message": "PR_BODY"}, 422, "invalid setting combination"),
    ("PUT", "/repos/acme/taken/topics", {"names": ["no spaces"]}, 422, "Topics must"),
    ("PUT", "/repos/acme/taken/collaborators/nobody", {"permission": "push"}, 404, "Not Found"),
    ("PUT", "/repos/acme/taken/collaborators/ada", {"permission": "write"}, 422, "permission"),
    ("PUT", "/orgs/acme/teams/none/repos/acme/taken", {"permission": "push"}, 404, "Not Found"),
    ("PUT", "/repos/acme/taken/branches/main/protection", {"enforce_admins": True}, 422, "required_status_checks"),
    ("PUT", "/repos/acme/empty/branches/main/protection", PROTECTION, 404, "Branch not found"),
    ("POST", "/repos/acme/taken/rulesets", {"name": "a", "enforcement": "on"}, 422, "enforcement"),
    ("PATCH", "/repos/acme/taken/actions/variables/NONE", {"value": "1"}, 404, "Not Found"),
    ("POST", "/repos/acme/taken/environments/none/variables", {"name": "A", "value": "1"}, 404, "Not Found"),
    ("POST", "/repos/acme/taken/labels", {"name": "Bug"}, 422, "already_exists"),
    ("POST", "/repos/acme/taken/hooks", {"config": {"content_type": "json"}}, 422, "url cannot be blank"),
    ("POST", "/repos/acme/taken/hooks", {"config": {"url": "http://a", "secrt": "b"}}, 422, "config.secrt"),
    ("POST", "/repos/acme/taken/pulls", {"title": "a", "head": "none", "base": "main"}, 422, "head"),
    ("POST", "/repos/acme/taken/pulls", {"title": "a", "head": "same", "base": "main"}, 422, "No commits between"),
    ("POST", "/repos/acme/taken/pulls", {"title": "a", "head": "other", "base": "main"}, 422, "no history in common"),
    ("GET", "/repos/acme/hidden", None, 404, "Not Found"),
]


def test_refuses_what_github_refuses(peer: GithubPeer) -> None:
    taken = peer.create_repository("acme/taken")
    peer.create_repository("acme/empty", commits=False)
    peer.create_repository("acme/hidden", permission=None)
    peer.push_foreign_commit(taken, "other")
    git("update-ref", "refs/heads/same", "refs/heads/main", cwd=taken.directory)
    for method, path, body, status, message in REFUSALS:
        answer = ask(peer, method, path, body)
        assert answer.status_code == status, (method, path, body, answer.text)
        assert message in answer.text
        assert answer.json()["status"] == str(status)
    assert peer.flaws == []


def test_refuses_without_a_token_that_it_gave(peer: GithubPeer) -> None:
    assert ask(peer, "GET", "/user", token="ghp_wrong").json()["message"] == "Bad credentials"
    assert requests.get(f"{peer.api_url}/user", timeout=10).status_code == 401
    assert [request.is_authorised for request in peer.requests] == [True, False]
    assert "ghp_wrong" not in repr(peer.requests)


def test_a_repository_is_what_was_asked_for_by_pygithub(peer: GithubPeer) -> None:
    token = github.Auth.Token(peer.token)
    client = github.Github(
        base_url=peer.api_url, auth=token, retry=None, seconds_between_requests=None, seconds_between_writes=None
    )
    headers, data = client.requester.requestJsonAndCheck(
        "POST", "/orgs/acme/repos", input={"name": "shop", "private": True, "description": "Sells"}
    )
    assert headers["x-ratelimit-remaining"] == "4999"
    assert data["full_name"] == "acme/shop"
    shop = client.get_repo("acme/shop")
    shop.edit(has_wiki=False, allow_auto_merge=True)
    shop.replace_topics(["Web", "shop"])
    label = shop.create_label("urgent", "ff0000")
    label.edit("soon", "00ff00", description="Not now")
    shop.create_hook("web", {"url": "https://example.org/hook", "content_type": "json", "secret": "s3cret"}, ["push"])
    shop.create_variable("REGION", "eu")
    shop.create_secret("TOKEN", "hush")
    shop.create_environment("prod").create_secret("TOKEN", "louder")
    assert [len(page) for page in (list(shop.get_labels()), list(shop.get_hooks()))] == [10, 1]

    kept = peer.repository("acme/shop")
    assert (kept.description, kept.visibility, kept.topics) == ("Sells", "private", ["web", "shop"])
    assert (kept.settings["has_wiki"], kept.settings["allow_auto_merge"]) == (False, True)
    assert kept.labels["soon"]["description"] == "Not now"
    assert [hook["config"]["secret"] for hook in kept.hooks.values()] == ["s3cret"]
    assert kept.variables == {"REGION": "eu"}
    assert (kept.open_secret("TOKEN"), kept.environments["prod"].open_secret("TOKEN")) == ("hush", "louder")
    assert peer.flaws == []


def test_refuses_a_secret_that_its_key_does_not_open(peer: GithubPeer) -> None:
    peer.create_repository("acme/shop")
    ask(peer, "PUT", "/repos/acme/shop/environments/prod", {})
    key, other = (
        ask(peer, "GET", f"/repos/acme/shop/{place}/secrets/public-key").json()
        for place in ("actions", "environments/prod")
    )
    sealed = seal(other, "hush")
    wrong = [
        {"encrypted_value": "c2VjcmV0", "key_id": key["key_id"]},
        {"encrypted_value": "not base64", "key_id": key["key_id"]},
        sealed | {"key_id": key["key_id"]},
        seal(key, "hush") | {"key_id": "1"},
    ]
    for body in wrong:
        assert ask(peer, "PUT", "/repos/acme/shop/actions/secrets/TOKEN", body).status_code == 422
    assert ask(peer, "PUT", "/repos/acme/shop/actions/secrets/TOKEN", seal(key, "hush")).status_code == 201
    assert ask(peer, "PUT", "/repos/acme/shop/actions/secrets/token", seal(key, "new")).status_code == 204
    assert peer.repository("acme/shop").open_secret("TOKEN") == "new"


def test_what_is_there_is_not_made_again(peer: GithubPeer) -> None:
    peer.create_repository("acme/shop")
    ruleset = {"name": "main", "enforcement": "active", "rules": [{"type": "deletion"}]}
    variable = {"name": "region", "value": "eu"}
    for path, body, again in (("rulesets", ruleset, 422), ("actions/variables", variable, 409)):
        assert ask(peer, "POST", f"/repos/acme/shop/{path}", body).status_code == 201
        assert ask(peer, "POST", f"/repos/acme/shop/{path}", body).status_code == again
    assert ask(peer, "PUT", "/repos/acme/shop/branches/main/protection", PROTECTION).status_code == 200
    shown = ask(peer, "GET", "/repos/acme/shop/branches/main/protection").json()
    assert shown["required_pull_request_reviews"]["required_approving_review_count"] == 1
    assert ask(peer, "PUT", "/repos/acme/shop/collaborators/grace", {"permission": "push"}).status_code == 201
    assert ask(peer, "PUT", "/repos/acme/shop/collaborators/ada", {"permission": "push"}).status_code == 204
    assert peer.flaws == []


def test_lists_come_in_pages(peer: GithubPeer) -> None:
    peer.create_repository("acme/shop")
    first = ask(peer, "GET", "/repos/acme/shop/labels?per_page=4")
    assert len(first.json()) == 4
    assert first.links["last"]["url"].endswith("page=3")
    assert len(requests.get(first.links["last"]["url"], headers=first.request.headers, timeout=10).json()) == 1


def test_pull_requests_follow_their_branches(peer: GithubPeer) -> None:
    shop = peer.create_repository("acme/shop")
    git("update-ref", "refs/heads/change", "refs/heads/main", cwd=shop.directory)
    peer.push_foreign_commit(shop, "change")
    wanted = {"title": "Change", "head": "change", "base": "main", "draft": True}
    opened = ask(peer, "POST", "/repos/acme/shop/pulls", wanted)
    assert opened.status_code == 201
    assert "already exists" in ask(peer, "POST", "/repos/acme/shop/pulls", wanted).text
    found = "/repos/acme/shop/pulls?head=acme:change&base=main&state=open"
    assert [pull["number"] for pull in ask(peer, "GET", found).json()] == [1]
    reviewers = "/repos/acme/shop/pulls/1/requested_reviewers"
    assert ask(peer, "POST", reviewers, {"reviewers": ["grace"]}).status_code == 422
    assert ask(peer, "POST", reviewers, {"reviewers": ["ada"]}).status_code == 201
    assert ask(peer, "POST", "/repos/acme/shop/issues/1/labels", {"labels": ["made up"]}).status_code == 200
    assert ask(peer, "POST", "/repos/acme/shop/issues/1/assignees", {"assignees": ["ada", "grace"]}).ok
    assert (shop.pulls[1].assignees, shop.pulls[1].labels) == (["ada"], ["made up"])

    git("update-ref", "refs/heads/main", "refs/heads/change", cwd=shop.directory)
    assert ask(peer, "GET", "/repos/acme/shop/pulls/1").json()["merged"]
    assert ask(peer, "GET", found).json() == []
    assert peer.flaws == []


def test_auto_merge_needs_permission_and_something_to_wait_for(peer: GithubPeer) -> None:
    shop = peer.create_repository("acme/shop")
    git("update-ref", "refs/heads/change", "refs/heads/main", cwd=shop.directory)
    peer.push_foreign_commit(shop, "change")
    node = ask(peer, "POST", "/repos/acme/shop/pulls", {"title": "a", "head": "change", "base": "main"}).json()[
        "node_id"
    ]

    def mutate(name: str, **more: str) -> str:
        query = f"mutation M($input: I!) {{ {name}(input: $input) {{ clientMutationId }} }}"
        asked = {"query": query, "variables": {"input": {"pullRequestId": node} | more}}
        answer = requests.post(
            f"{peer.url}/api/graphql", json=asked, headers={"Authorization": f"bearer {peer.token}"}, timeout=10
        ).json()
        return answer["errors"][0]["message"] if "errors" in answer else ""

    assert "not allowed for this repository" in mutate("enablePullRequestAutoMerge", mergeMethod="SQUASH")
    shop.settings["allow_auto_merge"] = True
    assert "clean status" in mutate("enablePullRequestAutoMerge", mergeMethod="SQUASH")
    shop.protection["main"] = PROTECTION
    assert mutate("enablePullRequestAutoMerge", mergeMethod="SQUASH") == ""
    assert mutate("convertPullRequestToDraft") == ""
    assert (shop.pulls[1].auto_merge, shop.pulls[1].draft) == ("SQUASH", True)


def test_git_pushes_with_a_token_and_the_branch_becomes_the_default(peer: GithubPeer, tmp_path: Path) -> None:
    peer.create_repository("acme/shop", commits=False)
    clone = make_clone(peer, tmp_path / "clone", "acme/shop")
    assert ask(peer, "GET", "/repos/acme/shop").json()["default_branch"] == "main"
    assert git("push", "origin", "trunk", cwd=clone).returncode == 0
    assert ask(peer, "GET", "/repos/acme/shop").json()["default_branch"] == "trunk"
    assert [request.method for request in peer.git_requests][-1] == "POST"
    stranger = make_clone(peer, tmp_path / "stranger", "acme/shop", token="ghp_wrong")
    assert git("push", "origin", "trunk:other", cwd=stranger).returncode != 0
    assert list(peer.repository("acme/shop").branches) == ["trunk"]


@pytest.mark.parametrize("obstacle", ["archived", "a hook", "somebody else's commit", "gone"])
def test_git_pushes_are_refused(peer: GithubPeer, tmp_path: Path, obstacle: str) -> None:
    shop = peer.create_repository("acme/shop", commits=False)
    clone = make_clone(peer, tmp_path / "clone", "acme/shop")
    if obstacle == "archived":
        peer.archive(shop)
        assert ask(peer, "PATCH", "/repos/acme/shop", {"description": "a"}).status_code == 403
    elif obstacle == "a hook":
        shop.refuse_pushes = "it's a hook"
    elif obstacle == "gone":
        peer.delete(shop)
    else:
        peer.push_foreign_commit(shop, "trunk")
    said = git("push", "origin", "trunk", cwd=clone).stderr
    expected = {"archived": "archived so it is read-only", "a hook": "it's a hook", "gone": "not found"}
    assert expected.get(obstacle, "rejected") in said
    shop.refuse_pushes = None


def test_a_renamed_repository_answers_to_its_old_name(peer: GithubPeer, tmp_path: Path) -> None:
    shop = peer.create_repository("acme/shop", commits=False)
    clone = make_clone(peer, tmp_path / "clone", "acme/shop")
    peer.rename(shop, "store")
    answer = ask(peer, "GET", "/repos/acme/shop", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (301, f"{peer.api_url}/repositories/{shop.id}")
    assert ask(peer, "GET", "/repos/acme/shop").json()["full_name"] == "acme/store"
    assert ask(peer, "PATCH", "/repos/acme/shop", {"description": "a"}, allow_redirects=False).status_code == 307
    assert git("push", "origin", "trunk", cwd=clone).returncode == 0
    assert [request.status for request in peer.git_requests if request.path.startswith("/acme/shop.git")] == [401, 301]
    assert list(shop.branches) == ["trunk"]
    peer.create_repository("acme/shop")
    assert ask(peer, "GET", "/repos/acme/shop", allow_redirects=False).status_code == 200


def test_a_transferred_repository_is_out_of_sight(peer: GithubPeer) -> None:
    shop = peer.create_repository("acme/shop")
    peer.transfer(shop, "elsewhere")
    for path in ("/repos/acme/shop", "/repos/elsewhere/shop", f"/repositories/{shop.id}"):
        assert ask(peer, "GET", path).status_code == 404


FAULTS: list[tuple[str, bool, int | type[Exception]]] = [
    ("502 after", True, 502),
    ("502 before", False, 502),
    ("404", False, 404),
    ("401", False, 401),
    ("429", False, 429),
    ("secondary limit", False, 403),
    ("primary limit", False, 403),
    ("reset after", True, requests.ConnectionError),
    ("reset before", False, requests.ConnectionError),
    ("hang after", True, requests.ConnectionError),
    ("hang before", False, requests.ConnectionError),
    ("slow", True, 201),
]


def test_faults_come_with_and_without_their_effect(peer: GithubPeer) -> None:
    peer.hang_seconds = peer.slow_seconds = 0.05
    for number, (fault, has_effect, outcome) in enumerate(FAULTS):
        peer.fail("POST", r"/orgs/acme/repos$", fault)
        body = {"name": f"shop-{number}"}
        if isinstance(outcome, int):
            answer = ask(peer, "POST", "/orgs/acme/repos", body)
            assert answer.status_code == outcome, fault
            assert ("Retry-After" in answer.headers) == (fault in {"429", "secondary limit"})
        else:
            with pytest.raises(outcome):
                ask(peer, "POST", "/orgs/acme/repos", body)
        assert (peer.find(f"acme/shop-{number}")[0] is not None) == has_effect, fault
        assert ask(peer, "POST", "/orgs/acme/repos", body).status_code == (422 if has_effect else 201)
    with pytest.raises(ValueError, match="no fault"):
        peer.fail("POST", ".", "502 perhaps")


def test_a_push_whose_answer_is_lost_has_arrived(peer: GithubPeer, tmp_path: Path) -> None:
    shop = peer.create_repository("acme/shop", commits=False)
    clone = make_clone(peer, tmp_path / "clone", "acme/shop")
    peer.fail("POST", "git-receive-pack", "reset after")
    assert git("push", "origin", "trunk", cwd=clone).returncode != 0
    assert list(shop.branches) == ["trunk"]


def test_limits_count_what_writes(peer: GithubPeer) -> None:
    peer.create_repository("acme/shop")
    variable = "/repos/acme/shop/actions/variables"
    peer.limits = SecondaryLimits(per_minute=2)
    statuses = [ask(peer, "POST", variable, {"name": f"A{number}", "value": "1"}).status_code for number in range(3)]
    assert statuses == [201, 201, 403]
    assert ask(peer, "GET", variable).status_code == 200
    assert (peer.limit_violations, len(peer.write_times)) == (1, 3)

    peer.limits = SecondaryLimits(min_interval_seconds=0.2)
    time.sleep(0.2)
    first, second = (ask(peer, "POST", variable, {"name": name, "value": "1"}) for name in ("B", "C"))
    assert (first.status_code, second.status_code, second.headers["Retry-After"]) == (201, 403, "1")


def test_limits_count_what_is_asked_at_once(peer: GithubPeer) -> None:
    peer.limits = SecondaryLimits(concurrent=1)
    peer.fail("GET", "/user$", "slow", seconds=0.3)
    slow = threading.Thread(target=ask, args=(peer, "GET", "/user"))
    slow.start()
    while not peer.requests:
        time.sleep(0.01)
    assert ask(peer, "GET", "/users/ada").status_code == 403
    slow.join()
    assert ask(peer, "GET", "/users/ada").status_code == 200


def test_whoever_watches_is_told_before_and_after(peer: GithubPeer) -> None:
    moments: list[tuple[str, str, str, int]] = []

    def watch(when: str, method: str, path: str) -> bool | None:
        moments.append((when, method, path, len(peer.repositories)))
        return path != "/user"

    peer.on_request = watch
    ask(peer, "POST", "/orgs/acme/repos", {"name": "shop"})
    assert moments == [("before", "POST", "/orgs/acme/repos", 0), ("after", "POST", "/orgs/acme/repos", 1)]
    with pytest.raises(requests.ConnectionError):
        ask(peer, "GET", "/user")


def test_an_app_gets_a_token_of_its_installation(peer: GithubPeer, tmp_path: Path) -> None:
    peer.create_repository("acme/shop", commits=False)
    path = f"/app/installations/{peer.installation_id}/access_tokens"
    claims = {"iat": int(time.time()) - 60, "exp": int(time.time()) + 300, "iss": str(peer.app_id)}
    assertion = jwt.encode(claims, peer.app_private_key, algorithm="RS256")
    late = jwt.encode(claims | {"exp": claims["exp"] + 900}, peer.app_private_key, algorithm="RS256")
    assert ask(peer, "POST", path, {}).status_code == 401
    assert ask(peer, "POST", path, {}, token=late).status_code == 401
    token = ask(peer, "POST", path, {}, token=assertion).json()["token"]
    assert ask(peer, "GET", "/user", token=token).status_code == 403
    assert ask(peer, "GET", "/repos/acme/shop", token=token).status_code == 200
    assert (
        git("push", "origin", "trunk", cwd=make_clone(peer, tmp_path / "clone", "acme/shop", token=token)).returncode
        == 0
    )
    peer.revoke(token)
    assert ask(peer, "GET", "/repos/acme/shop", token=token).status_code == 401
    assert peer.flaws == []


def test_an_unknown_route_is_a_flaw(peer: GithubPeer) -> None:
    assert ask(peer, "GET", "/repos/acme/shop/nonsense").status_code == 404
    assert peer.flaws == ["GET /repos/acme/shop/nonsense: no such route"]
