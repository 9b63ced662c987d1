"""Users, repositories and who may do what in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.github_peer.documents import (
    describe_full_team,
    describe_invitation,
    describe_own_profile,
    describe_profile,
    describe_repository,
)
from tests.github_peer.refusals import RefusalError, custom, describe_field, invalid, invalid_field, not_found
from tests.github_peer.routing import Answer, Call, route
from tests.github_peer.state import SETTINGS, Repository

_COLLABORATOR = {"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"}
_TOPIC = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
_SQUASH = {("PR_TITLE", "PR_BODY"), ("PR_TITLE", "BLANK"), ("PR_TITLE", "COMMIT_MESSAGES")}
_SQUASH |= {("COMMIT_OR_PR_TITLE", "COMMIT_MESSAGES")}
_MERGE = {("PR_TITLE", "PR_BODY"), ("PR_TITLE", "BLANK"), ("MERGE_MESSAGE", "PR_TITLE")}


@route("GET", "/user", answered="PrivateUser")
def get_own_user(call: Call) -> Answer:
    if call.token.is_installation:
        raise RefusalError(403, "Resource not accessible by integration")
    return Answer(200, describe_own_profile(call.peer, call.peer.accounts[call.token.login]))


@route("GET", "/users/{login}", answered="PublicUser")
def get_user(call: Call) -> Answer:
    return Answer(200, describe_profile(call.peer, call.peer.find_account(call.path["login"])))


@route("POST", "/user/repos", body="UserReposPostBody", answered="FullRepository")
def create_own_repository(call: Call) -> Answer:
    if call.token.is_installation:
        raise RefusalError(403, "Resource not accessible by integration")
    return _create(call, call.token.login)


@route("POST", "/orgs/{org}/repos", body="OrgsOrgReposPostBody", answered="FullRepository")
def create_organization_repository(call: Call) -> Answer:
    account = call.peer.find_account(call.path["org"])
    if account.kind != "Organization":
        raise not_found()
    if call.token.login not in account.members:
        raise RefusalError(403, "You need admin access to the organization before adding a repository to it.")
    return _create(call, account.login)


def _create(call: Call, owner: str) -> Answer:
    body, peer = call.body, call.peer
    for name in ("gitignore_template", "license_template", "team_id"):
        if body.get(name) is not None:
            raise invalid_field("Repository", name, "the peer knows no templates and no teams by id")
    name = check_name(call, owner, body["name"])
    settings = {key: value for key, value in body.items() if key in SETTINGS and value is not None}
    check_settings(settings, kept=SETTINGS)
    private = body["visibility"] == "private" if body.get("visibility") else bool(body.get("private"))
    properties = body.get("custom_properties") or {}
    check_properties(call, properties)
    repository = peer.create_repository(f"{owner}/{name}", private=private, commits=bool(body.get("auto_init")))
    repository.description = body.get("description")
    repository.settings |= settings
    repository.properties |= properties
    location = f"{peer.api_url}/repos/{repository.full_name}"
    return Answer(201, describe_repository(peer, repository, permission="admin"), {"Location": location})


def check_name(call: Call, owner: str, wanted: str) -> str:
    """Return the name as GitHub will have it."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted)
    if not name or name in {".", ".."}:
        raise custom("Repository", "name is required", field="name")
    if len(name) > 100:
        raise custom("Repository", "name is too long (maximum is 100 characters)", field="name")
    existing, has_moved = call.peer.find(f"{owner}/{name}")
    if existing is not None and not has_moved:
        taken = describe_field("Repository", "name", "name already exists on this account", code="custom")
        raise RefusalError(422, "Repository creation failed.", errors=[taken])
    return name


def check_settings(given: Mapping[str, Any], *, kept: Mapping[str, Any]) -> None:
    """Refuse what can't be together, and messages without their titles."""
    settings = {**kept, **given}
    if not any(settings[f"allow_{way}"] for way in ("squash_merge", "merge_commit", "rebase_merge")):
        message = "Sorry, you need to allow at least one merge strategy. (no_merge_method)"
        raise custom("Repository", message, field="merge_commit_allowed")
    for way, allowed in (("squash_merge", _SQUASH), ("merge", _MERGE)):
        title, message = f"{way}_commit_title", f"{way}_commit_message"
        if (settings[title], settings[message]) not in allowed or (message in given and title not in given):
            raise invalid_field("Repository", "merge_commit_allowed", "Sorry, invalid setting combination.")


@route("GET", "/{repo}", answered="FullRepository")
def get_repository(call: Call) -> Answer:
    return _show(call)


def _show(call: Call) -> Answer:
    permission = call.peer.find_permission(call.token, call.repository) or "read"
    return Answer(200, describe_repository(call.peer, call.repository, permission=permission))


