"""Exports to GitLab with real records, against a GitLab of the tests' own with real git behind it."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scaffolder.config import Settings
from scaffolder.errors import (
    ExportConflictError,
    ExportRejectedError,
    ExportTargetError,
    HostUnavailableError,
    HostWaitError,
    ScaffolderError,
)
from scaffolder.exports.gitlab.exporter import GitLabExporter
from scaffolder.exports.gitlab.hook import GitLabHook
from scaffolder.exports.gitlab.options import GitLabOptions
from scaffolder.exports.gitlab.transport import GitLabConnection
from scaffolder.provider import get_provider_info
from scaffolder.records.models import ExportStatus, RepositoryExport
from scaffolder.records.store import ProjectRecords
from tests.certificates import Authority
from tests.exports import Exports, list_files, refs, run_git
from tests.factories import make_file
from tests.gitlab_peer import GitlabPeer, serve_gitlab
from tests.profile import pair


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitlabPeer]:
    with serve_gitlab(tmp_path_factory.mktemp("gitlab")) as peer:
        yield peer


@pytest.fixture
def gitlab(served: GitlabPeer) -> Iterator[GitlabPeer]:
    served.reset()
    yield served
    assert served.flaws == []


@pytest.fixture
def exports(records: ProjectRecords, settings: Settings) -> Exports:
    return Exports(records, replace(settings, export_timeout_seconds=2, export_tries=3, export_max_wait_seconds=5))


class Target:
    """The exports of one generated project to one GitLab."""

    def __init__(self, exports: Exports, gitlab: GitlabPeer) -> None:
        self.exports = exports
        self.gitlab = gitlab

    def connect(self, **values: Any) -> GitLabConnection:
        given = {"url": self.gitlab.url, "token": self.gitlab.token, "conn_id": "test_gitlab"} | values
        return GitLabConnection(**given, settings=self.exports.settings)

    def export(self, **options: Any) -> RepositoryExport:
        rollback = options.pop("rollback", False)
        connection = options.pop("connection", None) or self.connect()
        given = {"namespace": "acme"} | options
        return self.exports.export("gitlab", connection=connection, rollback=rollback, **given)

    def asked(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.gitlab.requests]

    def written(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.gitlab.requests if one.writes]


@pytest.fixture
def target(exports: Exports, gitlab: GitlabPeer) -> Target:
    return Target(exports, gitlab)


# What is made


def test_makes_a_project_and_pushes_the_commit_with_three_requests(target: Target) -> None:
    export = target.export(description="Bookings")
    project = target.gitlab.project("acme/bookings")
    assert refs(project.directory) == {"refs/heads/main": target.exports.commit}
    assert (project.description, project.visibility, project.name) == ("Bookings", "private", "bookings")
    assert target.asked() == ["GET /namespaces/acme", "POST /projects", f"PUT /projects/{project.id}"]
    assert len(target.gitlab.git_requests) <= 6
    assert (export.status, export.url) == (ExportStatus.EXPORTED, f"{target.gitlab.url}/acme/bookings")
    assert (export.remote_id, export.remote_name) == (str(project.id), "acme/bookings")
    assert (export.created_remote, export.exported_commit) == (True, target.exports.commit)
    assert (export.connection, export.location) == ("test_host", target.gitlab.url)
    assert export.result["branch"] == "main"


def test_makes_a_project_in_the_tokens_own_namespace_with_three_requests(target: Target) -> None:
    export = target.exports.export("gitlab", connection=target.connect())
    assert export.remote_name == "robot/bookings"
    assert target.asked() == ["GET /user", "POST /projects", f"PUT /projects/{export.remote_id}"]


def test_the_nonce_stands_in_the_description_only_until_the_push(target: Target) -> None:
    target.export(description="x" * 2000)
    created, updated = [one.json for one in target.gitlab.requests if one.writes]
    assert len(created["description"]) == 2000
    assert created["description"].endswith(f" [{target.exports.only.nonce}]")
    assert updated["description"] == "x" * 2000


EVERYTHING: dict[str, Any] = {
    "repository": "Full.Service",
    "namespace": "acme/platform",
    "on_conflict": "suffix",
    "visibility": "internal",
    "description": "All of it",
    "topics": ["fastapi", "two words"],
    "default_branch": "trunk",
    "merge_method": "rebase_merge",
    "squash": "default_on",
    "remove_source_branch_after_merge": False,
    "only_allow_merge_if_pipeline_succeeds": True,
    "only_allow_merge_if_all_discussions_are_resolved": True,
    "ci": {
        "config_path": "ci/main.yml",
        "shared_runners": False,
        "group_runners": False,
        "default_git_depth": 5,
        "timeout_seconds": 900,
        "git_strategy": "clone",
        "auto_cancel_pending_pipelines": "disabled",
        "auto_devops": True,
        "auto_devops_deploy_strategy": "manual",
        "public_jobs": False,
    },
    "features": {
        "issues": "private",
        "wiki": "disabled",
        "snippets": "disabled",
        "merge_requests": "enabled",
        "packages": "private",
        "container_registry": "disabled",
        "ci": "private",
    },
    "protected_branches": [
        {"name": "trunk", "push": "no_one", "merge": "developer", "unprotect": "admin", "code_owner_approval": True},
        {"name": "release/*", "push": "admin", "allow_force_push": True},
    ],
    "members": [
        {"user": "ada", "role": "maintainer", "expires": "2030-01-31"},
        {"user": "grace", "role": "planner"},
        {"group": "readers", "role": "reporter", "expires": "2031-02-28"},
    ],
    "variables": [
        {"key": "REGION", "value": "eu"},
        {"key": "REGION", "value": "us", "environment_scope": "prod/*", "protected": True, "raw": True},
        {"key": "DATABASE", "secret": {"connection": "prod_db"}, "masked": True, "variable_type": "file"},
        {"key": "HOOK", "secret": {"connection": "hook"}, "hidden": True},
    ],
    "labels": [{"name": "tech debt", "color": "FF0000", "description": "To pay"}, {"name": "new"}],
    "webhooks": [
        {
            "url": "https://ci.example.com/hook",
            "events": ["tag_push", "releases"],
            "secret": {"connection": "hook"},
            "branch_filter": "release/*",
            "verify_certificate": False,
        }
    ],
    "codeowners": {"*": ["@acme/platform"], "/docs/": ["@ada"]},
}


def test_sets_up_everything_that_the_options_ask_for(target: Target) -> None:
    assert set(EVERYTHING) == set(GitLabOptions.model_fields) - {"merge_request"}
    export = target.export(**EVERYTHING)
    found = target.gitlab.project("acme/platform/Full.Service")
    assert export.url == f"{target.gitlab.url}/acme/platform/Full.Service"
    assert (found.visibility, found.description, found.topics) == ("internal", "All of it", ["fastapi", "two words"])
    wanted = {
        "merge_method": "rebase_merge", "squash_option": "default_on", "remove_source_branch_after_merge": False,
        "only_allow_merge_if_pipeline_succeeds": True, "only_allow_merge_if_all_discussions_are_resolved": True,
        "ci_config_path": "ci/main.yml", "shared_runners_enabled": False, "group_runners_enabled": False,
        "ci_default_git_depth": 5, "build_timeout": 900, "build_git_strategy": "clone",
        "auto_cancel_pending_pipelines": "disabled", "auto_devops_enabled": True,
        "auto_devops_deploy_strategy": "manual", "public_jobs": False, "issues_access_level": "private",
        "wiki_access_level": "disabled", "snippets_access_level": "disabled", "merge_requests_access_level": "enabled",
        "package_registry_access_level": "private", "container_registry_access_level": "disabled",
        "builds_access_level": "private",
    }  # fmt: skip
    assert {key: found.settings.get(key) for key in wanted} == wanted
    assert found.members == {
        "ada": {"access_level": 40, "expires_at": "2030-01-31"},
        "grace": {"access_level": 15, "expires_at": None},
    }
    (shared,) = found.groups.values()
    assert (shared["group_access"], shared["expires_at"]) == (20, "2031-02-28")
    shown = {
        key: (one["value"], one["masked"], one["hidden"], one["protected"], one["raw"], one["variable_type"])
        for key, one in found.variables.items()
    }
    assert shown == {
        ("REGION", "*"): ("eu", False, False, False, False, "env_var"),
        ("REGION", "prod/*"): ("us", False, False, True, True, "env_var"),
        ("DATABASE", "*"): ("s3cret-value-4c5d6e", True, False, False, False, "file"),
        ("HOOK", "*"): ("h00k-secret-7f8a9b", True, True, False, False, "env_var"),
    }
    assert found.labels["tech debt"]["color"] == "#ff0000"
    assert found.labels["tech debt"]["description"] == "To pay"
    (hook,) = found.hooks.values()
    assert (hook["url"], hook["token"]) == ("https://ci.example.com/hook", "h00k-secret-7f8a9b")
    events = {name for name, value in hook.items() if name.endswith("_events") and value}
    assert events == {"tag_push_events", "releases_events"}
    assert (hook["push_events_branch_filter"], hook["enable_ssl_verification"]) == ("release/*", False)
    trunk, release = found.protection["trunk"], found.protection["release/*"]
    assert (trunk["push"], trunk["merge"], trunk["unprotect"]) == ([0], [30], [60])
    assert (trunk["allow_force_push"], trunk["code_owner_approval_required"]) == (False, True)
    assert (release["push"], release["merge"], release["allow_force_push"]) == ([60], [40], True)
    assert found.default_branch == "trunk"
    tip = refs(found.directory)["refs/heads/trunk"]
    assert list_files(found.directory, tip)[".gitlab/CODEOWNERS"] == "* @acme/platform\n/docs/ @ada\n"
    assert run_git(found.directory, "rev-parse", f"{tip}^").strip() == target.exports.commit


def test_everything_takes_as_few_requests_as_it_can(target: Target) -> None:
    number = target.export(**EVERYTHING).remote_id
    below = f"/projects/{number}"
    assert [line.replace(below, "") for line in target.asked()] == [
        "GET /namespaces/acme%2Fplatform",
        "POST /projects",
        "PUT ",  # description
        "PUT ",  # default branch: it isn't main
        "POST /labels",
        "POST /labels",
        "POST /members",
        "POST /members",
        "GET /groups/readers",
        "POST /share",
        "POST /variables",
        "POST /variables",
        "POST /variables",
        "POST /variables",
        "GET /hooks",
        "POST /hooks",
        "GET /protected_branches/trunk",  # GitLab's own protection
        "DELETE /protected_branches/trunk",
        "POST /protected_branches",
        "GET /protected_branches/release%2F%2A",
        "POST /protected_branches",
    ]


def test_a_gitlab_below_a_path_is_spoken_to_there(exports: Exports, tmp_path: Path) -> None:
    (tmp_path / "hosted").mkdir()
    with serve_gitlab(tmp_path / "hosted", prefix="/git/lab") as peer:
        target = Target(exports, peer)
        export = target.export()
        assert refs(peer.project("acme/bookings").directory) == {"refs/heads/main": target.exports.commit}
        assert export.url == f"{peer.url}/acme/bookings"
        assert peer.flaws == []


def test_an_oauth_token_is_sent_as_a_bearers(target: Target) -> None:
    connection = target.connect(token=target.gitlab.oauth_token, is_oauth=True)
    assert target.export(connection=connection).status is ExportStatus.EXPORTED
    assert {one.authorization for one in target.gitlab.requests} == {f"Bearer {target.gitlab.oauth_token}"}


def test_git_goes_where_the_connection_says_whatever_gitlab_answers(target: Target) -> None:
    export = target.export()  # the peer's answers name http://internal.invalid
    assert export.url == f"{target.gitlab.url}/acme/bookings"
    assert refs(target.gitlab.project("acme/bookings").directory) == {"refs/heads/main": target.exports.commit}


@pytest.mark.parametrize("unseen", [0, 2])
def test_a_default_branch_is_set_once_gitlab_knows_of_it(target: Target, unseen: int) -> None:
    target.gitlab.unseen_branches = unseen
    target.export(default_branch="trunk")
    assert target.gitlab.project("acme/bookings").default_branch == "trunk"
    assert len(target.written()) == 3 + unseen


def test_a_branch_that_gitlab_never_sees_is_tried_again_later(target: Target) -> None:
    target.exports.settings = replace(target.exports.settings, export_max_wait_seconds=1)
    target.gitlab.unseen_branches = 99
    with pytest.raises(HostUnavailableError, match="does not make 'trunk' the default branch of acme/bookings yet"):
        target.export(default_branch="trunk")
    target.gitlab.unseen_branches = 0
    assert target.export(default_branch="trunk").status is ExportStatus.EXPORTED


# Found done


def test_a_second_export_finds_the_first_ones_work_and_writes_nothing(target: Target) -> None:
    first = target.export(**EVERYTHING)
    target.gitlab.requests.clear()
    second = target.export(**EVERYTHING)
    assert (second.id, second.status) == (first.id, ExportStatus.EXPORTED)
    assert target.asked() == [f"GET /projects/{first.remote_id}"]
    assert len(target.gitlab.projects) == 1


def test_settings_whose_record_was_lost_are_found_and_made_so(target: Target, connection: Any) -> None:
    target.export(**EVERYTHING)
    found = target.gitlab.project("acme/platform/Full.Service")
    before = json.dumps([found.members, found.groups, found.labels, list(found.hooks.values())], sort_keys=True)
    protection = {name: one | {"id": 0} for name, one in found.protection.items()}
    variables = deepcopy(found.variables)
    found.labels["new"]["color"] = "#000000"
    found.members["ada"]["access_level"] = 10
    found.variables["REGION", "*"]["value"] = "somewhere else"
    next(iter(found.groups.values()))["group_access"] = 10
    found.protection["trunk"]["allow_force_push"] = True
    found.protection["release/*"]["push"] = [30]
    connection.execute("UPDATE repository_export SET steps_done = '{}'")
    target.export(**EVERYTHING)
    assert json.dumps([found.members, found.groups, found.labels, list(found.hooks.values())], sort_keys=True) == before
    assert {name: one | {"id": 0} for name, one in found.protection.items()} == protection
    assert found.variables == variables


def test_protection_that_is_as_wanted_is_left_alone(target: Target, connection: Any) -> None:
    target.export(protected_branches=[{"name": "main"}])
    assert [line for line in target.asked() if "protected" in line] == [
        f"GET /projects/{target.exports.only.remote_id}/protected_branches/main"
    ]


def test_protection_that_comes_from_gitlab_in_between_is_replaced(target: Target) -> None:
    target.gitlab.protects_default_branch = False

    def protect(when: str, method: str, path: str) -> None:
        if (when, method) == ("before", "POST") and path.endswith("/protected_branches"):
            target.gitlab.on_request = None
            target.gitlab.protects_default_branch = True
            target.gitlab.note_first_push(target.gitlab.project("acme/bookings"))

    target.gitlab.on_request = protect
    target.export(protected_branches=[{"name": "main", "push": "no_one"}])
    assert target.gitlab.project("acme/bookings").protection["main"]["push"] == [0]


def test_without_premium_code_owners_are_not_asked_and_that_is_told(target: Target) -> None:
    target.gitlab.is_premium = False
    target.export(protected_branches=[{"name": "main", "push": "no_one", "unprotect": "admin"}])
    for branch in ("main", "release/*"):  # protected by GitLab, and not
        with pytest.raises(ExportRejectedError, match="needs GitLab Premium; accepted is code_owner_approval: false"):
            target.export(
                repository=f"other-{branch[0]}", protected_branches=[{"name": branch, "code_owner_approval": True}]
            )


FAULTS = ["502 after", "502 before", "reset after", "hang after"]
PATHS = [
    ("GET", "^/namespaces/"),
    ("POST", "^/projects$"),
    ("PUT", r"^/projects/\d+$"),
    ("POST", "/labels$"),
    ("POST", "/members$"),
    ("POST", "/share$"),
    ("POST", "/variables$"),
    ("POST", "/hooks$"),
    ("POST", "/protected_branches$"),
    ("DELETE", "/protected_branches/main$"),
    ("POST", "git-receive-pack$"),
    ("GET", "info/refs$"),
]


@pytest.mark.parametrize(("step", "fault"), pair(PATHS, FAULTS))
def test_a_lost_or_late_answer_makes_nothing_twice(target: Target, step: tuple[str, str], fault: str) -> None:
    method, path = step
    target.exports.settings = replace(target.exports.settings, export_timeout_seconds=1)
    target.gitlab.hang_seconds = 1.2
    target.gitlab.fail(method, path, fault)
    options: dict[str, Any] = {
        "labels": [{"name": "debt"}],
        "members": [{"user": "ada"}, {"group": "readers"}],
        "variables": [{"key": "REGION", "value": "eu"}],
        "webhooks": [{"url": "https://ci.example.com/hook"}],
        "protected_branches": [{"name": "main", "push": "no_one"}],
    }
    for _ in range(3):  # as Airflow does
        try:
            export = target.export(**options)
            break
        except HostUnavailableError:
            continue
    (project,) = target.gitlab.projects
    assert (export.status, export.error) == (ExportStatus.EXPORTED, None)
    assert refs(project.directory) == {"refs/heads/main": target.exports.commit}
    assert (project.full_path, project.description) == ("acme/bookings", "")
    assert (list(project.members), len(project.groups), list(project.labels)) == (["ada"], 1, ["debt"])
    assert (len(project.hooks), list(project.variables)) == (1, [("REGION", "*")])
    assert project.protection["main"]["push"] == [0]
    assert len(target.exports.recorded()) == 1


def test_a_project_whose_record_of_the_id_was_lost_is_known_by_its_nonce(target: Target, connection: Any) -> None:
    target.gitlab.fail("POST", "git-receive-pack", "reset before", times=9)
    with pytest.raises(HostUnavailableError):
        target.export()
    connection.execute("UPDATE repository_export SET remote_id = NULL, created_remote = false")
    target.gitlab.faults.clear()
    assert target.export().created_remote
    assert len(target.gitlab.projects) == 1


# Not ours


@pytest.mark.parametrize("commits", [True, False])
def test_a_path_that_is_taken_is_a_conflict_that_touches_nothing(target: Target, *, commits: bool) -> None:
    theirs = target.gitlab.create_project("acme/bookings", commits=commits)
    before = refs(theirs.directory)
    with pytest.raises(ExportConflictError, match="acme/bookings exists and was not made by this export"):
        target.export(description="mine")
    assert (refs(theirs.directory), theirs.description) == (before, None)
    assert target.written() == ["POST /projects"]
    assert target.gitlab.git_requests == []
    assert target.exports.only.status is ExportStatus.FAILED


def test_a_title_that_is_taken_is_a_conflict_too(target: Target) -> None:
    theirs = target.gitlab.create_project("acme/old-bookings")
    theirs.name = "Bookings"
    with pytest.raises(ExportConflictError, match="another project in acme is titled 'bookings'"):
        target.export()
    assert target.written() == ["POST /projects"]


def test_suffix_takes_the_next_free_name_and_keeps_it(target: Target) -> None:
    for name in ("acme/bookings", "acme/bookings-2"):
        target.gitlab.create_project(name)
    target.gitlab.fail("POST", "git-receive-pack", "reset before", times=9)
    with pytest.raises(HostUnavailableError):
        target.export(on_conflict="suffix")
    target.gitlab.faults.clear()
    target.gitlab.delete("acme/bookings")  # the retry keeps to the name that the first try took
    export = target.export(on_conflict="suffix")
    assert export.remote_name == "acme/bookings-3"
    assert [one.full_path for one in target.gitlab.projects] == ["acme/bookings-2", "acme/bookings-3"]


def test_the_same_project_of_another_generated_project_is_not_ours(target: Target, records: ProjectRecords) -> None:
    target.export()
    other = Target(Exports(records, target.exports.settings), target.gitlab)
    other.exports.generate([make_file("other.txt")], step_id="more")
    with pytest.raises(ExportConflictError, match="exists and was not made by this export"):
        other.export()
    assert refs(target.gitlab.project("acme/bookings").directory) == {"refs/heads/main": target.exports.commit}


def test_a_further_commit_goes_on_top_of_what_this_project_has_pushed(target: Target) -> None:
    target.export()
    newer = target.exports.generate([make_file("more.txt")], step_id="more")
    export = target.export()
    assert refs(target.gitlab.project("acme/bookings").directory) == {"refs/heads/main": newer}
    assert (export.created_remote, len(target.gitlab.projects)) == (False, 1)


def test_a_commit_of_somebody_else_is_not_overwritten(target: Target) -> None:
    target.export()
    theirs = target.gitlab.push_foreign_commit("acme/bookings")
    target.exports.generate([make_file("more.txt")], step_id="more")
    with pytest.raises(ExportConflictError, match="refs that this export did not make, so nothing was pushed"):
        target.export()
    assert refs(target.gitlab.project("acme/bookings").directory) == {"refs/heads/main": theirs}


MEANWHILE = {
    "renamed": (lambda peer: peer.rename("acme/bookings", "renamed"), "was renamed or transferred to acme/renamed"),
    "transferred": (lambda peer: peer.transfer("acme/bookings", "elsewhere"), "is gone: deleted, transferred"),
    "moved": (lambda peer: peer.transfer("acme/bookings", "robot"), "renamed or transferred to robot/bookings"),
    "deleted": (lambda peer: peer.delete("acme/bookings"), "is gone: deleted, transferred"),
    "marked for deletion": (lambda peer: peer.mark_for_deletion("acme/bookings"), "is gone: deleted, transferred"),
    "archived": (lambda peer: peer.archive("acme/bookings"), "acme/bookings was archived"),
}


@pytest.mark.parametrize("what", list(MEANWHILE))
def test_a_project_that_has_changed_hands_meanwhile_gets_nothing(target: Target, what: str) -> None:
    change, message = MEANWHILE[what]
    target.gitlab.fail("POST", "git-receive-pack", "reset before", times=9)
    with pytest.raises(HostUnavailableError):
        target.export()
    target.gitlab.faults.clear()
    project = target.gitlab.project("acme/bookings")
    change(target.gitlab)
    if what == "renamed":  # and somebody takes the path
        target.gitlab.create_project("acme/bookings", commits=False)
    for _ in range(2):
        with pytest.raises(ExportConflictError, match=message):
            target.export()
    assert [refs(one.directory) for one in (project, *target.gitlab.projects) if refs(one.directory)] == []
    assert target.exports.only.status is ExportStatus.FAILED


@pytest.mark.parametrize("redirects", [True, False])
def test_the_old_path_of_a_project_is_not_taken_for_it(target: Target, *, redirects: bool, connection: Any) -> None:
    target.gitlab.redirects_moved = redirects
    target.gitlab.fail("POST", "git-receive-pack", "reset before", times=9)
    with pytest.raises(HostUnavailableError):
        target.export()
    connection.execute("UPDATE repository_export SET remote_id = NULL, created_remote = false")
    target.gitlab.faults.clear()
    moved = target.gitlab.project("acme/bookings")
    target.gitlab.rename(moved, "renamed")
    export = target.export()
    assert export.remote_id == str(target.gitlab.project("acme/bookings").id) != str(moved.id)
    assert refs(moved.directory) == {}


# Refused


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("namespace", {"namespace": "elsewhere"}, "there is no namespace 'elsewhere', or the connection may not see it"),
    ("role", {"namespace": "readers"}, "GitLab refuses to make readers/bookings: namespace: is not valid"),
    ("path", {"repository": "a--b"}, "GitLab refuses to make acme/a--b: path: must not start or end with a special"),
    ("member", {"members": [{"user": "nobody-here"}]}, "POST .*/members .* was refused: 404 404 User Not Found"),
    ("group", {"members": [{"group": "elsewhere"}]}, "GET /groups/elsewhere .* was refused: 404"),
    ("variable", {"variables": [{"key": "X", "value": "short", "masked": True}]}, "was refused: 400 value: is invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_what_gitlab_refuses_is_told_and_not_tried_again(target: Target, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportRejectedError, match=message):
        target.export(**options)
    assert target.exports.only.status is ExportStatus.FAILED
    assert len(target.written()) == len(set(target.written()))


def test_a_wrong_token_is_refused_and_stands_nowhere(target: Target) -> None:
    connection = target.connect(token="glpat-wr0ngT0ken1234567890")
    with pytest.raises(ExportRejectedError, match=r"401 Unauthorized\. Check the connection's credentials") as caught:
        target.export(connection=connection)
    assert "wr0ng" not in f"{caught.value}{caught.value.__cause__}{target.exports.only}{connection!r}"


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"visibilty": "public"}, r"there is no option 'visibilty'; accepted are \['ci', 'codeowners'"),
    ({"visibility": "secret"}, r"option 'visibility' is 'secret': Input should be 'private', 'internal' or 'public'"),
    ({"repository": "a b"}, r"option 'repository' is 'a b': String should match pattern"),
    ({"repository": ".."}, r"option 'repository' is '\.\.'"),
    ({"repository": "x.git"}, r"option 'repository' is 'x\.git'"),
    ({"namespace": "../x"}, r"option 'namespace' is '\.\./x'"),
    ({"topics": ["a,b"]}, r"option 'topics\.0' is 'a,b'"),
    ({"default_branch": "-x"}, "option 'default_branch' is '-x'"),
    ({"ci": {"timeout_seconds": 1}}, r"option 'ci\.timeout_seconds' is 1: Input should be greater than"),
    ({"variables": [{"key": "X"}]}, "accepted is one of value and secret"),
    ({"variables": [{"key": "X", "value": "a", "secret": {"connection": "b"}}]}, "accepted is one of value and secret"),
    ({"variables": [{"key": "X", "secret": "plain-text"}]}, r"option 'variables\.0\.secret' is 'plain-text'"),
    ({"members": [{"user": "a", "group": "b"}]}, "accepted is one of user and group"),
    ({"protected_branches": [{"name": "main", "unprotect": "no_one"}]}, r"protected_branches\.0\.unprotect' is 'no_one'"),
    ({"merge_request": {}}, "a merge_request needs repository"),
    ({"repository": "x", "merge_request": {}, "topics": ["a"]}, r"changes no project, so \['topics'\] cannot be set"),
    ({"repository": "x", "merge_request": {"target_path": "../up"}}, "'../up' has a part '..'"),
    ({"repository": "x", "merge_request": {"draft": True, "auto_merge": True}}, "accepted is one of draft and auto_merge"),
    ({"repository": "x", "merge_request": {"labels": ["a,b"]}}, r"labels \['a,b'\] have a comma"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_an_option_that_cannot_work_is_refused_before_anything_is_made(
    target: Target, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportTargetError, match=message):
        target.export(**options)
    assert (target.exports.recorded(), target.gitlab.requests) == ([], [])


def test_whoever_triggers_an_export_does_not_choose_what_runs_or_who_gets_in() -> None:
    assert {name.partition(".")[0] for name in GitLabExporter.author_options} <= set(GitLabOptions.model_fields)
    assert {"variables", "members", "webhooks", "protected_branches", "ci"} <= GitLabExporter.author_options


# Strange answers


def answer(status: int, body: bytes = b"", **headers: str) -> Any:
    def send(handler: Any) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return send


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "^/namespaces/"), ("POST", "^/projects$"), ("PUT", "^/projects/")]
)
def test_no_redirect_is_followed(target: Target, status: int, method: str, path: str) -> None:
    with serve_elsewhere(target) as elsewhere:
        target.gitlab.fail(method, path, answer(status, Location=f"{elsewhere.url}/api/v4/projects"))
        with pytest.raises(ExportRejectedError, match=r"redirects to 'http://127\.0\.0\.1:.*', which is not followed"):
            target.export()
        assert elsewhere.requests == []


def serve_elsewhere(target: Target) -> Any:
    return serve_gitlab(target.gitlab.root)


STRANGE = [
    ("GET", "^/namespaces/", answer(200, b"<html>Sign in</html>"), "answers with something else than JSON"),
    ("POST", "^/projects$", answer(201, b'{"id": 1}'), "describes a project in a way that GitLab does not"),
    ("POST", "^/projects$", answer(201, b'{"id": 1, "path_with_namespace": "../up"}'), "in a way that GitLab does not"),
    ("POST", "^/projects$", answer(400, rb'{"message": "\u001b[31mno\u0007"}'),
     r"refuses to make acme/bookings: \[31mno"),
    ("POST", "^/projects$", answer(413, b"\xff\xfe too large"), "was refused: 413 the answer is no JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "fault", "message"), STRANGE)
def test_an_answer_that_is_not_gitlabs_is_refused(
    target: Target, method: str, path: str, fault: Any, message: str
) -> None:
    target.gitlab.fail(method, path, fault)
    with pytest.raises(ExportRejectedError, match=message) as caught:
        target.export()
    assert str(caught.value).isprintable()


def test_a_creation_whose_answer_is_no_json_is_looked_for(target: Target) -> None:
    target.gitlab.fail("POST", "^/projects$", answer(201, b'{"id": 12, "path_wi'))
    with pytest.raises(HostUnavailableError, match="the answer is no JSON"):
        target.export()
    assert target.export().status is ExportStatus.EXPORTED
    assert len(target.gitlab.projects) == 1


def test_a_gitlab_that_is_away_is_tried_again(target: Target) -> None:
    connection = target.connect(url="http://127.0.0.1:9")
    with pytest.raises(HostUnavailableError, match=r"GET /namespaces/acme at http://127\.0\.0\.1:9 as 'test_gitlab'"):
        target.export(connection=connection)


# Limits


def refuse_until_reset(handler: Any) -> None:
    answer(429, b"", RateLimit_Reset=str(int(time.time()) + 2))(handler)


WAITS = {
    "Retry-After": answer(429, b"Retry later\n", Retry_After="1"),
    "RateLimit-Reset": refuse_until_reset,
    "both": "429",
}


@pytest.mark.parametrize("what", list(WAITS))
def test_a_limit_is_waited_for(target: Target, what: str) -> None:
    target.gitlab.fail("POST", "^/projects$", WAITS[what], seconds=1)
    assert target.export().status is ExportStatus.EXPORTED
    first, second = [one.at for one in target.gitlab.requests if one.path == "/projects"]
    assert 0.9 <= second - first < 4


def test_a_long_wait_is_left_to_the_caller_and_the_export_stays_under_way(target: Target) -> None:
    target.gitlab.fail("POST", "^/projects$", "429", seconds=60)
    with pytest.raises(HostWaitError) as caught:
        target.export()
    assert 50 < (caught.value.retry_after_seconds or 0) < 63
    assert target.exports.only.status is ExportStatus.EXPORTING
    with pytest.raises(HostWaitError):  # other tasks hear of it without asking
        target.export(repository="other")
    assert target.written() == ["POST /projects"]


# Roll-back


@pytest.mark.parametrize("at_once", [True, False])
def test_a_failed_run_takes_back_the_project_that_it_made(target: Target, *, at_once: bool) -> None:
    target.gitlab.deletes_at_once = at_once
    target.export(rollback=True)
    assert target.exports.roll_back(target.connect()) == []
    assert [one for one in target.gitlab.projects if not one.marked_for_deletion_on] == []
    found = target.exports.only
    assert (found.status, found.remote_id, found.url) == (ExportStatus.ROLLED_BACK, None, None)
    assert target.export(rollback=True).status is ExportStatus.EXPORTED  # the run is cleared and goes on
    assert refs(target.gitlab.project("acme/bookings").directory) == {"refs/heads/main": target.exports.commit}


def test_an_export_that_is_not_to_be_rolled_back_stays(target: Target) -> None:
    target.export()
    assert target.exports.roll_back(target.connect()) == []
    assert target.gitlab.project("acme/bookings").marked_for_deletion_on is None


@pytest.mark.parametrize("fault", ["502 after", "502 before", "reset after"])
@pytest.mark.parametrize(("method", "path"), [("DELETE", r"^/projects/\d+$"), ("POST", "/archive$")])
def test_a_lost_answer_takes_nothing_else_back(target: Target, fault: str, method: str, path: str) -> None:
    target.export(rollback=True)
    target.gitlab.fail(method, path, fault)
    assert target.exports.roll_back(target.connect()) == []
    assert target.gitlab.projects[0].marked_for_deletion_on is not None


def test_a_half_made_project_is_taken_back_too(target: Target) -> None:
    target.gitlab.fail("POST", "git-receive-pack", "403")
    with pytest.raises(ExportRejectedError):
        target.export(rollback=True)
    assert target.exports.roll_back(target.connect()) == []
    assert target.gitlab.projects[0].marked_for_deletion_on is not None


def test_a_project_whose_creation_was_in_doubt_is_taken_back_too(target: Target) -> None:
    target.gitlab.fail("POST", "^/projects$", "502 after")
    target.gitlab.fail("GET", "^/projects/acme%2Fbookings$", "502", times=9)
    with pytest.raises(HostUnavailableError):
        target.export(rollback=True)
    assert target.exports.only.remote_id is None
    target.gitlab.faults.clear()
    assert target.exports.roll_back(target.connect()) == []
    assert target.gitlab.projects[0].marked_for_deletion_on is not None


USED = {
    "pushed": (lambda peer: peer.push_foreign_commit("acme/bookings"), "somebody has pushed to it since"),
    "branched": (lambda peer: peer.push_foreign_commit("acme/bookings", "dev"), "somebody has pushed to it since"),
    "renamed": (lambda peer: peer.rename("acme/bookings", "kept"), "it was renamed or transferred"),
    "issue": (lambda peer: setattr(peer.project("acme/bookings"), "open_issues", 2), "it has 2 open issues"),
    "fork": (lambda peer: setattr(peer.project("acme/bookings"), "forks", 1), "it has 1 forks"),
}


@pytest.mark.parametrize("what", list(USED))
def test_a_project_that_somebody_uses_is_left_and_named(target: Target, what: str) -> None:
    change, reason = USED[what]
    target.export(rollback=True)
    change(target.gitlab)
    (sentence,) = target.exports.roll_back(target.connect())
    assert reason in sentence
    (project,) = target.gitlab.projects
    assert (project.archived, project.marked_for_deletion_on) == (False, None)
    assert reason in str(target.exports.only.error)


def test_a_push_that_comes_while_it_is_rolled_back_is_kept(target: Target) -> None:
    target.export(rollback=True)

    def push(when: str, method: str, path: str) -> None:
        if path.endswith("/archive") and when == "before":
            target.gitlab.on_request = None
            target.gitlab.push_foreign_commit("acme/bookings")

    target.gitlab.on_request = push
    (sentence,) = target.exports.roll_back(target.connect())
    assert "somebody has pushed to it since" in sentence
    assert not target.gitlab.project("acme/bookings").archived


def test_somebody_elses_project_is_never_rolled_back(target: Target) -> None:
    target.gitlab.create_project("acme/bookings")
    with pytest.raises(ExportConflictError):
        target.export(rollback=True)
    assert target.exports.roll_back(target.connect()) == []
    assert target.gitlab.project("acme/bookings").marked_for_deletion_on is None


def test_a_connection_that_may_not_delete_leaves_the_project_and_says_so(target: Target) -> None:
    target.export(rollback=True)
    target.gitlab.fail("DELETE", r"^/projects/\d+$", answer(403, b'{"message": "403 Forbidden"}'))
    (sentence,) = target.exports.roll_back(target.connect())
    assert f"{target.gitlab.url}/acme/bookings is left behind: DELETE" in sentence


# Merge requests


def merge_request(target: Target, **options: Any) -> RepositoryExport:
    return target.export(repository="mono", merge_request=options)


@pytest.fixture
def mono(target: Target) -> Any:
    return target.gitlab.create_project("acme/mono")


def test_opens_a_merge_request_with_all_its_options(target: Target, mono: Any) -> None:
    target.gitlab.push_foreign_commit(mono, "develop", files={"dev.txt": "x\n"})
    export = merge_request(
        target, branch="new/bookings", base="develop", title="Bookings", body="Made *here*", reviewers=["grace", "ada"],
        assignees=["ada"], labels=["bug", "new one"], draft=True, squash=True, remove_source_branch=True,
        target_path="services/bookings/",
    )  # fmt: skip
    (one,) = mono.merge_requests.values()
    assert (one.title, one.description, one.source_branch, one.target_branch, one.is_draft) == (
        "Draft: Bookings", "Made *here*", "new/bookings", "develop", True)  # fmt: skip
    assert (one.reviewers, one.assignees, one.labels) == (["grace", "ada"], ["ada"], ["bug", "new one"])
    assert (one.squash, one.remove_source_branch, one.state) == (True, True, "opened")
    assert export.url == f"{target.gitlab.url}/acme/mono/-/merge_requests/{one.iid}"
    assert list_files(mono.directory, "new/bookings") == {
        "dev.txt": "x\n", "services/bookings/README.md": "# Hi\n", "services/bookings/bin/run": "#!/bin/sh\n",
    }  # fmt: skip
    assert run_git(mono.directory, "rev-parse", "new/bookings^") == run_git(mono.directory, "rev-parse", "develop")
    assert not list((target.exports.directory / "exports").iterdir())


def test_a_merge_request_takes_few_requests(target: Target, mono: Any) -> None:
    merge_request(target, labels=["bug"], draft=True)
    assert target.asked() == ["GET /projects/acme%2Fmono", f"POST /projects/{mono.id}/merge_requests"]


def test_a_second_export_of_a_request_writes_nothing(target: Target, mono: Any) -> None:
    merge_request(target, labels=["bug"], reviewers=["ada"], draft=True)
    target.gitlab.requests.clear()
    merge_request(target, labels=["bug"], reviewers=["ada"], draft=True)
    assert target.asked() == [f"GET /projects/{mono.id}", f"GET /projects/{mono.id}/merge_requests"]


def set_status(mono: Any, status: str) -> Any:
    """Let the project's merge requests have `status` from now on."""

    def change(when: str, method: str, path: str) -> None:
        for one in mono.merge_requests.values():
            one.status = status

    return change


