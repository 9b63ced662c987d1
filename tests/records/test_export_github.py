"""Exports to GitHub with real records, against a GitHub of the tests' own with real git behind it."""

from __future__ import annotations

import copy
import itertools
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from scaffolder.config import Settings
from scaffolder.errors import (
    ExportConflictError,
    ExportRejectedError,
    ExportTargetError,
    HostUnavailableError,
    HostWaitError,
    ScaffolderError,
    UnsafePathError,
)
from scaffolder.exports.github.transport import GitHubConnection
from scaffolder.records.models import ExportStatus, RepositoryExport
from scaffolder.records.store import ProjectRecords
from tests.exports import Exports, list_files, refs, run_git
from tests.factories import make_file
from tests.github_peer import GithubPeer, serve_github
from tests.profile import pair


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GithubPeer]:
    with serve_github(tmp_path_factory.mktemp("github")) as peer:
        yield peer


@pytest.fixture
def github(served: GithubPeer) -> Iterator[GithubPeer]:
    served.repositories.clear()
    served.redirects.clear()
    served.faults.clear()
    served.requests.clear()
    served.git_requests.clear()
    served.write_times.clear()
    served.flaws.clear()
    served.limits = None
    served.on_request = None
    yield served
    assert served.flaws == []


@pytest.fixture
def exports(records: ProjectRecords, settings: Settings) -> Exports:
    settings = replace(
        settings, export_timeout_seconds=1, github_write_interval_seconds=0, export_tries=3, export_max_wait_seconds=5
    )
    return Exports(records, settings)


class Target:
    """The exports of one generated project to one GitHub."""

    def __init__(self, exports: Exports, github: GithubPeer) -> None:
        self.exports = exports
        self.github = github

    def connect(self, *, token: str | None = None) -> GitHubConnection:
        from github import Auth, Github

        client = Github(auth=Auth.Token(token or self.github.token), base_url=self.github.api_url)
        return GitHubConnection(client, conn_id="test_github", settings=self.exports.settings)

    def export(self, **options: Any) -> RepositoryExport:
        rollback = options.pop("rollback", False)
        identity = options.pop("identity", None)
        given = {"owner": "acme"} | options
        return self.exports.export("github", connection=self.connect(), rollback=rollback, identity=identity, **given)

    def asked(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.github.requests]

    def written(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.github.requests if one.writes]


@pytest.fixture
def target(exports: Exports, github: GithubPeer) -> Target:
    return Target(exports, github)


# What is made


def test_makes_a_repository_and_pushes_the_commit_with_two_requests(target: Target) -> None:
    export = target.export(description="Bookings")
    repository = target.github.repository("acme/bookings")
    assert refs(repository.directory) == {"refs/heads/main": target.exports.commit}
    assert (repository.description, repository.visibility) == ("Bookings", "private")
    assert target.asked() == ["POST /orgs/acme/repos", "PATCH /repos/acme/bookings"]
    assert len(target.github.git_requests) <= 6
    assert (export.status, export.url) == (ExportStatus.EXPORTED, f"{target.github.url}/acme/bookings")
    assert (export.remote_id, export.remote_name) == (str(repository.id), "acme/bookings")
    assert (export.created_remote, export.exported_commit) == (True, target.exports.commit)
    assert (export.connection, export.location) == ("test_host", target.github.api_url)
    assert export.result["branch"] == "main"


