"""Repositories at GitHub: made, found, archived and deleted. What is set up in them is in `settings`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

from scaffolder.errors import ExportRejectedError
from scaffolder.exports.contract import SecretReference
from scaffolder.exports.github.options import GitHubOptions
from scaffolder.exports.github.settings import RepositorySettings
from scaffolder.exports.github.transport import GitHubConnection
from scaffolder.exports.host_api import HostApi
from scaffolder.exports.hosted import RemoteRepository, Setting
from scaffolder.generation.git_remote import GitRemote

_DESCRIPTION_CHARACTERS: Final = 350


class GitHubHost:
    """GitHub, for one export. Implements `RepositoryHost`."""

    def __init__(
        self,
        api: HostApi,
        connection: GitHubConnection,
        *,
        options: GitHubOptions,
        read_secret: Callable[[SecretReference], str],
    ) -> None:
        self.api = api
        self._connection = connection
        self._options = options
        self._read_secret = read_secret

    @cached_property
    def owner(self) -> str:
        """Who owns the repository: `owner`, otherwise the connection's user."""
        return self._options.owner or self._login

    @cached_property
    def _login(self) -> str:
        answer = self.api.request("GET", "/user", accept=(403,))
        if answer.status == 403:
            raise ExportRejectedError("the connection is a GitHub App, which owns nothing; accepted is an owner")
        return str(answer.data["login"])

    def full_name(self, name: str) -> str:
        """See `RepositoryHost`."""
        return f"{self.owner}/{name}"

    def create(self, name: str, *, marker: str) -> RemoteRepository | None:
        """See `RepositoryHost`. One request for an organisation."""
        body = self._describe(name, marker=marker)
        for_organisation = body | {"visibility": self._options.visibility}
        if self._options.custom_properties:
            for_organisation["custom_properties"] = self._options.custom_properties
        for_user = body | {"private": self._options.visibility != "public"}
        if self._options.owner is None:
            answer = self.api.request("POST", "/user/repos", body=for_user, accept=(422,))
        else:
            answer = self.api.request("POST", f"/orgs/{self.owner}/repos", body=for_organisation, accept=(404, 422))
            if answer.status == 404 and self._login.lower() == self.owner.lower():
                answer = self.api.request("POST", "/user/repos", body=for_user, accept=(422,))
        if answer.status == 404:
            raise ExportRejectedError(
                f"there is no organisation {self.owner!r} in which the connection may make a repository; accepted is "
                "one where it may, or the connection's own user"
            )
        if answer.status == 422:
            told = self.api.explain(answer)
            if "name already exists" in told:
                return None
            raise ExportRejectedError(f"GitHub refuses to make {self.full_name(name)}: {told}")
        return self._read(answer.data)

    def find(self, name: str) -> RemoteRepository | None:
        """See `RepositoryHost`."""
        found = self._get(f"/repos/{self.full_name(name)}")
        # GitHub forwards the names that repositories had before.
        return found if found is not None and found.full_name.lower() == self.full_name(name).lower() else None

    def get(self, remote_id: str) -> RemoteRepository | None:
        """See `RepositoryHost`."""
        return self._get(f"/repositories/{remote_id}")

    def list_settings(self, repository: RemoteRepository, *, branch: str) -> Sequence[Setting]:
        """See `RepositoryHost`."""
        settings = RepositorySettings(
            self.api,
            repository,
            options=self._options,
            owner=self.owner,
            branch=branch,
            read_secret=lambda reference: self._connection.hide(self._read_secret(reference)),
        )
        return settings.list()

    def set_archived(self, repository: RemoteRepository, *, archived: bool) -> None:
        """See `RepositoryHost`."""
        self.api.request("PATCH", f"/repos/{repository.full_name}", body={"archived": archived})

    def delete(self, repository: RemoteRepository) -> None:
        """See `RepositoryHost`. The connection needs the right to: ``delete_repo`` of classic tokens."""
        self.api.request("DELETE", f"/repos/{repository.full_name}", accept=(404,))

    def get_git_remote(self) -> GitRemote:
        """See `RepositoryHost`."""
        return self._connection.get_git_remote()

    def _describe(self, name: str, *, marker: str) -> dict[str, Any]:
        options = self._options
        mark = f" [{marker}]"
        merge = options.merge
        values = {
            "name": name,
            "description": options.description[: _DESCRIPTION_CHARACTERS - len(mark)] + mark,
            "homepage": options.homepage,
            "has_issues": options.features.issues,
            "has_wiki": options.features.wiki,
            "has_projects": options.features.projects,
            "is_template": options.is_template,
            "allow_merge_commit": merge.merge_commit,
            "allow_squash_merge": merge.squash,
            "allow_rebase_merge": merge.rebase,
            "allow_auto_merge": merge.auto_merge,
            "delete_branch_on_merge": options.delete_branch_on_merge,
        }
        return {key: value for key, value in values.items() if value is not None}

    def _get(self, path: str) -> RemoteRepository | None:
        answer = self.api.request("GET", path, accept=(404,))
        return None if answer.status == 404 else self._read(answer.data)

    def _read(self, data: Any) -> RemoteRepository:
        full_name = str(data["full_name"])
        return RemoteRepository(
            id=str(data["id"]),
            full_name=full_name,
            # Made here, not taken from the answer: credentials go to the connection's own host.
            url=f"{self._connection.web_url}/{full_name}",
            git_url=f"{self._connection.web_url}/{full_name}.git",
            description=str(data.get("description") or ""),
            default_branch=data.get("default_branch"),
            is_archived=bool(data.get("archived")),
            uses=_describe_use(data),
        )


def _describe_use(data: Any) -> str:
    uses = {"open issues or pull requests": data.get("open_issues_count"), "forks": data.get("forks_count")}
    return (
        "it has " + " and ".join(f"{count} {what}" for what, count in uses.items() if count)
        if any(uses.values())
        else ""
    )