@pytest.mark.parametrize("status", ["mergeable", "ci_still_running"])
def test_auto_merge_waits_for_what_gitlab_waits_for(target: Target, mono: Any, status: str) -> None:
    target.gitlab.looks_before_ready = 3
    target.gitlab.on_request = set_status(mono, status)
    export = merge_request(target, auto_merge=True, remove_source_branch=True)
    (one,) = mono.merge_requests.values()
    if status == "mergeable":
        assert one.state == "merged"
        assert refs(mono.directory) == {"refs/heads/main": export.exported_commit}
    else:
        assert (one.state, one.merges_when_pipeline_succeeds) == ("opened", True)
    asked = target.asked()
    assert asked.count(f"GET /projects/{mono.id}/merge_requests/1") == 4
    assert asked[-1] == f"PUT /projects/{mono.id}/merge_requests/1/merge"


def test_auto_merge_that_is_set_already_is_left_alone(target: Target, mono: Any, connection: Any) -> None:
    target.gitlab.on_request = set_status(mono, "ci_still_running")
    merge_request(target, auto_merge=True)
    connection.execute("UPDATE repository_export SET steps_done = '{push}'")
    target.gitlab.requests.clear()
    merge_request(target, auto_merge=True)
    assert target.written() == []


@pytest.mark.parametrize("fault", ["502 after", "reset after"])
def test_a_merge_whose_answer_is_lost_is_found_done(target: Target, mono: Any, fault: str) -> None:
    target.gitlab.fail("PUT", "/merge$", fault)
    assert merge_request(target, auto_merge=True).status is ExportStatus.EXPORTED
    assert mono.merge_requests[1].state == "merged"