def test_sets_up_everything_that_the_options_ask_for(target: Target) -> None:
    target.github.accounts["acme"].members.add("grace")
    target.export(
        repository="Full.Service",
        visibility="public",
        description="All of it",
        homepage="https://example.com/docs",
        topics=["fastapi", "bookings"],
        default_branch="trunk",
        features={"issues": True, "wiki": False, "projects": False},
        is_template=True,
        merge={"merge_commit": False, "squash": True, "rebase": False, "auto_merge": True, "update_branch": True,
               "squash_title": "PR_TITLE", "squash_message": "PR_BODY"},
        delete_branch_on_merge=True,
        collaborators=[{"user": "grace", "role": "maintain"}, {"team": "platform", "role": "admin"}],
        branch_protection={"required_approvals": 2, "require_code_owner_reviews": True, "status_checks": ["test"],
                           "strict_status_checks": True, "enforce_admins": True, "linear_history": True,
                           "restrictions": {"users": ["ada"], "teams": ["platform"]}},
        rulesets=[{"name": "main", "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
                   "rules": [{"type": "deletion"}, {"type": "non_fast_forward"}]}],
        custom_properties={"team": "payments", "tier": "gold"},
        variables={"REGION": "eu"},
        secrets={"DATABASE": {"connection": "prod_db"}},
        environments=[{"name": "production/eu", "wait_minutes": 5, "reviewers": [{"user": "ada"}, {"team": "platform"}],
                       "protected_branches_only": True, "variables": {"URL": "https://x"},
                       "secrets": {"KEY": {"connection": "hook"}}}],
        labels=[{"name": "bug", "color": "FF0000"}, {"name": "tech debt", "description": "To pay"}],
        webhooks=[{"url": "https://ci.example.com/hook", "events": ["push", "release"],
                   "secret": {"connection": "hook"}}],
        codeowners={"*": ["@acme/platform"], "/docs/": ["@ada"]},
    )  # fmt: skip
    found = target.github.repository("acme/Full.Service")
    assert found.settings["homepage"] == "https://example.com/docs"
    assert (found.visibility, found.description, found.default_branch) == ("public", "All of it", "trunk")
    assert found.topics == ["fastapi", "bookings"]
    wanted = {"has_issues": True, "has_wiki": False, "has_projects": False, "is_template": True,
              "allow_merge_commit": False, "allow_squash_merge": True, "allow_rebase_merge": False,
              "allow_auto_merge": True, "allow_update_branch": True, "squash_merge_commit_title": "PR_TITLE",
              "squash_merge_commit_message": "PR_BODY", "delete_branch_on_merge": True}  # fmt: skip
    assert {key: found.settings[key] for key in wanted} == wanted
    assert found.collaborators | {key: role for key, (_, role) in found.invitations.items()} == {"grace": "maintain"}
    assert found.teams == {"platform": "admin"}
    assert list(found.protection) == ["trunk"]
    assert [one["name"] for one in found.rulesets.values()] == ["main"]
    assert found.properties == {"team": "payments", "tier": "gold"}
    assert found.variables == {"REGION": "eu"}
    assert found.open_secret("DATABASE") == "s3cret-value-4c5d6e"
    environment = found.environments["production/eu"]
    assert environment.variables == {"URL": "https://x"}
    assert environment.open_secret("KEY") == "h00k-secret-7f8a9b"
    assert found.labels["bug"]["color"] == "ff0000"
    assert found.labels["tech debt"]["description"] == "To pay"
    (hook,) = found.hooks.values()
    assert hook["config"]["url"] == "https://ci.example.com/hook"
    tip = refs(found.directory)["refs/heads/trunk"]
    assert list_files(found.directory, tip)[".github/CODEOWNERS"] == "* @acme/platform\n/docs/ @ada\n"
    assert run_git(found.directory, "rev-parse", f"{tip}^").strip() == target.exports.commit


def test_makes_a_repository_for_the_tokens_own_user(target: Target) -> None:
    export = target.exports.export("github", connection=target.connect())
    assert export.remote_name == "robot/bookings"
    assert target.asked() == ["GET /user", "POST /user/repos", "PATCH /repos/robot/bookings"]
    named = target.exports.export("github", connection=target.connect(), owner="robot", repository="named")
    assert named.remote_name == "robot/named"


def test_a_github_app_makes_a_repository_in_its_organisation(target: Target) -> None:
    from github import Auth, Github

    peer = target.github
    auth = Auth.AppAuth(peer.app_id, peer.app_private_key).get_installation_auth(peer.installation_id)
    client = Github(auth=auth, base_url=peer.api_url)
    connection = GitHubConnection(client, conn_id="app", settings=target.exports.settings)
    export = target.exports.export("github", connection=connection, owner="acme")
    assert refs(peer.repository("acme/bookings").directory) == {"refs/heads/main": target.exports.commit}
    assert export.status is ExportStatus.EXPORTED


# Found done


def test_a_second_export_finds_the_first_ones_work_and_writes_nothing(target: Target) -> None:
    first = target.export(topics=["a"])
    target.github.requests.clear()
    second = target.export(topics=["a"])
    assert (second.id, second.status) == (first.id, ExportStatus.EXPORTED)
    assert target.written() == []
    assert len(target.github.repositories) == 1


def test_another_run_of_the_same_export_shares_its_record(target: Target) -> None:
    first = target.export()
    again = target.export(rollback=True)
    assert (again.id, len(target.exports.recorded())) == (first.id, 1)


FAULTS = ["502 after", "502 before", "reset after", "reset before", "hang after", "hang before", "slow"]
STEPS = [("POST", r"^/orgs/acme/repos$"), ("PATCH", "^/repos/acme/bookings$"), ("PUT", "/topics$"), ("POST", "/labels$"),
         ("POST", "/hooks$"), ("POST", "git-receive-pack$"), ("GET", "info/refs$")]  # fmt: skip


