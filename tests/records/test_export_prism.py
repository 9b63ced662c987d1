"""Every request that an export may send to GitHub, checked by Prism against GitHub's own OpenAPI description.

Prism remembers nothing: it answers with examples and refuses what the description does not allow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from scaffolder.config import Settings
from scaffolder.errors import ExportRejectedError
from scaffolder.exports.contract import read_options
from scaffolder.exports.github.host import GitHubHost
from scaffolder.exports.github.options import GitHubOptions
from scaffolder.exports.github.pull_requests import GitHubPullRequests
from scaffolder.exports.github.transport import GitHubConnection
from scaffolder.exports.host_api import HostAnswer, HostApi
from scaffolder.exports.hosted import RemoteRepository
from scaffolder.records.store import ProjectRecords
from tests.exports import read_secret
from tests.prism import PrismUnavailableError, find_obstacle, serve_prism

OPTIONS: dict[str, Any] = {
    "owner": "acme",
    "visibility": "public",
    "description": "All of it",
    "homepage": "https://example.com/docs",
    "topics": ["fastapi"],
    "default_branch": "trunk",
    "features": {"issues": True, "wiki": False, "projects": False},
    "is_template": True,
    "merge": {"merge_commit": True, "squash": True, "rebase": False, "auto_merge": True, "update_branch": True,
              "squash_title": "PR_TITLE", "squash_message": "PR_BODY"},
    "delete_branch_on_merge": True,
    "collaborators": [{"user": "grace", "role": "push"}, {"team": "platform", "role": "admin"}],
    "branch_protection": {"required_approvals": 1, "status_checks": ["test"], "restrictions": {"users": ["ada"]}},
    "rulesets": [{"name": "main", "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
                  "rules": [{"type": "deletion"}]}],
    "custom_properties": {"team": "payments"},
    "variables": {"REGION": "eu"},
    "labels": [{"name": "debt", "color": "ff0000"}],
    "webhooks": [{"url": "https://ci.example.com/hook", "secret": {"connection": "hook"}}],
    "environments": [{"name": "production", "wait_minutes": 5, "reviewers": [{"user": "ada"}],
                      "protected_branches_only": True, "variables": {"URL": "https://x"}}],
}  # fmt: skip
PULL_REQUEST: dict[str, Any] = {
    "owner": "acme",
    "repository": "mono",
    "pull_request": {"reviewers": ["ada"], "team_reviewers": ["platform"], "assignees": ["ada"], "labels": ["bug"]},
}
REPOSITORY = RemoteRepository(
    id="1296269",
    full_name="acme/bookings",
    url="",
    git_url="",
    description="",
    default_branch="main",
    is_archived=False,
)


@pytest.fixture(scope="module")
def prism() -> Iterator[str]:
    if reason := find_obstacle():
        pytest.skip(reason)
    try:
        with serve_prism() as url:
            yield url
    except PrismUnavailableError as error:
        pytest.skip(str(error))


class Recording:
    """A transport that keeps what it was asked, and what Prism has against it."""

    def __init__(self, connection: GitHubConnection) -> None:
        self._connection = connection
        self.asked: list[str] = []
        self.violations: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def send(self, method: str, path: str, **values: Any) -> HostAnswer:
        self.asked.append(f"{method} {path}")
        answer = self._connection.send(method, path, **values)
        told = answer.headers.get("sl-violations", "[]")
        self.violations += [str(one) for one in json.loads(told) if one["location"][0] == "request"]
        return answer


class Prism:
    """GitHub's host behind Prism, and what was asked."""

    def __init__(self, url: str, records: ProjectRecords, settings: Settings) -> None:
        from github import Auth, Github

        settings = replace(settings, github_write_interval_seconds=0, export_tries=1)
        client = Github(auth=Auth.Token("ghp_x"), base_url=url)
        self.connection = GitHubConnection(client, conn_id="prism", settings=settings)
        self.transport = Recording(self.connection)
        self.api = HostApi(self.transport, records.exports, settings=settings)

    @property
    def asked(self) -> list[str]:
        return self.transport.asked

    def host(self, options: dict[str, Any]) -> GitHubHost:
        read = read_options(GitHubOptions, options, target="github")
        return GitHubHost(self.api, self.connection, options=read, read_secret=read_secret)


@pytest.fixture
def github(prism: str, records: ProjectRecords, settings: Settings) -> Iterator[Prism]:
    found = Prism(prism, records, settings)
    yield found
    assert found.transport.violations == []


def test_prism_refuses_what_github_does_not_describe(github: Prism) -> None:
    with pytest.raises(ExportRejectedError, match="422"):
        github.api.request("POST", "/orgs/acme/repos", body={"nmae": "x"})
    assert len(github.transport.violations) == 1
    github.transport.violations.clear()


def test_making_finding_and_removing_a_repository_is_as_described(github: Prism) -> None:
    host = github.host(OPTIONS)
    assert host.create("bookings", marker="nonce") is not None
    host.find("bookings")
    host.get("1296269")
    host.set_archived(REPOSITORY, archived=True)
    host.delete(REPOSITORY)
    own = github.host({})
    assert own.create("bookings", marker="nonce") is not None
    assert github.asked[-2:] == ["GET /user", "POST /user/repos"] or github.asked[-1] == "POST /user/repos"


def test_every_setting_is_as_described(github: Prism) -> None:
    settings = github.host(OPTIONS).list_settings(REPOSITORY, branch="trunk")
    assert len(settings) == 10
    for setting in settings:
        setting.apply()
    assert {"PUT /repos/acme/bookings/topics", "PUT /repos/acme/bookings/branches/trunk/protection"} <= set(
        github.asked
    )


POSTS: dict[str, dict[str, Any]] = {
    "labels": {"name": "debt", "color": "ff0000", "description": ""},
    "hooks": {"name": "web", "events": ["push"], "active": True,
              "config": {"url": "https://x", "content_type": "json", "insecure_ssl": "0", "secret": "x"}},
    "actions/variables": {"name": "REGION", "value": "eu"},
    "rulesets": {"name": "main", "target": "branch", "enforcement": "active", "rules": [{"type": "deletion"}],
                 "bypass_actors": []},
}  # fmt: skip


@pytest.mark.parametrize("path", list(POSTS))
def test_what_is_made_where_nothing_is_found_is_as_described(github: Prism, path: str) -> None:
    github.api.request("POST", f"/repos/acme/bookings/{path}", body=POSTS[path])


def test_pull_requests_are_as_described(github: Prism) -> None:
    host = github.host(PULL_REQUEST)
    options = read_options(GitHubOptions, PULL_REQUEST, target="github").pull_request
    assert options is not None
    pulls = GitHubPullRequests(host, options=options, get_commit=lambda: "0" * 40)
    pulls.find_request(REPOSITORY, branch="gen", base="main")
    change = pulls.create_request(REPOSITORY, branch="gen", base="main", title="Add", body="Made")
    for setting in pulls.list_settings(REPOSITORY, change, title="Other", body=""):
        if setting.name not in {"draft", "auto-merge"}:  # GraphQL, which the description does not cover
            setting.apply()
    assert "POST /repos/acme/bookings/pulls" in github.asked