def test_nothing_but_the_exported_commit_is_merged(target: Target, mono: Any) -> None:
    def push(when: str, method: str, path: str) -> None:
        if path.endswith("/merge") and when == "before":
            target.gitlab.on_request = None
            target.gitlab.push_foreign_commit(mono, "scaffolder/bookings")

    target.gitlab.on_request = push
    with pytest.raises(ExportRejectedError, match="GitLab does not merge .*: it is opened, mergeable"):
        merge_request(target, auto_merge=True)
    assert mono.merge_requests[1].state == "opened"


def test_a_request_that_may_not_be_merged_says_why(target: Target, mono: Any) -> None:
    target.gitlab.on_request = set_status(mono, "not_approved")
    with pytest.raises(ExportRejectedError, match="it is opened, not_approved. Check what the project asks"):
        merge_request(target, auto_merge=True)


def test_a_request_that_gitlab_does_not_get_to_is_tried_again_later(target: Target, mono: Any) -> None:
    target.exports.settings = replace(target.exports.settings, export_max_wait_seconds=1)
    target.gitlab.looks_before_ready = 99
    with pytest.raises(HostUnavailableError, match="has not looked at the merge request"):
        merge_request(target, auto_merge=True)
    mono.merge_requests[1].looks_left = 0
    assert merge_request(target, auto_merge=True).status is ExportStatus.EXPORTED
    assert [one.state for one in mono.merge_requests.values()] == ["merged"]


