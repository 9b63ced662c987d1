"""Projects at GitLab: made, found, archived and deleted. What is set up in them is in `settings`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

from scaffolder.errors import ExportConflictError, ExportRejectedError
from scaffolder.exports.contract import SecretReference
from scaffolder.exports.gitlab.options import GitLabOptions
from scaffolder.exports.gitlab.settings import ProjectSettings
from scaffolder.exports.gitlab.transport import GitLabConnection
from scaffolder.exports.host_api import HostApi
from scaffolder.exports.hosted import RemoteRepository, Setting
from scaffolder.generation.git_remote import GitRemote

log = logging.getLogger(__name__)

_DESCRIPTION_CHARACTERS: Final = 2000
_TAKEN: Final = "has already been taken"
_FULL_PATH: Final = re.compile(r"(?!(.*/)?\.{1,2}(/|\Z))[A-Za-z0-9_.][A-Za-z0-9_.-]*(/[A-Za-z0-9_.][A-Za-z0-9_.-]*)+")


class GitLabHost:
    """GitLab, for one export. Implements `RepositoryHost`.

    What GitLab does in the background is waited for up to `patience_seconds`.
    """

    def __init__(
        self,
        api: HostApi,
        connection: GitLabConnection,
        *,
        options: GitLabOptions,
        read_secret: Callable[[SecretReference], str],
        patience_seconds: float,
    ) -> None:
        self.api = api
        self.patience_seconds = patience_seconds
        self._connection = connection
        self._options = options
        self._read_secret = read_secret

    @cached_property
    def namespace(self) -> str:
        """The full path of the project's namespace: `namespace`, otherwise that of the connection's user."""
        if self._options.namespace is not None:
            return self._options.namespace
        return str(self.api.request("GET", "/user").data["username"])

    @cached_property
    def _namespace_id(self) -> int:
        answer = self.api.request("GET", f"/namespaces/{quote(self.namespace, safe='')}", accept=(404,))
        if answer.status == 404:
            raise ExportRejectedError(
                f"there is no namespace {self.namespace!r}, or the connection may not see it; accepted is the full "
                "path of a group in which it may create projects"
            )
        return int(answer.data["id"])

    def full_name(self, name: str) -> str:
        """See `RepositoryHost`."""
        return f"{self.namespace}/{name}"

    def create(self, name: str, *, marker: str) -> RemoteRepository | None:
        """See `RepositoryHost`. One request, and one for the id of a namespace that is named."""
        body = self._describe(name, marker=marker)
        if self._options.namespace is not None:
            body["namespace_id"] = self._namespace_id
        answer = self.api.request("POST", "/projects", body=body, accept=(400,))
        if answer.status != 400:
            return self._read(answer.data)
        taken = _find_taken(answer.data)
        if "path" in taken:
            return None
        if "name" in taken:
            raise ExportConflictError(
                f"another project in {self.namespace} is titled {name!r}, so {self.full_name(name)} cannot be made; "
                "accepted is another repository name"
            )
        raise ExportRejectedError(f"GitLab refuses to make {self.full_name(name)}: {self.api.explain(answer)}")

    def find(self, name: str) -> RemoteRepository | None:
        """See `RepositoryHost`."""
        full_name = self.full_name(name)
        # Moved projects are found by the names that they had before, or redirected to.
        answer = self.api.request("GET", f"/projects/{quote(full_name, safe='')}", accept=(301, 404))
        found = self._read(answer.data) if answer.status == 200 else None
        return found if found is not None and found.full_name.lower() == full_name.lower() else None

    def get(self, remote_id: str) -> RemoteRepository | None:
        """See `RepositoryHost`. A project that waits for its deletion is gone."""
        answer = self.api.request("GET", f"/projects/{remote_id}", accept=(404,))
        return None if answer.status == 404 or _is_being_deleted(answer.data) else self._read(answer.data)

    def list_settings(self, repository: RemoteRepository, *, branch: str) -> Sequence[Setting]:
        """See `RepositoryHost`."""
        settings = ProjectSettings(
            self.api,
            repository,
            options=self._options,
            branch=branch,
            connection=self._connection,
            read_secret=self._read_secret,
            patience_seconds=self.patience_seconds,
        )
        return settings.list()

    def set_archived(self, repository: RemoteRepository, *, archived: bool) -> None:
        """See `RepositoryHost`."""
        path = f"/projects/{repository.id}/{'archive' if archived else 'unarchive'}"
        # "This endpoint is idempotent": a lost answer is asked for again.
        self.api.create(lambda: self.api.request("POST", path), lambda: None)

    def delete(self, repository: RemoteRepository) -> None:
        """See `RepositoryHost`. The connection's account must own the project.

        GitLab keeps what is deleted for some days, under another name, in which its owners can restore it.
        """
        answer = self.api.request("DELETE", f"/projects/{repository.id}", accept=(400, 404))
        told = self.api.explain(answer)
        if answer.status == 400 and "marked for deletion" not in told:
            raise ExportRejectedError(f"GitLab refuses to delete {repository.full_name}: {told}")
        log.info("%s is deleted; GitLab may keep it for some days, in which it can be restored", repository.full_name)

    def get_git_remote(self) -> GitRemote:
        """See `RepositoryHost`."""
        return self._connection.get_git_remote()

    def find_user(self, username: str) -> int:
        """Return the id of a user. Raises ExportRejectedError."""
        found = self.api.request("GET", "/users", query={"username": username}).data
        if not found:
            raise ExportRejectedError(f"there is no user {username!r} at GitLab, or the connection may not see them")
        return int(found[0]["id"])

    def _describe(self, name: str, *, marker: str) -> dict[str, Any]:
        options = self._options
        mark = f" [{marker}]"
        ci, features = options.ci, options.features
        values = {
            "name": name,
            "path": name,
            "description": options.description[: _DESCRIPTION_CHARACTERS - len(mark)] + mark,
            "visibility": options.visibility,
            "topics": options.topics or None,
            "merge_method": options.merge_method,
            "squash_option": options.squash,
            "remove_source_branch_after_merge": options.remove_source_branch_after_merge,
            "only_allow_merge_if_pipeline_succeeds": options.only_allow_merge_if_pipeline_succeeds,
            "only_allow_merge_if_all_discussions_are_resolved": (
                options.only_allow_merge_if_all_discussions_are_resolved
            ),
            "ci_config_path": ci.config_path,
            "shared_runners_enabled": ci.shared_runners,
            "group_runners_enabled": ci.group_runners,
            "build_timeout": ci.timeout_seconds,
            "build_git_strategy": ci.git_strategy,
            "auto_cancel_pending_pipelines": ci.auto_cancel_pending_pipelines,
            "auto_devops_enabled": ci.auto_devops,
            "auto_devops_deploy_strategy": ci.auto_devops_deploy_strategy,
            "public_jobs": ci.public_jobs,
            "issues_access_level": features.issues,
            "wiki_access_level": features.wiki,
            "snippets_access_level": features.snippets,
            "merge_requests_access_level": features.merge_requests,
            "package_registry_access_level": features.packages,
            "container_registry_access_level": features.container_registry,
            "builds_access_level": features.ci,
        }
        return {key: value for key, value in values.items() if value is not None}

    def _read(self, data: Any) -> RemoteRepository:
        full_name = data.get("path_with_namespace") if isinstance(data, Mapping) else None
        if not isinstance(full_name, str) or not _FULL_PATH.fullmatch(full_name) or not isinstance(data["id"], int):
            raise ExportRejectedError(f"{self._connection.location} describes a project in a way that GitLab does not")
        # Made here, not taken from the answer: credentials go to the connection's own host.
        url = f"{self._connection.location}/{full_name}"
        return RemoteRepository(
            id=str(data["id"]),
            full_name=full_name,
            url=url,
            git_url=f"{url}.git",
            description=str(data.get("description") or ""),
            default_branch=data.get("default_branch"),
            is_archived=bool(data.get("archived")) or _is_being_deleted(data),
            uses=_describe_use(data),
        )


def _find_taken(data: Any) -> set[str]:
    """Return which of name and path another project has."""
    message = data.get("message") if isinstance(data, Mapping) else None
    if not isinstance(message, Mapping):
        return set()
    return {str(key).rpartition(".")[2] for key, told in message.items() if _TAKEN in str(told)}


def _is_being_deleted(data: Any) -> bool:
    # The second one until GitLab's API v5.
    return bool(data.get("marked_for_deletion_on") or data.get("marked_for_deletion_at"))


def _describe_use(data: Any) -> str:
    uses = {"open issues": data.get("open_issues_count"), "forks": data.get("forks_count")}
    told = [f"{count} {what}" for what, count in uses.items() if count]
    return f"it has {' and '.join(told)}" if told else ""