@route(
    "PATCH",
    "/{repo}",
    body="ReposOwnerRepoPatchBody",
    answered="FullRepository",
    access="admin",
    works_archived=True,
)
def update_repository(call: Call) -> Answer:
    repository, body = call.repository, call.body
    if repository.archived and body.get("archived") is not False:
        raise RefusalError(403, "Repository was archived so is read-only.")
    settings = {key: value for key, value in body.items() if key in SETTINGS and (value is not None)}
    if "homepage" in body:
        settings["homepage"] = body["homepage"]
    check_settings(settings, kept=repository.settings)
    _check_default_branch(repository, body.get("default_branch"))
    if body.get("name") and body["name"].lower() != repository.name.lower():
        call.peer.rename(repository, check_name(call, repository.owner, body["name"]))
    repository.settings |= settings
    if "description" in body:
        repository.description = body["description"]
    if body.get("private") is not None:
        repository.private = body["private"]
    if body.get("visibility"):
        repository.private = body["visibility"] == "private"
    if body.get("default_branch"):
        repository.default_branch = body["default_branch"]
    if body.get("archived") is not None:
        repository.archived = body["archived"]
    return _show(call)


def _check_default_branch(repository: Repository, name: str | None) -> None:
    branches = repository.branches
    if name and not branches:
        message = "Cannot update default branch for an empty repository. Please init the repository and push first."
        raise invalid_field("Repository", "default_branch", message)
    if name and name not in branches:
        message = f"The branch {name} was not found. Please push that ref first or create it via the Git Data API."
        raise invalid_field("Repository", "default_branch", message)


@route("DELETE", "/{repo}", access="admin", works_archived=True)
def delete_repository(call: Call) -> Answer:
    call.peer.delete(call.repository)
    return Answer(204)


@route("GET", "/{repo}/topics", answered="Topic")
def get_topics(call: Call) -> Answer:
    return Answer(200, {"names": list(call.repository.topics)})


@route("PUT", "/{repo}/topics", body="ReposOwnerRepoTopicsPutBody", answered="Topic", access="admin")
def replace_topics(call: Call) -> Answer:
    names = [name.lower() for name in call.body["names"]]
    if len(names) > 20:
        raise invalid("A repository cannot have more than 20 topics.")
    if not all(_TOPIC.fullmatch(name) for name in names):
        raise invalid("Topics must start with a lowercase letter or number and have 50 characters or less.")
    call.repository.topics = list(dict.fromkeys(names))
    return get_topics(call)


@route(
    "PUT",
    "/{repo}/collaborators/{login}",
    body="ReposOwnerRepoCollaboratorsUsernamePutBody",
    answered="RepositoryInvitation",
    access="admin",
)
def add_collaborator(call: Call) -> Answer:
    repository, account = call.repository, call.peer.find_account(call.path["login"])
    owner = call.peer.accounts[repository.owner]
    if account.login == owner.login or account.kind == "Organization":
        raise custom("Repository", "Repository owner cannot be a collaborator")
    permission = _read_permission(call)
    if account.login in repository.collaborators or account.login in owner.members:
        repository.collaborators[account.login] = permission
        return Answer(204)
    number, _ = repository.invitations.get(account.login, (call.peer.next_id(), ""))
    repository.invitations[account.login] = (number, permission)
    return Answer(201, describe_invitation(call.peer, repository, account.login))


def _read_permission(call: Call) -> str:
    wanted = call.body.get("permission") or "push"
    if wanted not in _COLLABORATOR:
        raise invalid_field("Repository", "permission", f"{wanted} is no permission")
    return _COLLABORATOR[wanted]


@route("GET", "/orgs/{org}/teams/{slug}", answered="TeamFull")
def get_team(call: Call) -> Answer:
    organization = call.peer.find_account(call.path["org"])
    if call.path["slug"] not in organization.teams:
        raise not_found()
    return Answer(200, describe_full_team(call.peer, organization, call.path["slug"]))


@route("PUT", "/orgs/{org}/teams/{slug}/{repo}", body="OrgsOrgTeamsTeamSlugReposOwnerRepoPutBody", access="admin")
def add_to_team(call: Call) -> Answer:
    organization = call.peer.find_account(call.path["org"])
    if call.path["slug"] not in organization.teams:
        raise not_found()
    if organization.login != call.repository.owner:
        raise custom("Team", "Repository must be owned by the organization.")
    call.repository.teams[call.path["slug"]] = _read_permission(call)
    return Answer(204)


@route("GET", "/{repo}/properties/values", answered="CustomPropertyValue")
def list_properties(call: Call) -> Answer:
    _check_has_properties(call)
    return Answer(200, [{"property_name": name, "value": value} for name, value in call.repository.properties.items()])


@route(
    "PATCH",
    "/{repo}/properties/values",
    body="ReposOwnerRepoPropertiesValuesPatchBody",
    access="admin",
)
def update_properties(call: Call) -> Answer:
    _check_has_properties(call)
    given = {item["property_name"]: item["value"] for item in call.body["properties"]}
    check_properties(call, given)
    kept = call.repository.properties | given
    call.repository.properties = {name: value for name, value in kept.items() if value is not None}
    return Answer(204)


def _check_has_properties(call: Call) -> None:
    if call.peer.accounts[call.repository.owner].kind != "Organization":
        raise not_found()


def check_properties(call: Call, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name not in call.peer.custom_properties:
            raise invalid_field("CustomProperty", name, f"Property {name} does not exist", code="missing")
        allowed = call.peer.custom_properties[name]
        wanted = value if isinstance(value, list) else [value]
        if value is not None and allowed is not None and not set(wanted) <= set(allowed):
            raise invalid_field("CustomProperty", name, f"{value} is not an allowed value")
