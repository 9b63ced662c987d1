"""What protects a repository's branches, its labels and its webhooks."""

from __future__ import annotations

import re
from typing import Any

from tests.github_peer.documents import describe_hook, describe_label, describe_protection, describe_ruleset
from tests.github_peer.refusals import RefusalError, custom, invalid, invalid_field, not_found
from tests.github_peer.routing import Answer, Call, route

_UPGRADE = "Upgrade to GitHub Pro or make this repository public to enable this feature."


def check_plan(call: Call) -> None:
    if call.peer.has_free_plan and call.repository.private:
        raise RefusalError(403, _UPGRADE)


@route("GET", "/{repo}/branches/{branch}/protection", answered="BranchProtection", access="admin")
def get_protection(call: Call) -> Answer:
    check_plan(call)
    branch = _find_branch(call)
    if branch not in call.repository.protection:
        raise not_found("Branch not protected")
    return Answer(200, describe_protection(call.peer, call.repository, branch))


@route(
    "PUT",
    "/{repo}/branches/{branch}/protection",
    body="ReposOwnerRepoBranchesBranchProtectionPutBody",
    answered="ProtectedBranch",
    access="admin",
)
def protect_branch(call: Call) -> Answer:
    check_plan(call)
    branch, body, owner = _find_branch(call), call.body, call.peer.accounts[call.repository.owner]
    if restrictions := body["restrictions"]:
        if owner.kind != "Organization":
            raise invalid("Only organization repositories can have users and team restrictions")
        unknown = [login for login in restrictions["users"] if login not in call.peer.accounts]
        unknown += [slug for slug in restrictions["teams"] if slug not in owner.teams]
        if unknown:
            raise invalid(f"Could not resolve {', '.join(unknown)}")
    reviews = body["required_pull_request_reviews"] or {}
    if not 0 <= reviews.get("required_approving_review_count", 1) <= 6:
        raise invalid("required_approving_review_count must be between 0 and 6")
    call.repository.protection[branch] = body
    return Answer(200, describe_protection(call.peer, call.repository, branch))


def _find_branch(call: Call) -> str:
    if call.path["branch"] not in call.repository.branches:
        raise not_found("Branch not found")
    return call.path["branch"]


@route("GET", "/{repo}/rulesets", answered="RepositoryRuleset")
def list_rulesets(call: Call) -> Answer:
    check_plan(call)
    numbers = list(call.repository.rulesets)
    return call.answer_page(numbers, lambda number: describe_ruleset(call.repository, number, with_rules=False))


@route("GET", "/{repo}/rulesets/{number}", answered="RepositoryRuleset")
def get_ruleset(call: Call) -> Answer:
    return Answer(200, describe_ruleset(call.repository, _find_ruleset(call)))


@route("POST", "/{repo}/rulesets", body="ReposOwnerRepoRulesetsPostBody", answered="RepositoryRuleset", access="admin")
def create_ruleset(call: Call) -> Answer:
    check_plan(call)
    _check_ruleset_name(call)
    number = call.peer.next_id()
    call.repository.rulesets[number] = call.body
    return Answer(201, describe_ruleset(call.repository, number))


@route(
    "PUT",
    "/{repo}/rulesets/{number}",
    body="ReposOwnerRepoRulesetsRulesetIdPutBody",
    answered="RepositoryRuleset",
    access="admin",
)
def update_ruleset(call: Call) -> Answer:
    number = _find_ruleset(call)
    _check_ruleset_name(call, besides=number)
    call.repository.rulesets[number] |= call.body
    return Answer(200, describe_ruleset(call.repository, number))


def _find_ruleset(call: Call) -> int:
    number = call.path["number"]
    if not number.isdecimal() or int(number) not in call.repository.rulesets:
        raise not_found()
    return int(number)


def _check_ruleset_name(call: Call, *, besides: int | None = None) -> None:
    others = [ruleset["name"] for number, ruleset in call.repository.rulesets.items() if number != besides]
    if call.body.get("name") in others:
        raise invalid("Name must be unique")


