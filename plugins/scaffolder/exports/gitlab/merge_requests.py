"""Merge requests at GitLab. All that one has is said when it is opened; later only what differs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from scaffolder.errors import ExportRejectedError, HostUnavailableError
from scaffolder.exports.change_request import ChangeRequest
from scaffolder.exports.gitlab.host import GitLabHost
from scaffolder.exports.gitlab.options import MergeRequestOptions
from scaffolder.exports.gitlab.polling import wait_until
from scaffolder.exports.host_api import HostApi
from scaffolder.exports.hosted import RemoteRepository, Setting

# https://docs.gitlab.com/user/project/merge_requests/drafts
_DRAFT = re.compile(r"^\s*(\[draft\]|\(draft\)|draft:)\s*", re.IGNORECASE)
# https://docs.gitlab.com/api/merge_requests: states of `detailed_merge_status` that pass by themselves within seconds
_UNDECIDED: Final = frozenset({"approvals_syncing", "checking", "preparing", "unchecked"})


class GitLabMergeRequests:
    """Merge requests of one export. Implements `ChangeRequests`.

    `get_commit` returns the commit that was pushed for the request: no other is merged.
    """

    def __init__(self, host: GitLabHost, *, options: MergeRequestOptions, get_commit: Callable[[], str | None]) -> None:
        self._host = host
        self._api: HostApi = host.api
        self._options = options
        self._get_commit = get_commit
        self._seen: dict[str, Any] = {}

    def find_request(self, repository: RemoteRepository, *, branch: str, base: str) -> ChangeRequest | None:
        """See `ChangeRequests`. Requests from forks are somebody else's, whatever their branch is called."""
        query = {"state": "opened", "source_branch": branch, "target_branch": base}
        for data in self._api.list(f"/projects/{repository.id}/merge_requests", query=query):
            if str(data["source_project_id"]) == repository.id:
                return self._read(repository, data)
        return None

    def create_request(
        self, repository: RemoteRepository, *, branch: str, base: str, title: str, body: str
    ) -> ChangeRequest:
        """See `ChangeRequests`."""
        options = self._options
        values = {
            "source_branch": branch,
            "target_branch": base,
            "title": options.mark_title(title),
            "description": body,
            "labels": ",".join(options.labels) or None,
            "assignee_ids": self._find_users(options.assignees) or None,
            "reviewer_ids": self._find_users(options.reviewers) or None,
            "squash": options.squash,
            "remove_source_branch": options.remove_source_branch,
        }
        given = {key: value for key, value in values.items() if value is not None}
        path = f"/projects/{repository.id}/merge_requests"
        answer = self._api.request("POST", path, body=given, accept=(409,))
        if answer.status != 409:
            return self._read(repository, answer.data)
        found = self.find_request(repository, branch=branch, base=base)
        if found is None:
            raise ExportRejectedError(f"GitLab says that a request from {branch!r} is open, and shows none")
        return found

    def list_settings(
        self, repository: RemoteRepository, change: ChangeRequest, *, title: str, body: str
    ) -> Sequence[Setting]:
        """See `ChangeRequests`. What people added to the request stays."""
        path = f"/projects/{repository.id}/merge_requests/{change.id}"
        found: list[Setting] = []
        if differs := self._compare(change, title=title, body=body):
            found.append(Setting(name="text", apply=lambda: self._update(path, differs)))
        if self._options.auto_merge and self._get_commit() is not None:
            found.append(Setting(name="auto-merge", apply=lambda: self._enable_auto_merge(path)))
        return found

    def _compare(self, change: ChangeRequest, *, title: str, body: str) -> dict[str, Any]:
        """Return the attributes to change; people stand in it by their names."""
        options, data = self._options, self._seen[change.id]
        differs: dict[str, Any] = {}
        if (change.title, change.is_draft) != (title, options.draft):
            differs["title"] = options.mark_title(title)
        if change.body != body:
            differs["description"] = body
        if missing := [label for label in options.labels if label not in data.get("labels", ())]:
            differs["add_labels"] = ",".join(missing)
        for key, wanted in (("assignees", options.assignees), ("reviewers", options.reviewers)):
            there = [str(user["username"]) for user in data.get(key) or ()]
            if set(wanted) - set(there):
                differs[key] = list(dict.fromkeys([*there, *wanted]))
        flags = {"squash": options.squash, "remove_source_branch": options.remove_source_branch}
        shown = {"squash": data.get("squash"), "remove_source_branch": data.get("force_remove_source_branch")}
        differs |= {key: flag for key, flag in flags.items() if flag is not None and bool(shown[key]) != flag}
        return differs

    def _update(self, path: str, differs: dict[str, Any]) -> None:
        people = {key: differs[key] for key in ("assignees", "reviewers") if key in differs}
        ids = {f"{key.removesuffix('s')}_ids": self._find_users(names) for key, names in people.items()}
        self._api.request("PUT", path, body={key: differs[key] for key in differs.keys() - people.keys()} | ids)

    def _find_users(self, usernames: Sequence[str]) -> list[int]:
        return [self._host.find_user(username) for username in usernames]

    def _enable_auto_merge(self, path: str) -> None:
        """Merge when the pipeline succeeds. What has no pipeline by the time GitLab has looked is merged at once."""
        commit = self._get_commit()
        latest: dict[str, Any] = {}

        def is_decided() -> bool:
            latest.update(self._api.request("GET", path).data)
            is_prepared = latest.get("prepared_at", "") is not None and latest["sha"] == commit
            return latest["state"] != "opened" or (is_prepared and latest["detailed_merge_status"] not in _UNDECIDED)

        def is_done() -> bool:
            return latest["state"] == "merged" or bool(latest.get("merge_when_pipeline_succeeds"))

        if not wait_until(is_decided, seconds=self._host.patience_seconds):
            raise HostUnavailableError(f"GitLab has not looked at the merge request {path} yet")
        if is_done():
            return
        body = {"auto_merge": True, "merge_when_pipeline_succeeds": True, "sha": commit}
        answer = self._api.request("PUT", f"{path}/merge", body=body, accept=(405, 409, 422))
        if answer.status >= 300 and not (is_decided() and is_done()):
            raise ExportRejectedError(
                f"GitLab does not merge {path}: it is {latest['state']}, {latest['detailed_merge_status']}. Check what "
                "the project asks of merge requests"
            )

    def _read(self, repository: RemoteRepository, data: Any) -> ChangeRequest:
        title, number = str(data["title"]), str(int(data["iid"]))
        self._seen[number] = data
        return ChangeRequest(
            id=number,
            url=f"{repository.url}/-/merge_requests/{number}",
            title=_DRAFT.sub("", title),
            body=str(data.get("description") or ""),
            is_draft=bool(data.get("draft")),
        )