@pytest.mark.parametrize(("step", "fault"), pair(STEPS, FAULTS))
def test_a_lost_or_late_answer_makes_nothing_twice(target: Target, step: tuple[str, str], fault: str) -> None:
    target.github.hang_seconds = 1.5
    target.github.fail(*step, fault)
    options: dict[str, Any] = {
        "topics": ["a"],
        "labels": [{"name": "debt"}],
        "webhooks": [{"url": "https://ci.example.com/hook"}],
    }
    for _ in range(3):  # as Airflow does
        try:
            export = target.export(**options)
            break
        except HostUnavailableError:
            continue
    (repository,) = target.github.repositories
    assert (export.status, export.error) == (ExportStatus.EXPORTED, None)
    assert refs(repository.directory) == {"refs/heads/main": target.exports.commit}
    assert (repository.full_name, repository.description, repository.topics) == ("acme/bookings", "", ["a"])
    assert len(repository.hooks) == 1
    assert len(target.exports.recorded()) == 1


def test_a_repository_whose_record_of_the_id_was_lost_is_known_by_its_nonce(target: Target, connection: Any) -> None:
    target.github.fail("POST", "git-receive-pack", "reset before", times=9)
    with pytest.raises(HostUnavailableError):
        target.export()
    connection.execute("UPDATE repository_export SET remote_id = NULL, created_remote = false")
    target.github.faults.clear()
    assert target.export().created_remote
    assert len(target.github.repositories) == 1


@pytest.mark.parametrize(("path", "options"), [
    ("/labels$", {"labels": [{"name": "debt"}]}),
    ("/variables$", {"variables": {"REGION": "eu"}}),
    ("/hooks$", {"webhooks": [{"url": "https://ci.example.com/hook"}]}),
    ("/rulesets$", {"rulesets": [{"name": "main"}]}),
])  # fmt: skip
def test_a_host_that_never_makes_what_it_is_asked_for_is_asked_a_few_times(
    target: Target, path: str, options: dict[str, Any]
) -> None:
    target.github.fail("POST", path, "502", times=99)
    with pytest.raises(HostUnavailableError):
        target.export(**options)
    posts = [one for one in target.asked() if re.search(f"^POST .*{path}", one)]
    assert len(posts) == target.exports.settings.export_tries


@pytest.mark.parametrize("on_conflict", ["fail", "suffix"])
def test_two_tries_at_once_make_one_repository(
    target: Target, postgres: Any, records_database: str, on_conflict: str
) -> None:
    def overtake(when: str, method: str, path: str) -> None:
        if path == "/orgs/acme/repos" and when == "before":
            target.github.on_request = None
            with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
                other = Target(copy.copy(target.exports), target.github)
                other.exports.records = ProjectRecords(connection)
                other.export(on_conflict=on_conflict)

    target.github.on_request = overtake
    export = target.export(on_conflict=on_conflict)
    assert [one.full_name for one in target.github.repositories] == ["acme/bookings"]
    assert (export.status, export.remote_name, target.github.repositories[0].description) == (
        ExportStatus.EXPORTED, "acme/bookings", "")  # fmt: skip


def test_a_try_that_comes_too_late_does_not_undo_what_another_has_finished(target: Target) -> None:
    export = target.export()
    exports = target.exports.records.exports
    exports.mark_failed(export.id, error="told to stop")
    assert exports.get(export.id).status is ExportStatus.EXPORTED


# Not ours


@pytest.mark.parametrize("commits", [True, False])
def test_a_name_that_is_taken_is_a_conflict_that_touches_nothing(target: Target, *, commits: bool) -> None:
    theirs = target.github.create_repository("acme/bookings", commits=commits)
    before = refs(theirs.directory)
    with pytest.raises(ExportConflictError, match="acme/bookings exists and was not made by this export"):
        target.export(description="mine")
    assert (refs(theirs.directory), theirs.description) == (before, None)
    assert target.written() == ["POST /orgs/acme/repos"]
    assert target.github.git_requests == []
    assert target.exports.only.status is ExportStatus.FAILED


def test_suffix_takes_the_next_free_name_and_keeps_it(target: Target) -> None:
    for name in ("acme/bookings", "acme/bookings-2"):
        target.github.create_repository(name)
    target.github.fail("POST", "git-receive-pack", "reset before", times=9)
    with pytest.raises(HostUnavailableError):
        target.export(on_conflict="suffix")
    target.github.faults.clear()
    target.github.delete("acme/bookings")  # the retry keeps to the name that the first try took
    export = target.export(on_conflict="suffix")
    assert export.remote_name == "acme/bookings-3"
    assert [one.full_name for one in target.github.repositories] == ["acme/bookings-2", "acme/bookings-3"]


def test_the_same_repository_of_another_generated_project_is_not_ours(target: Target, records: ProjectRecords) -> None:
    target.export()
    other = Target(Exports(records, target.exports.settings), target.github)
    other.exports.generate([make_file("other.txt")], step_id="more")
    with pytest.raises(ExportConflictError, match="exists and was not made by this export"):
        other.export()
    assert refs(target.github.repository("acme/bookings").directory) == {"refs/heads/main": target.exports.commit}


