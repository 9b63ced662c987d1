"""What GitHub says about what it keeps, as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tests.github_peer.state import PERMISSIONS, Account, Environment, Pull, Repository, make_node_id

if TYPE_CHECKING:
    from tests.github_peer.peer import GithubPeer


def _split(names: str) -> list[str]:
    return names.split()


_USER_URLS = _split("followers following gists starred subscriptions organizations repos events received_events")
_REPOSITORY_URLS = _split(
    "archive assignees blobs branches collaborators comments commits compare contents contributors deployments "
    "downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events issues keys labels "
    "languages merges milestones notifications pulls releases stargazers statuses subscribers subscription tags teams "
    "trees"
)
_SWITCHES = _split(
    "required_linear_history allow_force_pushes allow_deletions block_creations required_conversation_resolution "
    "lock_branch allow_fork_syncing"
)
_START = "2026-01-01T00:00:00Z"


def describe_user(peer: GithubPeer, account: Account) -> dict[str, Any]:
    url = f"{peer.api_url}/users/{account.login}"
    return {
        "login": account.login,
        "id": account.id,
        "node_id": make_node_id("U", account.id),
        "avatar_url": f"{peer.url}/avatars/{account.id}",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{peer.url}/{account.login}",
        "type": account.kind,
        "site_admin": False,
        **{f"{name}_url": f"{url}/{name}" for name in _USER_URLS},
    }


def describe_profile(peer: GithubPeer, account: Account) -> dict[str, Any]:
    unknown = ("name", "company", "blog", "location", "email", "hireable", "bio")
    counts = ("public_repos", "public_gists", "followers", "following")
    return (
        describe_user(peer, account)
        | dict.fromkeys(unknown)
        | dict.fromkeys(counts, 0)
        | {"created_at": _START, "updated_at": _START}
    )


def describe_own_profile(peer: GithubPeer, account: Account) -> dict[str, Any]:
    counts = ("private_gists", "total_private_repos", "owned_private_repos", "disk_usage", "collaborators")
    return describe_profile(peer, account) | dict.fromkeys(counts, 0) | {"two_factor_authentication": True}


def _describe_repository(peer: GithubPeer, repository: Repository) -> dict[str, Any]:
    url = f"{peer.api_url}/repos/{repository.full_name}"
    html_url = f"{peer.url}/{repository.full_name}"
    counts = ("forks", "stargazers", "watchers", "open_issues")
    settings = {name: value for name, value in repository.settings.items() if value is not None}
    return {
        "id": repository.id,
        "node_id": make_node_id("R", repository.id),
        "name": repository.name,
        "full_name": repository.full_name,
        "owner": describe_user(peer, peer.accounts[repository.owner]),
        "private": repository.private,
        "visibility": repository.visibility,
        "html_url": html_url,
        "description": repository.description,
        "homepage": repository.settings["homepage"],
        "fork": False,
        "url": url,
        "git_url": f"git://{html_url.removeprefix('http://')}.git",
        "ssh_url": f"git@127.0.0.1:{repository.full_name}.git",
        "clone_url": f"{html_url}.git",
        "svn_url": html_url,
        "mirror_url": None,
        "language": None,
        "license": None,
        "size": 1 if repository.branches else 0,
        "default_branch": repository.default_branch,
        "topics": list(repository.topics),
        "has_pages": False,
        "archived": repository.archived,
        "disabled": False,
        "pushed_at": repository.pushed_at,
        "created_at": repository.created_at,
        "updated_at": repository.created_at,
        "forks": 0,
        "open_issues": 0,
        "watchers": 0,
        **{f"{name}_count": 0 for name in counts},
        **{f"{name}_url": f"{url}/{name}" for name in _REPOSITORY_URLS},
        **settings,
    }


def describe_repository(peer: GithubPeer, repository: Repository, *, permission: str) -> dict[str, Any]:
    """Return the full repository, for one who has `permission`."""
    rank = PERMISSIONS.index(permission)
    names = {"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"}
    document = _describe_repository(peer, repository) | {
        "permissions": {name: rank >= PERMISSIONS.index(level) for name, level in names.items()},
        "subscribers_count": 0,
        "network_count": 0,
        "custom_properties": dict(repository.properties),
    }
    owner = peer.accounts[repository.owner]
    return document | ({"organization": describe_user(peer, owner)} if owner.kind == "Organization" else {})


def describe_invitation(peer: GithubPeer, repository: Repository, login: str) -> dict[str, Any]:
    number, permission = repository.invitations[login]
    # This model knows less of a repository than the others.
    minimal = {name: value for name, value in _describe_repository(peer, repository).items() if name in _MINIMAL}
    return {
        "id": number,
        "node_id": make_node_id("RI", number),
        "repository": minimal,
        "invitee": describe_user(peer, peer.accounts[login]),
        "inviter": describe_user(peer, peer.accounts[peer.login]),
        "permissions": permission,
        "created_at": repository.created_at,
        "expired": False,
        "url": f"{peer.api_url}/user/repository_invitations/{number}",
        "html_url": f"{peer.url}/{repository.full_name}/invitations",
    }


_MINIMAL = frozenset(
    {"id", "node_id", "name", "full_name", "owner", "private", "html_url", "description", "fork", "url"}
    | {f"{name}_url" for name in _REPOSITORY_URLS}
)


def describe_protection(peer: GithubPeer, repository: Repository, branch: str) -> dict[str, Any]:
    body = repository.protection[branch]
    url = f"{peer.api_url}/repos/{repository.full_name}/branches/{branch}/protection"
    document: dict[str, Any] = {
        "url": url,
        "enforce_admins": {"url": f"{url}/enforce_admins", "enabled": bool(body["enforce_admins"])},
        "required_signatures": {"url": f"{url}/required_signatures", "enabled": False},
        **{name: {"enabled": bool(body.get(name))} for name in _SWITCHES},
    }
    if checks := body["required_status_checks"]:
        asked = checks.get("checks") or [{"context": context} for context in checks["contexts"]]
        document["required_status_checks"] = {
            "url": f"{url}/required_status_checks",
            "contexts_url": f"{url}/required_status_checks/contexts",
            "strict": checks["strict"],
            "contexts": [check["context"] for check in asked],
            "checks": [{"context": check["context"], "app_id": check.get("app_id")} for check in asked],
        }
    if (reviews := body["required_pull_request_reviews"]) is not None:
        document["required_pull_request_reviews"] = {
            "url": f"{url}/required_pull_request_reviews",
            "dismiss_stale_reviews": bool(reviews.get("dismiss_stale_reviews")),
            "require_code_owner_reviews": bool(reviews.get("require_code_owner_reviews")),
            "required_approving_review_count": reviews.get("required_approving_review_count", 1),
            "require_last_push_approval": bool(reviews.get("require_last_push_approval")),
        }
    if restrictions := body["restrictions"]:
        document["restrictions"] = _describe_restrictions(peer, repository, f"{url}/restrictions", restrictions)
    return document


def _describe_restrictions(
    peer: GithubPeer, repository: Repository, url: str, restrictions: dict[str, Any]
) -> dict[str, Any]:
    return {
        "url": url,
        **{f"{name}_url": f"{url}/{name}" for name in ("users", "teams", "apps")},
        "users": [describe_user(peer, peer.accounts[login]) for login in restrictions["users"]],
        "teams": [describe_team(peer, repository.owner, slug) for slug in restrictions["teams"]],
        "apps": [],
    }


def describe_full_team(peer: GithubPeer, account: Account, slug: str) -> dict[str, Any]:
    """Return a team as it shows itself, with its organization."""
    team = {name: value for name, value in describe_team(peer, account.login, slug).items() if name != "parent"}
    owner = describe_user(peer, account)
    named = ("login", "id", "node_id", "url", "repos_url", "events_url", "avatar_url", "html_url", "type")
    links = {f"{name}_url": f"{owner['url']}/{name}" for name in ("hooks", "issues", "members", "public_members")}
    organization = {
        **{name: owner[name] for name in named},
        **links,
        "description": None,
        "has_organization_projects": True,
        "has_repository_projects": True,
        **dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0),
        "created_at": _START,
        "updated_at": _START,
        "archived_at": None,
    }
    full = {"members_count": 1, "repos_count": 0, "created_at": _START, "updated_at": _START, "type": "organization"}
    return team | full | {"organization": organization}


def describe_team(peer: GithubPeer, organization: str, slug: str) -> dict[str, Any]:
    number = peer.accounts[organization].teams[slug]
    url = f"{peer.api_url}/orgs/{organization}/teams/{slug}"
    return {
        "id": number,
        "node_id": make_node_id("T", number),
        "name": slug,
        "slug": slug,
        "description": None,
        "permission": "pull",
        "url": url,
        "html_url": f"{peer.url}/orgs/{organization}/teams/{slug}",
        "members_url": f"{url}/members",
        "repositories_url": f"{url}/repos",
        "type": "organization",
        "parent": None,
    }


def describe_ruleset(repository: Repository, number: int, *, with_rules: bool = True) -> dict[str, Any]:
    ruleset = repository.rulesets[number]
    hidden = () if with_rules else ("rules", "conditions", "bypass_actors")
    return {
        "id": number,
        "node_id": make_node_id("RRS", number),
        "source_type": "Repository",
        "source": repository.full_name,
        "target": "branch",
        "created_at": repository.created_at,
        "updated_at": repository.created_at,
        **({"bypass_actors": [], "rules": []} if with_rules else {}),
        **{name: value for name, value in ruleset.items() if name not in hidden and value is not None},
    }


def describe_environment(peer: GithubPeer, repository: Repository, environment: Environment) -> dict[str, Any]:
    settings = environment.settings
    rules: list[dict[str, Any]] = []
    if settings.get("wait_timer"):
        rules.append({"type": "wait_timer", "wait_timer": settings["wait_timer"]})
    if settings.get("reviewers"):
        reviewers = [{"type": item["type"], "reviewer": _find_reviewer(peer, item)} for item in settings["reviewers"]]
        prevents = bool(settings.get("prevent_self_review"))
        rules.append({"type": "required_reviewers", "prevent_self_review": prevents, "reviewers": reviewers})
    policy = settings.get("deployment_branch_policy")
    if policy:
        rules.append({"type": "branch_policy"})
    numbered = [
        rule | {"id": environment.id * 10 + index, "node_id": make_node_id("GA", environment.id * 10 + index)}
        for index, rule in enumerate(rules)
    ]
    return {
        "id": environment.id,
        "node_id": make_node_id("EN", environment.id),
        "name": environment.name,
        "url": f"{peer.api_url}/repos/{repository.full_name}/environments/{environment.name}",
        "html_url": f"{peer.url}/{repository.full_name}/deployments/{environment.name}",
        "created_at": environment.created_at,
        "updated_at": environment.created_at,
        "protection_rules": numbered,
        "deployment_branch_policy": policy,
    }


def _find_reviewer(peer: GithubPeer, item: dict[str, Any]) -> dict[str, Any]:
    if item["type"] == "User":
        return describe_user(peer, next(account for account in peer.accounts.values() if account.id == item["id"]))
    organization, slug = peer.find_team(item["id"])
    return describe_team(peer, organization, slug)


def describe_label(peer: GithubPeer, repository: Repository, label: dict[str, Any]) -> dict[str, Any]:
    url = f"{peer.api_url}/repos/{repository.full_name}/labels/{label['name'].replace(' ', '%20')}"
    return label | {"node_id": make_node_id("LA", label["id"]), "url": url, "archived_at": None, "archived_by": None}


def describe_hook(peer: GithubPeer, repository: Repository, number: int) -> dict[str, Any]:
    hook = repository.hooks[number]
    url = f"{peer.api_url}/repos/{repository.full_name}/hooks/{number}"
    masked = {"secret": "********"} if hook["config"].get("secret") else {}
    return hook | {
        "type": "Repository",
        "id": number,
        "config": hook["config"] | masked,
        "url": url,
        **{f"{name}_url": f"{url}/{name}" for name in ("ping", "test", "deliveries")},
        "last_response": {"code": None, "status": "unused", "message": None},
        "created_at": repository.created_at,
        "updated_at": repository.created_at,
    }


def describe_pull(peer: GithubPeer, repository: Repository, pull: Pull, *, is_full: bool = True) -> dict[str, Any]:
    """Return a pull request; lists say less of each."""
    api, html = f"{peer.api_url}/repos/{repository.full_name}", f"{peer.url}/{repository.full_name}"
    number = pull.number
    links = {
        "self": f"{api}/pulls/{number}",
        "html": f"{html}/pull/{number}",
        "issue": f"{api}/issues/{number}",
        "comments": f"{api}/issues/{number}/comments",
        "review_comments": f"{api}/pulls/{number}/comments",
        "review_comment": f"{api}/pulls/comments{{/number}}",
        "commits": f"{api}/pulls/{number}/commits",
        "statuses": f"{api}/statuses/{pull.head_sha}",
    }
    closed_at = None if pull.state == "open" else pull.created_at
    document = {
        "url": links["self"],
        "id": pull.id,
        "node_id": pull.node_id,
        "diff_url": f"{links['html']}.diff",
        "patch_url": f"{links['html']}.patch",
        "state": pull.state,
        "locked": False,
        "number": number,
        "title": pull.title,
        "body": pull.body,
        "user": describe_user(peer, peer.accounts[pull.author]),
        "labels": _describe_labels(peer, repository, pull),
        "milestone": None,
        "created_at": pull.created_at,
        "updated_at": pull.created_at,
        "closed_at": closed_at,
        "merged_at": closed_at if pull.merged else None,
        "assignees": _describe_users(peer, pull.assignees),
        "requested_reviewers": _describe_users(peer, pull.reviewers),
        "requested_teams": _describe_teams(peer, repository, pull, is_full=is_full),
        "head": _describe_end(peer, repository, pull.head, pull.head_sha),
        "base": _describe_end(peer, repository, pull.base, repository.branches.get(pull.base, pull.head_sha)),
        "author_association": "MEMBER",
        "draft": pull.draft,
        "auto_merge": _describe_auto_merge(peer, pull),
        "_links": {name: {"href": url} for name, url in links.items()},
        **{f"{name}_url": url for name, url in links.items() if name != "self"},
    }
    return document | _count_pull(pull) if is_full else document


def _describe_users(peer: GithubPeer, logins: Iterable[str]) -> list[dict[str, Any]]:
    return [describe_user(peer, peer.accounts[login]) for login in logins]


def _describe_teams(peer: GithubPeer, repository: Repository, pull: Pull, *, is_full: bool) -> list[dict[str, Any]]:
    teams = [describe_team(peer, repository.owner, slug) for slug in pull.team_reviewers]
    # Only lists of pull requests say of a team that it has a parent.
    return [{name: value for name, value in team.items() if name != "parent" or not is_full} for team in teams]


def _describe_labels(peer: GithubPeer, repository: Repository, pull: Pull) -> list[dict[str, Any]]:
    labels = [describe_label(peer, repository, repository.labels[name.lower()]) for name in pull.labels]
    return [{name: value for name, value in label.items() if name != "archived_at"} for label in labels]


def _describe_end(peer: GithubPeer, repository: Repository, branch: str, sha: str) -> dict[str, Any]:
    owner = describe_user(peer, peer.accounts[repository.owner])
    inner = _describe_repository(peer, repository)
    inner.pop("security_and_analysis", None)
    return {"label": f"{repository.owner}:{branch}", "ref": branch, "sha": sha, "user": owner, "repo": inner}


def _describe_auto_merge(peer: GithubPeer, pull: Pull) -> dict[str, Any] | None:
    if pull.auto_merge is None:
        return None
    enabled_by = describe_user(peer, peer.accounts[peer.login])
    return {
        "enabled_by": enabled_by,
        "merge_method": pull.auto_merge.lower(),
        "commit_title": None,
        "commit_message": None,
    }


def _count_pull(pull: Pull) -> dict[str, Any]:
    counts = ("comments", "review_comments", "additions", "deletions", "changed_files")
    return {
        "merged": pull.merged,
        "mergeable": None if pull.state == "closed" else True,
        "mergeable_state": "unknown" if pull.state == "closed" else "clean",
        "merged_by": None,
        "maintainer_can_modify": pull.maintainer_can_modify,
        "commits": 1,
        **dict.fromkeys(counts, 0),
    }


def describe_issue(peer: GithubPeer, repository: Repository, pull: Pull) -> dict[str, Any]:
    """Return the issue that every pull request is, too."""
    api, html = f"{peer.api_url}/repos/{repository.full_name}", f"{peer.url}/{repository.full_name}"
    url = f"{api}/issues/{pull.number}"
    return {
        "id": pull.id,
        "node_id": pull.node_id,
        "url": url,
        "repository_url": api,
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": f"{html}/pull/{pull.number}",
        "number": pull.number,
        "state": pull.state,
        "title": pull.title,
        "body": pull.body,
        "user": describe_user(peer, peer.accounts[pull.author]),
        "labels": [label["name"] for label in _describe_labels(peer, repository, pull)],
        "assignees": _describe_users(peer, pull.assignees),
        "milestone": None,
        "locked": False,
        "comments": 0,
        "closed_at": None,
        "created_at": pull.created_at,
        "updated_at": pull.created_at,
        "author_association": "MEMBER",
        "draft": pull.draft,
    }