def test_nothing_is_opened_where_nothing_changes(target: Target, mono: Any) -> None:
    target.gitlab.push_foreign_commit(mono, files={"README.md": "# Hi\n"})
    target.exports.generate([make_file("README.md", "# Hi\n")])
    export = merge_request(target)
    assert (export.status, export.result["changed"]) == (ExportStatus.EXPORTED, False)
    assert (mono.merge_requests, list(mono.branches), target.written()) == ({}, ["main"], [])


def test_an_open_request_is_updated_and_what_reviewers_added_stays(
    target: Target, mono: Any, records: ProjectRecords
) -> None:
    first = merge_request(target, target_path="x", branch="gen", draft=True, labels=["a"], reviewers=["ada"])
    target.gitlab.push_foreign_commit(mono, "gen", files={"review.txt": "ok\n"})
    mono.merge_requests[1].labels.append("by hand")
    other = Target(Exports(records, target.exports.settings), target.gitlab)  # a later run of the same project
    other.exports.generate([make_file("new.txt", "new\n")], step_id="more")
    second = merge_request(
        other, target_path="x", branch="gen", title="Newer", body="b", labels=["a", "c"], reviewers=["grace"],
        squash=True,
    )  # fmt: skip
    (one,) = mono.merge_requests.values()
    assert (second.url, one.title, one.description, one.squash) == (first.url, "Newer", "b", True)
    assert (one.labels, one.reviewers) == (["a", "by hand", "c"], ["ada", "grace"])
    assert {"review.txt", "x/new.txt"} <= set(list_files(mono.directory, "gen"))