def test_a_further_commit_goes_on_top_of_what_this_project_has_pushed(target: Target) -> None:
    target.export()
    newer = target.exports.generate([make_file("more.txt")], step_id="more")
    export = target.export()
    assert refs(target.github.repository("acme/bookings").directory) == {"refs/heads/main": newer}
    assert (export.created_remote, len(target.github.repositories)) == (False, 1)


def test_a_commit_of_somebody_else_is_not_overwritten(target: Target) -> None:
    target.export()
    theirs = target.github.push_foreign_commit("acme/bookings")
    target.exports.generate([make_file("more.txt")], step_id="more")
    with pytest.raises(ExportConflictError, match="refs that this export did not make, so nothing was pushed"):
        target.export()
    assert refs(target.github.repository("acme/bookings").directory) == {"refs/heads/main": theirs}


MEANWHILE = {
    "renamed": (lambda peer: peer.rename("acme/bookings", "renamed"), "was renamed or transferred to acme/renamed"),
    "transferred": (lambda peer: peer.transfer("acme/bookings", "elsewhere"), "is gone: deleted, transferred"),
    "moved": (lambda peer: peer.transfer("acme/bookings", "robot"), "renamed or transferred to robot/bookings"),
    "deleted": (lambda peer: peer.delete("acme/bookings"), "is gone: deleted, transferred"),
    "archived": (lambda peer: peer.archive("acme/bookings"), "acme/bookings was archived"),
}


@pytest.mark.parametrize("what", list(MEANWHILE))
def test_a_repository_that_has_changed_hands_meanwhile_gets_nothing(target: Target, what: str) -> None:
    change, message = MEANWHILE[what]
    target.github.fail("POST", "git-receive-pack", "reset before", times=9)
    with pytest.raises(HostUnavailableError):
        target.export()
    target.github.faults.clear()
    repository = target.github.repository("acme/bookings")
    change(target.github)
    if what == "renamed":  # and somebody takes the name
        target.github.create_repository("acme/bookings", commits=False)
    for _ in range(2):
        with pytest.raises(ExportConflictError, match=message):
            target.export()
    assert [refs(one.directory) for one in (repository, *target.github.repositories) if refs(one.directory)] == []
    assert target.exports.only.status is ExportStatus.FAILED


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_repository_renamed_between_creation_and_push_gets_nothing_under_its_new_name(
    target: Target, moment: str
) -> None:
    def rename(when: str, method: str, path: str) -> None:
        if path.endswith("info/refs") and when == "before":
            target.github.on_request = None
            target.github.rename("acme/bookings", "stolen")

    target.github.on_request = rename
    with pytest.raises(ScaffolderError):
        target.export()
    with pytest.raises(ExportConflictError, match="was renamed or transferred to acme/stolen"):
        target.export()
    assert refs(target.github.repository("acme/stolen").directory) == {}


