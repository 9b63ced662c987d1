"""The few mutations of pull requests that only GraphQL has, known by their names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.github_peer.refusals import RefusalError
from tests.github_peer.routing import Answer, Call, route
from tests.github_peer.state import Pull, Repository

_METHODS = {"MERGE": "allow_merge_commit", "SQUASH": "allow_squash_merge", "REBASE": "allow_rebase_merge"}
_ARCHIVED = "Repository was archived so is read-only."


@route("POST", "/graphql")
def mutate(call: Call) -> Answer:
    try:
        query = json.loads(call.request.content)
    except ValueError:
        raise RefusalError(400, "Problems parsing JSON") from None
    found = re.search(rf"\b({'|'.join(_MUTATIONS)})\s*\(", query["query"])
    wanted = (query.get("variables") or {}).get("input")
    if not found or not isinstance(wanted, dict):
        call.peer.flaws.append(f"GraphQL that the peer doesn't know: {query['query']}")
        return Answer(200, {"errors": [{"message": "the peer doesn't know this mutation, or it has no $input"}]})
    name = found[1]
    repository, pull = _find_node(call, wanted.get("pullRequestId"))
    if repository is None or pull is None:
        message = f"Could not resolve to a node with the global id of '{wanted.get('pullRequestId')}'"
        return _refuse_mutation(name, "NOT_FOUND", message)
    reason = _ARCHIVED if repository.archived else _MUTATIONS[name](call, repository, pull, wanted)
    if reason:
        return _refuse_mutation(name, "UNPROCESSABLE", reason)
    merging = {"mergeMethod": pull.auto_merge} if pull.auto_merge else None
    shown = {
        "id": pull.node_id,
        "number": pull.number,
        "isDraft": pull.draft,
        "url": f"{call.peer.url}/{repository.full_name}/pull/{pull.number}",
        "autoMergeRequest": merging,
    }
    actor = {"login": call.token.login}
    result = {"clientMutationId": wanted.get("clientMutationId"), "pullRequest": shown, "actor": actor}
    return Answer(200, {"data": {name: result}})


def _refuse_mutation(name: str, kind: str, message: str) -> Answer:
    error = {"type": kind, "path": [name], "locations": [{"line": 1, "column": 1}], "message": message}
    return Answer(200, {"data": {name: None}, "errors": [error]})


def _find_node(call: Call, node_id: str | None) -> tuple[Repository | None, Pull | None]:
    for repository in call.peer.repositories:
        for pull in repository.pulls.values():
            if pull.node_id == node_id and call.peer.find_permission(call.token, repository):
                repository.refresh_pulls()
                return repository, pull
    return None, None


def _enable_auto_merge(call: Call, repository: Repository, pull: Pull, wanted: dict[str, Any]) -> str | None:
    method = wanted.get("mergeMethod") or "MERGE"
    if not repository.settings["allow_auto_merge"]:
        return "Auto merge is not allowed for this repository"
    if pull.state != "open":
        return "Pull request is closed"
    if method not in _METHODS or not repository.settings[_METHODS[method]]:
        return f"Merge method {method.lower()} is not allowed on this repository"
    if call.peer.refuses_clean_auto_merge and not _has_something_to_wait_for(repository, pull):
        return "Pull request Pull request is in clean status"
    pull.auto_merge = method
    return None


def _has_something_to_wait_for(repository: Repository, pull: Pull) -> bool:
    protection = repository.protection.get(pull.base, {})
    waits = protection.get("required_status_checks") or protection.get("required_pull_request_reviews")
    rulesets = repository.rulesets.values()
    return bool(waits) or any(ruleset["enforcement"] == "active" and ruleset.get("rules") for ruleset in rulesets)


def _mark_draft(draft: bool) -> Callable[..., str | None]:
    def mark(_call: Call, _repository: Repository, pull: Pull, _wanted: dict[str, Any]) -> str | None:
        if pull.state != "open":
            return "Pull request is closed"
        pull.draft = draft
        return None

    return mark


_MUTATIONS: dict[str, Callable[[Call, Repository, Pull, dict[str, Any]], str | None]] = {
    "enablePullRequestAutoMerge": _enable_auto_merge,
    "markPullRequestReadyForReview": _mark_draft(draft=False),
    "convertPullRequestToDraft": _mark_draft(draft=True),
}