def test_a_request_that_was_merged_is_followed_by_a_new_one(target: Target, mono: Any, records: ProjectRecords) -> None:
    merge_request(target, target_path="x", branch="gen")
    run_git(mono.directory, "update-ref", "refs/heads/main", mono.branches["gen"])
    mono.merge_requests[1].state = "merged"
    other = Target(Exports(records, target.exports.settings), target.gitlab)
    other.exports.generate([make_file("new.txt", "new\n")], step_id="more")
    merge_request(other, target_path="x", branch="gen")
    assert [one.state for one in mono.merge_requests.values()] == ["merged", "opened"]


def test_a_branch_of_somebody_else_is_not_touched(target: Target, mono: Any) -> None:
    theirs = target.gitlab.push_foreign_commit(mono, "scaffolder/bookings")
    with pytest.raises(ExportConflictError, match="has a branch 'scaffolder/bookings' that no export of this project"):
        merge_request(target)
    assert (mono.branches["scaffolder/bookings"], mono.merge_requests) == (theirs, {})


def test_a_forks_request_from_a_branch_of_the_same_name_is_not_ours(target: Target, mono: Any) -> None:
    target.gitlab.fail("POST", "/merge_requests$", "502 before", times=9)
    with pytest.raises(HostUnavailableError):
        merge_request(target)
    target.gitlab.faults.clear()
    target.gitlab.open_merge_request(mono, source="scaffolder/bookings", fork=True)
    export = merge_request(target)
    assert str(export.url).endswith("/-/merge_requests/2")
    assert mono.merge_requests[1].title == "Theirs"


