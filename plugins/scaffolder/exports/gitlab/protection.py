"""Protected branches at GitLab, which protects the default branch by itself, at some moment after the first push."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from scaffolder.errors import ExportRejectedError, HostUnavailableError
from scaffolder.exports.gitlab.options import LEVELS, ProtectedBranch
from scaffolder.exports.host_api import HostApi
from scaffolder.exports.hosted import RemoteRepository


class BranchProtection:
    """The protection of a branch, or of those that a wildcard fits, in one project."""

    def __init__(self, api: HostApi, repository: RemoteRepository, wanted: ProtectedBranch) -> None:
        self._api = api
        self._repository = repository
        self._name = wanted.name
        self._path = f"/projects/{repository.id}/protected_branches"
        self._levels = {"push": LEVELS[wanted.push], "merge": LEVELS[wanted.merge]}
        if wanted.unprotect is not None:
            self._levels["unprotect"] = LEVELS[wanted.unprotect]
        self._flags = {
            "allow_force_push": wanted.allow_force_push,
            "code_owner_approval_required": wanted.code_owner_approval,
        }

    def ensure(self) -> None:
        """Find it, or make it so. Raises as `HostApi.request` does."""
        # Twice, where GitLab's own protection comes in between.
        for _ in range(2):
            if self._find() or self._api.create(self._create, lambda: self._find() or None):
                return
        raise HostUnavailableError(f"the protection of {self._name!r} in {self._repository.full_name} keeps changing")

    def _find(self) -> bool:
        """Return whether the branch is protected in this way now. What would be in the way goes."""
        single = f"{self._path}/{quote(self._name, safe='')}"
        answer = self._api.request("GET", single, accept=(404,))
        if answer.status == 404:
            return False
        if any(not _has_level(answer.data, what, level) for what, level in self._levels.items()):
            # Without GitLab Premium, roles change only by protecting the branch anew.
            self._api.request("DELETE", single, accept=(404,))
            return False
        if any(bool(answer.data.get(flag)) != wanted for flag, wanted in self._flags.items()):
            self._check(self._api.request("PATCH", single, body=self._flags).data)
        return True

    def _create(self) -> bool:
        """Return False where GitLab was faster."""
        roles = {f"{what}_access_level": level for what, level in self._levels.items()}
        body = {"name": self._name, **roles, **self._flags}
        answer = self._api.request("POST", self._path, body=body, accept=(409,))
        if answer.status == 409:
            return False
        self._check(answer.data)
        return True

    def _check(self, data: Any) -> None:
        if self._flags["code_owner_approval_required"] and not data.get("code_owner_approval_required"):
            raise ExportRejectedError(
                f"GitLab does not ask code owners before pushes to {self._name!r}: that needs GitLab Premium; accepted "
                "is code_owner_approval: false"
            )


def _has_level(data: Any, what: str, level: int) -> bool:
    """Say whether exactly the role `level` may do `what`. GitLab may not tell who may unprotect."""
    levels = data.get(f"{what}_access_levels")
    if levels is None:
        return what == "unprotect"
    return [one.get("access_level") for one in levels] == [level]
