"""Pull requests at GitHub. Auto-merge and drafts are only in its GraphQL API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from scaffolder.errors import ExportRejectedError
from scaffolder.exports.change_request import ChangeRequest
from scaffolder.exports.github.host import GitHubHost
from scaffolder.exports.github.options import PullRequestOptions
from scaffolder.exports.host_api import HostApi
from scaffolder.exports.hosted import RemoteRepository, Setting

# What auto-merge says where all that is required is there, or nothing is.
_CLEAN: Final = re.compile(r"clean status", re.IGNORECASE)


class GitHubPullRequests:
    """Pull requests of one export. Implements `ChangeRequests`.

    `get_commit` returns the commit that was pushed for the request: no other is merged.
    """

    def __init__(self, host: GitHubHost, *, options: PullRequestOptions, get_commit: Callable[[], str | None]) -> None:
        self._host = host
        self._get_commit = get_commit
        self._api: HostApi = host.api
        self._options = options

    def find_request(self, repository: RemoteRepository, *, branch: str, base: str) -> ChangeRequest | None:
        """See `ChangeRequests`."""
        query = {"state": "open", "head": f"{self._host.owner}:{branch}", "base": base}
        found = self._api.request("GET", f"/repos/{repository.full_name}/pulls", query=query).data
        return _read(repository, found[0]) if found else None

    def create_request(
        self, repository: RemoteRepository, *, branch: str, base: str, title: str, body: str
    ) -> ChangeRequest:
        """See `ChangeRequests`."""
        values = {"title": title, "head": branch, "base": base, "body": body, "draft": self._options.draft}
        path = f"/repos/{repository.full_name}/pulls"
        answer = self._api.request("POST", path, body=values, accept=(422,))
        if answer.status != 422:
            return _read(repository, answer.data)
        found = self.find_request(repository, branch=branch, base=base)
        if found is None:
            raise ExportRejectedError(f"GitHub refuses a pull request from {branch!r}: {self._api.explain(answer)}")
        return found

    def list_settings(
        self, repository: RemoteRepository, change: ChangeRequest, *, title: str, body: str
    ) -> Sequence[Setting]:
        """See `ChangeRequests`."""
        options = self._options
        pulls = f"/repos/{repository.full_name}/pulls/{change.id}"
        # To GitHub, a pull request is an issue, too.
        issues = f"/repos/{repository.full_name}/issues/{change.id}"
        found: list[Setting] = []
        if (change.title, change.body) != (title, body):
            found.append(self._setting("text", "PATCH", pulls, {"title": title, "body": body}))
        if options.labels:
            found.append(self._setting("labels", "POST", f"{issues}/labels", {"labels": options.labels}))
        if options.assignees:
            found.append(self._setting("assignees", "POST", f"{issues}/assignees", {"assignees": options.assignees}))
        if options.reviewers or options.team_reviewers:
            reviewers = {"reviewers": options.reviewers, "team_reviewers": options.team_reviewers}
            found.append(self._setting("reviewers", "POST", f"{pulls}/requested_reviewers", reviewers))
        if change.is_draft != options.draft:
            found.append(Setting(name="draft", apply=lambda: self._set_draft(pulls, draft=options.draft)))
        if options.auto_merge is not None:
            found.append(Setting(name="auto-merge", apply=lambda: self._enable_auto_merge(pulls)))
        return found

    def _setting(self, name: str, method: str, path: str, body: Mapping[str, Any]) -> Setting:
        def apply() -> None:
            # These add to sets: the same again changes nothing, so a lost answer is asked for again.
            self._api.create(lambda: self._api.request(method, path, body=body), lambda: None)

        return Setting(name=name, apply=apply)

    def _set_draft(self, path: str, *, draft: bool) -> None:
        mutation = "convertPullRequestToDraft" if draft else "markPullRequestReadyForReview"
        if told := self._mutate(mutation, path, {}):
            raise ExportRejectedError(f"GitHub refuses {mutation}: {told}")

    def _enable_auto_merge(self, path: str) -> None:
        method = str(self._options.auto_merge)
        told = self._mutate("enablePullRequestAutoMerge", path, {"mergeMethod": method.upper()})
        if told and _CLEAN.search(told):
            # There is nothing to wait for. No other commit than ours is merged.
            body = {"merge_method": method, "sha": self._get_commit()}
            self._api.request("PUT", f"{path}/merge", body=body)
        elif told:
            raise ExportRejectedError(f"GitHub refuses auto-merge: {told}")

    def _mutate(self, mutation: str, path: str, values: Mapping[str, Any]) -> str | None:
        """Send a GraphQL mutation and return what GitHub has against it, None where it was done."""
        pull_request = self._api.request("GET", path).data
        kind = mutation[0].upper() + mutation[1:]
        query = f"mutation($input: {kind}Input!) {{ {mutation}(input: $input) {{ clientMutationId }} }}"
        body = {"query": query, "variables": {"input": {"pullRequestId": pull_request["node_id"], **values}}}
        answer = self._api.create(lambda: self._api.request("POST", "/graphql", body=body), lambda: None)
        return self._api.explain(answer) if answer.data.get("errors") else None


def _read(repository: RemoteRepository, data: Any) -> ChangeRequest:
    number = int(data["number"])
    return ChangeRequest(
        id=str(number),
        url=f"{repository.url}/pull/{number}",
        title=str(data["title"]),
        body=str(data.get("body") or ""),
        is_draft=bool(data.get("draft")),
    )