# Refused


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("owner", {"owner": "elsewhere"}, "POST /orgs/elsewhere/repos .* was refused: 403 .*Check what the connection's account may do"),
    ("user", {"owner": "grace"}, "no organisation 'grace' in which the connection may make a repository"),
    ("property", {"custom_properties": {"nope": "x"}}, "was refused|refuses to make"),
    ("collaborator", {"collaborators": [{"user": "nobody-here"}]}, "PUT .*collaborators/nobody-here .* was refused: 404"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_what_github_refuses_is_told_and_not_tried_again(target: Target, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportRejectedError, match=message):
        target.export(**options)
    assert target.exports.only.status is ExportStatus.FAILED
    assert len(target.written()) == len(set(target.written()))


def test_a_wrong_token_is_refused_and_stands_nowhere(target: Target) -> None:
    with pytest.raises(
        ExportRejectedError, match=r"401 Bad credentials\. Check the connection's credentials"
    ) as caught:
        target.exports.export("github", connection=target.connect(token="ghp_wr0ngT0ken1234567890"), owner="acme")
    assert "wr0ng" not in f"{caught.value}{caught.value.__cause__}{target.exports.only}"


def test_a_push_that_a_hook_refuses_tells_why(target: Target) -> None:
    def refuse(when: str, method: str, path: str) -> None:
        if path.endswith("info/refs") and when == "before":
            target.github.repository("acme/bookings").refuse_pushes = "\x1b[31mnot today\x07"

    target.github.on_request = refuse
    with pytest.raises(ExportRejectedError) as caught:
        target.export()
    assert str(caught.value).isprintable()


def test_internal_visibility_is_asked_for_as_enterprise_cloud_has_it(target: Target) -> None:
    with pytest.raises(ExportRejectedError, match="refuses to make"):  # github.com has none
        target.export(visibility="internal")
    assert target.github.requests[0].json["visibility"] == "internal"


def answer_html(handler: Any) -> None:
    body = b"<html>Welcome</html>"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_page_in_the_place_of_the_api_is_named(target: Target) -> None:
    target.github.fail("GET", "/user", answer_html)
    with pytest.raises(ExportRejectedError, match="answers with something else than JSON; accepted is the URL of"):
        target.exports.export("github", connection=target.connect())


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"visibilty": "public"}, r"there is no option 'visibilty'; accepted are \['branch_protection', 'codeowners'"),
    ({"visibility": "secret"}, r"option 'visibility' is 'secret': Input should be 'private', 'internal' or 'public'"),
    ({"repository": "a b"}, r"option 'repository' is 'a b': String should match pattern"),
    ({"topics": ["Upper"]}, r"option 'topics\.0' is 'Upper'"),
    ({"default_branch": "-x"}, "option 'default_branch' is '-x'"),
    ({"secrets": {"X": "plain-secret-text"}}, r"option 'secrets\.X' is 'plain-secret-text': Input should be a valid"),
    ({"collaborators": [{"user": "a", "team": "b"}]}, "accepted is one of user and team"),
    ({"pull_request": {}}, "a pull_request needs repository"),
    ({"repository": "x", "pull_request": {}, "topics": ["a"]}, r"changes no repository, so \['topics'\] cannot be set"),
    ({"repository": "x", "pull_request": {"target_path": "../up"}}, "'../up' has a part '..'"),
    ({"webhooks": [{"url": "https://ada:pw@ci.example.com"}]}, "it has credentials in it"),
    ({"codeowners": {"*": ["nobody"]}}, r"codeowners '\*': \['nobody'\]; accepted is a path pattern with @users"),
    *(
        ({"default_branch": name}, "option 'default_branch'")
        for name in (
            "a/.b",
            "/main",
            "a.lock/b",
            ".x",
            "HEAD",
            "@",
            "a..b",
            "a/",
            "a.",
            "x.lock",
            "a//b",
            "a b",
            "main\n",
        )
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_an_option_that_cannot_work_is_refused_before_anything_is_made(
    target: Target, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportTargetError, match=message):
        target.export(**options)
    assert (target.exports.recorded(), target.github.requests) == ([], [])


# Limits


@pytest.mark.parametrize("fault", ["secondary limit", "primary limit", "429"])
def test_a_limit_is_waited_for(target: Target, fault: str) -> None:
    target.github.fail("POST", "/orgs/acme/repos", fault, seconds=1)
    assert target.export().status is ExportStatus.EXPORTED
    assert target.asked().count("POST /orgs/acme/repos") == 2
    first, second = [one.at for one in target.github.requests if one.path == "/orgs/acme/repos"]
    assert second - first >= 0.9


def test_a_long_wait_is_left_to_the_caller_and_the_export_stays_under_way(target: Target) -> None:
    target.github.fail("POST", "/orgs/acme/repos", "secondary limit", seconds=60)
    with pytest.raises(HostWaitError) as caught:
        target.export()
    assert 50 < (caught.value.retry_after_seconds or 0) < 63
    assert target.exports.only.status is ExportStatus.EXPORTING
    with pytest.raises(HostWaitError):  # other tasks hear of it without asking
        target.export(repository="other")
    assert target.asked() == ["POST /orgs/acme/repos"]


def test_a_host_that_names_an_absurd_wait_is_not_closed_for_ever(target: Target) -> None:
    target.github.fail("POST", "/orgs/acme/repos", "429", seconds=10**11)
    with pytest.raises(HostWaitError):
        target.export()
    account = target.connect().account
    assert target.exports.records.exports.get_block(account) <= target.exports.settings.export_max_deferral_seconds


def test_writes_of_all_workers_keep_the_pace(target: Target) -> None:
    target.exports.settings = replace(target.exports.settings, github_write_interval_seconds=1)
    target.export(topics=["a"])
    times = target.github.write_times
    assert len(times) == 3
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.9


# Roll-back


def test_a_failed_run_takes_back_the_repository_that_it_made(target: Target) -> None:
    target.export(rollback=True)
    assert target.exports.roll_back(target.connect()) == []
    assert target.github.repositories == []
    found = target.exports.only
    assert (found.status, found.remote_id, found.url) == (ExportStatus.ROLLED_BACK, None, None)
    assert target.export(rollback=True).status is ExportStatus.EXPORTED  # the run is cleared and goes on
    assert len(target.github.repositories) == 1


def test_an_export_that_is_not_to_be_rolled_back_stays(target: Target) -> None:
    target.export()
    assert target.exports.roll_back(target.connect()) == []
    assert len(target.github.repositories) == 1


def test_a_half_made_repository_is_taken_back_too(target: Target) -> None:
    target.github.fail("POST", "git-receive-pack", "403")
    with pytest.raises(ExportRejectedError):
        target.export(rollback=True)
    assert target.exports.roll_back(target.connect()) == []
    assert target.github.repositories == []


def test_a_repository_whose_creation_was_in_doubt_is_taken_back_too(target: Target) -> None:
    target.github.fail("POST", "/orgs/acme/repos", "502 after")
    target.github.fail("GET", "/repos/acme/bookings", "502", times=9)
    with pytest.raises(HostUnavailableError):
        target.export(rollback=True)
    assert target.exports.only.remote_id is None
    target.github.faults.clear()
    assert target.exports.roll_back(target.connect()) == []
    assert target.github.repositories == []


def test_a_repository_that_is_gone_or_hidden_is_named_and_its_record_kept(target: Target) -> None:
    target.export(rollback=True)
    target.github.transfer("acme/bookings", "elsewhere")
    (sentence,) = target.exports.roll_back(target.connect())
    assert "is not there: deleted or transferred already, or no longer visible" in sentence
    assert (target.exports.only.status, target.exports.only.remote_name) == (ExportStatus.EXPORTED, "acme/bookings")


def test_a_roll_back_that_was_interrupted_is_finished(target: Target) -> None:
    target.export(rollback=True)
    target.github.fail("DELETE", "/repos/acme/bookings", "reset after")
    target.github.fail("DELETE", "/repos/acme/bookings", "reset before", times=9)
    with pytest.raises(HostUnavailableError):
        target.exports.roll_back(target.connect())
    target.github.faults.clear()
    assert target.exports.roll_back(target.connect()) == []
    assert (target.exports.only.status, target.github.repositories) == (ExportStatus.ROLLED_BACK, [])


def test_a_connection_that_leads_elsewhere_now_rolls_nothing_back(target: Target) -> None:
    from github import Auth, Github

    target.export(rollback=True)
    client = Github(
        auth=Auth.Token(target.github.token), base_url=target.github.api_url.replace("127.0.0.1", "localhost")
    )
    (sentence,) = target.exports.roll_back(
        GitHubConnection(client, conn_id="test_github", settings=target.exports.settings)
    )
    assert "is left behind: connection 'test_host' is for 'http://localhost:" in sentence
    assert len(target.github.repositories) == 1


def test_a_repository_that_another_export_uses_is_left(target: Target) -> None:
    target.export(rollback=True)
    target.export(description="kept")
    (sentence,) = target.exports.roll_back(target.connect())
    assert "another export of the project uses it" in sentence
    assert len(target.github.repositories) == 1


USED = {
    "pushed": (lambda peer: peer.push_foreign_commit("acme/bookings"), "somebody has pushed to it since"),
    "branched": (lambda peer: peer.push_foreign_commit("acme/bookings", "dev"), "somebody has pushed to it since"),
    "renamed": (lambda peer: peer.rename("acme/bookings", "kept"), "it was renamed or transferred"),
}


@pytest.mark.parametrize("what", list(USED))
def test_a_repository_that_somebody_uses_is_left_and_named(target: Target, what: str) -> None:
    change, reason = USED[what]
    target.export(rollback=True)
    change(target.github)
    (sentence,) = target.exports.roll_back(target.connect())
    assert reason in sentence
    assert len(target.github.repositories) == 1
    assert not target.github.repositories[0].archived
    assert reason in str(target.exports.only.error)


def test_a_push_that_comes_while_it_is_rolled_back_is_kept(target: Target) -> None:
    target.export(rollback=True)

    def push(when: str, method: str, path: str) -> None:
        if method == "PATCH" and when == "before":
            target.github.on_request = None
            target.github.push_foreign_commit("acme/bookings")

    target.github.on_request = push
    (sentence,) = target.exports.roll_back(target.connect())
    assert "somebody has pushed to it since" in sentence
    assert not target.github.repository("acme/bookings").archived


def test_somebody_elses_repository_is_never_rolled_back(target: Target) -> None:
    target.github.create_repository("acme/bookings")
    with pytest.raises(ExportConflictError):
        target.export(rollback=True)
    assert target.exports.roll_back(target.connect()) == []
    assert len(target.github.repositories) == 1


# Pull requests


def pull_request(target: Target, **options: Any) -> RepositoryExport:
    return target.export(repository="mono", pull_request=options)


@pytest.fixture
def mono(target: Target) -> Any:
    return target.github.create_repository("acme/mono")


def test_opens_a_pull_request_with_all_its_options(target: Target, mono: Any) -> None:
    mono.collaborators["grace"] = "write"
    mono.teams["platform"] = "write"
    mono.settings["allow_auto_merge"] = True
    target.github.refuses_clean_auto_merge = False
    export = pull_request(
        target, branch="new/bookings", title="Bookings", body="Made *here*", reviewers=["grace"],
        team_reviewers=["platform"], assignees=["grace"], labels=["bug"], draft=False, auto_merge="squash",
        target_path="services/bookings/",
    )  # fmt: skip
    (pull,) = mono.pulls.values()
    assert (pull.title, pull.body, pull.head, pull.base, pull.draft) == (
        "Bookings", "Made *here*", "new/bookings", "main", False)  # fmt: skip
    assert (pull.reviewers, pull.team_reviewers, pull.assignees, pull.labels) == (
        ["grace"], ["platform"], ["grace"], ["bug"])  # fmt: skip
    assert str(pull.auto_merge).lower() == "squash"
    assert export.url == f"{target.github.url}/acme/mono/pull/{pull.number}"
    assert list_files(mono.directory, "new/bookings") == {
        "README.md": "# mono\n", "services/bookings/README.md": "# Hi\n", "services/bookings/bin/run": "#!/bin/sh\n",
    }  # fmt: skip
    assert run_git(mono.directory, "rev-parse", "new/bookings^") == run_git(mono.directory, "rev-parse", "main")
    assert not list((target.exports.directory / "exports").iterdir())


def test_what_has_nothing_to_wait_for_is_merged_at_once(target: Target, mono: Any) -> None:
    mono.settings["allow_auto_merge"] = True
    target.github.refuses_clean_auto_merge = True
    export = pull_request(target, auto_merge="merge", target_path="x")
    (pull,) = mono.pulls.values()
    assert pull.merged
    assert "x/README.md" in list_files(mono.directory, "main")
    assert export.status is ExportStatus.EXPORTED


def test_a_request_opened_anew_is_set_up_anew(target: Target, mono: Any) -> None:
    pull_request(target, labels=["bug"])
    run_git(mono.directory, "update-ref", "-d", "refs/heads/scaffolder/bookings")
    mono.refresh_pulls()  # GitHub closes a request whose branch is gone
    pull_request(target, labels=["bug"])
    assert [(pull.state, pull.labels) for pull in mono.pulls.values()] == [("closed", ["bug"]), ("open", ["bug"])]


def test_an_agents_file_does_not_become_a_ci_file_by_its_place(target: Target, mono: Any) -> None:
    target.exports.generate([make_file("ci.yml", "on: push\n")], step_id="more")
    with pytest.raises(UnsafePathError, match=r"'\.github/workflows/ci\.yml': runs on a CI system there"):
        pull_request(target, target_path=".github/workflows")
    assert list(mono.branches) == ["main"]


def test_a_pull_request_takes_few_requests(target: Target, mono: Any) -> None:
    pull_request(target)
    assert target.asked() == ["GET /repos/acme/mono", "POST /repos/acme/mono/pulls"]


def test_nothing_is_opened_where_nothing_changes(target: Target, mono: Any) -> None:
    target.github.push_foreign_commit(mono, files={"README.md": "# Hi\n"})
    target.exports.generate([make_file("README.md", "# Hi\n")])
    export = pull_request(target)
    assert (export.status, export.result["changed"]) == (ExportStatus.EXPORTED, False)
    assert (mono.pulls, list(mono.branches), target.written()) == ({}, ["main"], [])


def test_an_open_request_is_updated_and_what_reviewers_added_stays(
    target: Target, mono: Any, records: ProjectRecords
) -> None:
    first = pull_request(target, target_path="x", branch="gen")
    target.github.push_foreign_commit(mono, "gen", files={"review.txt": "ok\n"})
    other = Target(Exports(records, target.exports.settings), target.github)  # a later run of the same project
    other.exports.generate([make_file("new.txt", "new\n")], step_id="more")
    second = pull_request(other, target_path="x", branch="gen", title="Newer")
    (pull,) = mono.pulls.values()
    assert (second.url, pull.title) == (first.url, "Newer")
    assert {"review.txt", "x/new.txt"} <= set(list_files(mono.directory, "gen"))


def test_a_request_that_was_merged_is_followed_by_a_new_one(target: Target, mono: Any, records: ProjectRecords) -> None:
    pull_request(target, target_path="x", branch="gen")
    run_git(mono.directory, "update-ref", "refs/heads/main", mono.branches["gen"])
    other = Target(Exports(records, target.exports.settings), target.github)
    other.exports.generate([make_file("new.txt", "new\n")], step_id="more")
    pull_request(other, target_path="x", branch="gen")
    assert [pull.state for pull in mono.pulls.values()] == ["closed", "open"]


def test_the_same_export_after_its_request_was_merged_opens_none(target: Target, mono: Any) -> None:
    pull_request(target, target_path="x")
    run_git(mono.directory, "update-ref", "refs/heads/main", mono.branches["scaffolder/bookings"])
    export = pull_request(target, target_path="x")
    assert (export.status, export.result["changed"], len(mono.pulls)) == (ExportStatus.EXPORTED, False, 1)


def test_the_same_export_after_its_request_was_closed_opens_another(target: Target, mono: Any) -> None:
    pull_request(target, target_path="x")
    mono.pulls[1].state = "closed"
    export = pull_request(target, target_path="x")
    assert [pull.state for pull in mono.pulls.values()] == ["closed", "open"]
    assert export.url == f"{target.github.url}/acme/mono/pull/2"


def test_a_branch_of_somebody_else_is_not_touched(target: Target, mono: Any) -> None:
    theirs = target.github.push_foreign_commit(mono, "scaffolder/bookings")
    with pytest.raises(ExportConflictError, match="has a branch 'scaffolder/bookings' that no export of this project"):
        pull_request(target)
    assert (mono.branches["scaffolder/bookings"], mono.pulls) == (theirs, {})


@pytest.mark.parametrize(
    ("path", "fault"),
    pair(["git-receive-pack$", "/pulls$", "/labels$", "/requested_reviewers$"], FAULTS[:5]),
)
def test_a_lost_answer_opens_no_second_request(target: Target, mono: Any, fault: str, path: str) -> None:
    mono.collaborators["grace"] = "write"
    target.github.hang_seconds = 1.5
    target.github.fail("POST", path, fault)
    for _ in range(3):
        try:
            export = pull_request(target, labels=["bug"], reviewers=["grace"])
            break
        except HostUnavailableError:
            continue
    (pull,) = mono.pulls.values()
    assert (export.url, pull.labels, pull.reviewers) == (
        f"{target.github.url}/acme/mono/pull/{pull.number}", ["bug"], ["grace"])  # fmt: skip
    assert len(run_git(mono.directory, "rev-list", "main..scaffolder/bookings").split()) == 1


CLASHES = [
    ({"services": "a file\n"}, "services/x"),
    ({"services/x/bin/run/deep": "x\n"}, "services/x"),
]


@pytest.mark.parametrize(("files", "path"), CLASHES)
def test_a_file_where_a_directory_should_be_is_a_conflict(
    target: Target, mono: Any, files: dict[str, str], path: str
) -> None:
    target.github.push_foreign_commit(mono, files=files)
    with pytest.raises(ExportConflictError, match="has something else where files should go"):
        pull_request(target, target_path=path)
    assert list(mono.branches) == ["main"]


def test_a_request_into_a_repository_that_is_not_there_is_refused(target: Target) -> None:
    with pytest.raises(ExportConflictError, match="there is no repository acme/mono"):
        pull_request(target)


def test_a_rolled_back_run_names_the_request_that_it_leaves(target: Target, mono: Any) -> None:
    export = target.export(repository="mono", pull_request={}, rollback=True)
    (sentence,) = target.exports.roll_back(target.connect())
    assert str(export.url) in sentence
    assert len(mono.pulls) == 1


# Secrets


def test_an_app_whose_key_cannot_be_used_is_refused(target: Target) -> None:
    from github import Auth, Github

    auth = Auth.AppAuth(
        1, "-----BEGIN RSA PRIVATE KEY-----\nbm8=\n-----END RSA PRIVATE KEY-----"
    ).get_installation_auth(2)
    client = Github(auth=auth, base_url=target.github.api_url)
    connection = GitHubConnection(client, conn_id="app", settings=target.exports.settings)
    with pytest.raises(ExportRejectedError, match="the private_key of .* 'app' cannot be used"):
        target.exports.export("github", connection=connection, owner="acme")


def test_what_is_noted_of_a_webhook_tells_nothing_of_its_path(target: Target) -> None:
    target.export(webhooks=[{"url": "https://hooks.example.com/services/T0/s3cretpath"}])
    assert any("hooks.example.com" in step for step in target.exports.only.steps_done)
    assert not any("s3cretpath" in step for step in target.exports.only.steps_done)


def test_no_token_and_no_secret_value_stays_anywhere(
    target: Target, tmp_path: Path, connection: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    target.github.fail("POST", "git-receive-pack", repeat_authorization)
    with pytest.raises(ScaffolderError) as caught:
        target.export(secrets={"DATABASE": {"connection": "prod_db"}})
    target.export(secrets={"DATABASE": {"connection": "prod_db"}})
    dump = "".join(str(row) for row in connection.execute("SELECT e::text FROM repository_export e").fetchall())
    dump += "".join(str(row) for row in connection.execute("SELECT e::text FROM event e").fetchall())
    dump += caplog.text + "".join(capfd.readouterr()) + f"{caught.value!r}{caught.value.__cause__!r}"
    for secret in (target.github.token, "s3cret-value-4c5d6e"):
        assert secret not in dump
        found = subprocess.run(["grep", "-rlaF", secret, str(tmp_path)], check=False, capture_output=True)
        assert found.returncode == 1, found.stdout


def repeat_authorization(handler: Any) -> None:
    """Answer 403 with what the client sent to prove who it is, as a careless proxy may."""
    import base64

    password = base64.b64decode(handler.headers["Authorization"].split()[1]).decode()
    body = f"denied: {password}\n".encode()
    handler.send_response(403)
    handler.send_header("Content-Type", "text/plain")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