@pytest.mark.parametrize(("path", "fault"), pair(["git-receive-pack$", "/merge_requests$"], FAULTS))
def test_a_lost_answer_opens_no_second_request(target: Target, mono: Any, fault: str, path: str) -> None:
    target.gitlab.hang_seconds = 2.5
    target.gitlab.fail("POST", path, fault)
    for _ in range(3):
        try:
            export = merge_request(target, labels=["bug"], reviewers=["grace"])
            break
        except HostUnavailableError:
            continue
    (one,) = mono.merge_requests.values()
    assert (export.url, one.labels, one.reviewers) == (
        f"{target.gitlab.url}/acme/mono/-/merge_requests/{one.iid}", ["bug"], ["grace"])  # fmt: skip
    assert len(run_git(mono.directory, "rev-list", "main..scaffolder/bookings").split()) == 1


def test_a_reviewer_who_is_not_there_is_named(target: Target, mono: Any) -> None:
    with pytest.raises(ExportRejectedError, match="there is no user 'nobody' at GitLab"):
        merge_request(target, reviewers=["nobody"])


GONE = {
    "missing": (lambda peer: peer.delete("acme/mono"), "there is no repository acme/mono"),
    "renamed": (lambda peer: peer.rename("acme/mono", "other"), "there is no repository acme/mono"),
    "archived": (lambda peer: peer.archive("acme/mono"), "acme/mono is archived"),
    "empty": (lambda peer: run_git(peer.project("acme/mono").directory, "update-ref", "-d", "refs/heads/main"), "has no branch 'main'"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(GONE))
def test_a_request_into_a_project_that_cannot_take_it_is_refused(target: Target, mono: Any, what: str) -> None:
    change, message = GONE[what]
    change(target.gitlab)
    with pytest.raises(ExportConflictError, match=message):
        merge_request(target)
    assert target.written() == []


def test_a_rolled_back_run_names_the_request_that_it_leaves(target: Target, mono: Any) -> None:
    export = target.export(repository="mono", merge_request={}, rollback=True)
    (sentence,) = target.exports.roll_back(target.connect())
    assert str(export.url) in sentence
    assert mono.merge_requests[1].state == "opened"


# Secrets


def test_no_token_and_no_secret_value_stays_anywhere(
    target: Target, tmp_path: Path, connection: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    options: dict[str, Any] = {
        "variables": [{"key": "DATABASE", "secret": {"connection": "prod_db"}, "masked": True}],
        "webhooks": [{"url": "https://ci.example.com/hook", "secret": {"connection": "hook"}}],
    }
    told = ""
    for method, path, fault in (
        ("POST", "git-receive-pack", repeat_password),
        ("POST", "/variables$", repeat_body),
        ("POST", "/hooks$", repeat_body),
        ("GET", r"^/projects/\d+$", repeat_token),
    ):
        target.gitlab.fail(method, path, fault)
        with pytest.raises(ScaffolderError) as caught:
            target.export(**options)
        told += f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}{target.exports.only}"
    target.export(**options)
    dump = told + "".join(str(row) for row in connection.execute("SELECT e::text FROM repository_export e").fetchall())
    dump += "".join(str(row) for row in connection.execute("SELECT e::text FROM event e").fetchall())
    dump += caplog.text + "".join(capfd.readouterr()) + repr(vars(target.connect()).keys())
    assert "***" in told
    for secret in (target.gitlab.token, "s3cret-value-4c5d6e", "h00k-secret-7f8a9b"):
        assert secret not in dump
        found = subprocess.run(["grep", "-rlaF", secret, str(tmp_path)], check=False, capture_output=True)
        assert found.returncode == 1, found.stdout


def repeat_password(handler: Any) -> None:
    """Answer 403 with what the client sent to prove who it is, as a careless proxy may."""
    password = base64.b64decode(handler.headers["Authorization"].split()[1]).decode()
    answer(403, f"denied: {password}\n".encode(), Content_Type="text/plain")(handler)


def repeat_token(handler: Any) -> None:
    answer(403, json.dumps({"message": f"denied: {handler.headers['PRIVATE-TOKEN']}"}).encode())(handler)


def repeat_body(handler: Any) -> None:
    body = handler.peer.requests[-1].content.decode()
    answer(400, json.dumps({"message": {"value": [f"{body} is invalid"]}}).encode())(handler)


# Connections


def test_the_hook_reads_a_connection(monkeypatch: pytest.MonkeyPatch, gitlab: GitlabPeer) -> None:
    fields: dict[str, Any] = {"conn_type": "gitlab", "host": f"{gitlab.url}/", "password": gitlab.token}
    monkeypatch.setenv("AIRFLOW_CONN_LAB", json.dumps(fields))
    found = GitLabHook("lab").get_conn()
    assert (found.location, found.account) == (gitlab.url, f"{gitlab.url} as 'lab'")
    assert GitLabHook("lab").test_connection() == (True, f"{gitlab.url} knows the token as 'robot'")
    assert GitLabExporter().connect("lab").location == gitlab.url
    remote = found.get_git_remote()
    assert (remote.username, remote.password) == ("oauth2", gitlab.token)
    monkeypatch.setenv("AIRFLOW_CONN_LAB", json.dumps(fields | {"password": "wrong-token"}))
    assert GitLabHook("lab").test_connection() == (False, f"{gitlab.url}: 401 401 Unauthorized")


def test_an_authority_of_the_connections_own_is_what_the_api_and_git_trust(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority("ours")
    context = authority.issue("127.0.0.1").make_server_context(tmp_path)
    (tmp_path / "ca.pem").write_text(authority.certificate)
    (tmp_path / "hosted").mkdir()
    with serve_gitlab(tmp_path / "hosted", tls=context) as peer:
        target = Target(exports, peer)
        for given in (authority.certificate, str(tmp_path / "ca.pem")):
            fields = {"conn_type": "gitlab", "host": peer.url, "password": peer.oauth_token}
            extra = {"ca_certificate": given, "auth": "oauth"}
            monkeypatch.setenv("AIRFLOW_CONN_LAB", json.dumps(fields | {"extra": extra}))
            assert target.export(connection=GitLabHook("lab").get_conn()).status is ExportStatus.EXPORTED
        for untrusted in (None, Authority("other").certificate):
            with pytest.raises(ExportRejectedError, match="the certificate of https://127.* is not trusted"):
                target.export(repository="x", connection=target.connect(ca_certificate=untrusted))
    assert len(peer.projects) == 1


def test_a_connection_without_a_host_is_gitlab_com(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAB", json.dumps({"conn_type": "gitlab", "password": "t"}))
    assert GitLabHook("lab").get_conn().location == "https://gitlab.com"


HOOKS: list[tuple[dict[str, Any], str]] = [
    ({"conn_type": "github"}, "connection 'lab' is of type 'github'; accepted is 'gitlab'"),
    ({"password": ""}, "connection 'lab' has no password; accepted is a token of GitLab's"),
    ({"host": "ssh://git@x"}, "connection 'lab' has the host '.*'; accepted is a URL such as"),
    ({"host": "https://ada:s3cret@x.example"}, "has credentials in its host; the token belongs in password"),
    ({"extra": {"auth": "s3cret"}}, r"has an auth that is none; accepted are \['private', 'oauth'\]"),
    ({"extra": {"tokentype": "s3cret"}}, r"has the extras \['tokentype'\]; accepted are \['auth', 'ca_cert"),
    ({"extra": {"ca_certificate": 7}}, r"has the extras \['ca_certificate'\] that are no text"),
    ({"extra": {"ca_certificate": "s3cret"}}, "has a ca_certificate that is no certificate"),
    ({"extra": {"ca_certificate": "/nowhere.pem"}}, "has a ca_certificate that is '/nowhere.pem'"),
    ({"extra": '["s3cret"]'}, "has an extra that is no JSON object"),
]


@pytest.mark.parametrize(("fields", "message"), HOOKS)
def test_a_connection_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], message: str
) -> None:
    given = {"conn_type": "gitlab", "password": "t0ken-s3cret"} | fields
    monkeypatch.setenv("AIRFLOW_CONN_LAB", json.dumps(given))
    with pytest.raises(ExportTargetError, match=message) as caught:
        GitLabHook("lab").get_conn()
    assert "s3cret" not in str(caught.value)


def test_a_connection_that_is_not_there_is_named() -> None:
    with pytest.raises(ExportTargetError, match="there is no connection 'nobody'; accepted is one of type 'gitlab'"):
        GitLabHook("nobody").get_conn()


def test_the_form_has_what_the_hook_reads() -> None:
    (entry,) = [one for one in get_provider_info()["connection-types"] if one["connection-type"] == "gitlab"]
    assert entry["hook-class-name"] == f"{GitLabHook.__module__}.{GitLabHook.__name__}"
    assert list(entry["conn-fields"]) == ["auth", "ca_certificate"]