@route("GET", "/{repo}/labels", answered="Label")
def list_labels(call: Call) -> Answer:
    labels = list(call.repository.labels.values())
    return call.answer_page(labels, lambda label: describe_label(call.peer, call.repository, label))


@route(
    "POST",
    "/{repo}/labels",
    body="ReposOwnerRepoLabelsPostBody",
    answered="Label",
    access="write",
    resource="Label",
)
def create_label(call: Call) -> Answer:
    body = call.body
    if body["name"].lower() in call.repository.labels:
        raise invalid_field("Label", "name", code="already_exists")
    _check_color(body.get("color"))
    label = call.peer.add_label(call.repository, body["name"], color=body.get("color") or "ededed")
    label["description"] = body.get("description")
    return Answer(201, describe_label(call.peer, call.repository, label))


@route(
    "PATCH",
    "/{repo}/labels/{name}",
    body="ReposOwnerRepoLabelsNamePatchBody",
    answered="Label",
    access="write",
    resource="Label",
)
def update_label(call: Call) -> Answer:
    labels, body, name = call.repository.labels, call.body, call.path["name"].lower()
    if name not in labels:
        raise not_found()
    _check_color(body.get("color"))
    renamed = body.get("new_name") or labels[name]["name"]
    if renamed.lower() != name and renamed.lower() in labels:
        raise invalid_field("Label", "name", code="already_exists")
    changes = {key: value for key, value in body.items() if key in {"color", "description"}}
    label = labels.pop(name) | changes | {"name": renamed}
    labels[renamed.lower()] = label
    return Answer(200, describe_label(call.peer, call.repository, label))


def _check_color(color: str | None) -> None:
    if color is not None and not re.fullmatch(r"[0-9a-fA-F]{6}", color):
        raise invalid_field("Label", "color")


@route("GET", "/{repo}/hooks", answered="Hook", access="admin")
def list_hooks(call: Call) -> Answer:
    numbers = list(call.repository.hooks)
    return call.answer_page(numbers, lambda number: describe_hook(call.peer, call.repository, number))


@route("POST", "/{repo}/hooks", body="ReposOwnerRepoHooksPostBody", answered="Hook", access="admin", resource="Hook")
def create_hook(call: Call) -> Answer:
    body = call.body
    if body.get("name", "web") != "web":
        raise invalid_field("Hook", "name")
    config = _check_config(body.get("config") or {})
    hook = {"name": "web", "active": body.get("active", True), "events": body.get("events") or ["push"]}
    for other in call.repository.hooks.values():
        if other["config"]["url"] == config["url"] and set(other["events"]) == set(hook["events"]):
            raise custom("Hook", "Hook already exists on this repository")
    number = call.peer.next_id()
    call.repository.hooks[number] = hook | {"config": config}
    return Answer(201, describe_hook(call.peer, call.repository, number))


@route(
    "PATCH",
    "/{repo}/hooks/{number}",
    body="ReposOwnerRepoHooksHookIdPatchBody",
    answered="Hook",
    access="admin",
    resource="Hook",
)
def update_hook(call: Call) -> Answer:
    number, body = int(call.path["number"]), call.body
    if number not in call.repository.hooks:
        raise not_found()
    hook = call.repository.hooks[number]
    if body.get("config") is not None:
        hook["config"] = _check_config(body["config"])
    events = set(body.get("events") or hook["events"]) | set(body.get("add_events") or [])
    hook["events"] = sorted(events - set(body.get("remove_events") or []))
    hook["active"] = body.get("active", hook["active"])
    return Answer(200, describe_hook(call.peer, call.repository, number))


def _check_config(config: dict[str, Any]) -> dict[str, Any]:
    if not re.match(r"https?://[^/]", config.get("url") or ""):
        raise invalid_field("Hook", "url", "url cannot be blank", code="custom")
    if config.get("content_type", "form") not in {"form", "json"}:
        raise invalid_field("Hook", "content_type")
    return {"content_type": "form", "insecure_ssl": "0"} | config
