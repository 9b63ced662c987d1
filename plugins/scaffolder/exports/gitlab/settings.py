"""What is set up in a new project at GitLab: each setting is one or few requests, and harmless when repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, get_args
from urllib.parse import quote

from scaffolder.errors import ExportRejectedError, HostUnavailableError
from scaffolder.exports.contract import SecretReference, label_url
from scaffolder.exports.gitlab.options import (
    LEVELS,
    GitLabOptions,
    Label,
    Member,
    ProtectedBranch,
    Variable,
    Webhook,
    WebhookEvent,
)
from scaffolder.exports.gitlab.polling import wait_until
from scaffolder.exports.gitlab.protection import BranchProtection
from scaffolder.exports.gitlab.transport import GitLabConnection
from scaffolder.exports.host_api import HostApi
from scaffolder.exports.hosted import RemoteRepository, Setting

_TAKEN: Final = "already been taken"


class ProjectSettings:
    """The settings of one project that `options` ask for. Its default branch will be `branch`."""

    def __init__(
        self,
        api: HostApi,
        repository: RemoteRepository,
        *,
        options: GitLabOptions,
        branch: str,
        connection: GitLabConnection,
        read_secret: Callable[[SecretReference], str],
        patience_seconds: float,
    ) -> None:
        self._api = api
        self._repository = repository
        self._path = f"/projects/{repository.id}"
        self._options = options
        self._branch = branch
        self._connection = connection
        self._read_secret = read_secret
        self._patience_seconds = patience_seconds

    def list(self) -> tuple[Setting, ...]:
        """Return them in order. What could lock us out comes last: protection."""
        options = self._options
        found = [Setting(name="metadata", apply=self._set_metadata)]
        # The first branch of an empty project becomes its default branch, unless GitLab has another in mind.
        if self._repository.default_branch not in {None, self._branch}:
            found.append(Setting(name="default branch", apply=self._set_default_branch))
        found += [_setting("label", one.name, self._set_label, one) for one in options.labels]
        found += [_setting("member", one.user, self._set_member, one) for one in options.members if one.user]
        found += [_setting("group", one.group, self._share, one) for one in options.members if one.group]
        found += [
            _setting("variable", f"{one.key} in {one.environment_scope}", self._set_variable, one)
            for one in options.variables
        ]
        found += [_setting("webhook", label_url(one.url), self._set_webhook, one) for one in options.webhooks]
        found += [_setting("protected branch", one.name, self._protect, one) for one in options.protected_branches]
        return tuple(found)

    def _set_metadata(self) -> None:
        body: dict[str, Any] = {"description": self._options.description}
        if self._options.ci.default_git_depth is not None:
            body["ci_default_git_depth"] = self._options.ci.default_git_depth
        self._api.request("PUT", self._path, body=body)

    def _set_default_branch(self) -> None:
        """Set it. GitLab looks at pushes in the background, and may not know the branch yet."""

        def is_set() -> bool:
            answer = self._api.request("PUT", self._path, body={"default_branch": self._branch}, accept=(400, 422))
            return answer.status < 300 and answer.data.get("default_branch") == self._branch

        if not wait_until(is_set, seconds=self._patience_seconds):
            raise HostUnavailableError(
                f"GitLab does not make {self._branch!r} the default branch of {self._repository.full_name} yet"
            )

    def _set_label(self, label: Label) -> None:
        values = {"color": f"#{label.color.lstrip('#').lower()}", "description": label.description}
        path = f"{self._path}/labels"
        self._create_or_update(
            path, {"name": label.name, **values}, taken=409, update=f"{path}/{_quote(label.name)}", values=values
        )

    def _set_member(self, member: Member) -> None:
        values = {"access_level": LEVELS[member.role], "expires_at": member.expires and member.expires.isoformat()}
        path = f"{self._path}/members"

        def update() -> bool:
            found = self._api.request("GET", "/users", query={"username": member.user}).data
            return bool(found) and self._update(f"{path}/{found[0]['id']}", values)

        self._create(path, {"username": member.user, **values}, taken=409, update=update)

    def _share(self, member: Member) -> None:
        group = self._api.request("GET", f"/groups/{_quote(str(member.group))}", query={"with_projects": "false"}).data
        level, expires = LEVELS[member.role], member.expires and member.expires.isoformat()
        path = f"{self._path}/share"

        def find() -> bool:
            shared = self._api.request("GET", self._path).data.get("shared_with_groups") or []
            for one in shared:
                if one["group_id"] == group["id"]:
                    if (one["group_access_level"], one.get("expires_at")) == (level, expires):
                        return True
                    # Nothing changes what a group may do but giving it anew.
                    self._api.request("DELETE", f"{path}/{group['id']}", accept=(404,))
            return False

        body = {"group_id": group["id"], "group_access": level, "expires_at": expires}
        answer = self._post(path, body, taken=409, find=find)
        if answer == 409 and not find():
            self._post(path, body, taken=None, find=find)

    def _set_variable(self, one: Variable) -> None:
        value = self._read(one.secret) if one.secret else str(one.value)
        values: dict[str, Any] = {
            "value": value,
            "protected": one.protected,
            "raw": one.raw,
            "variable_type": one.variable_type,
            "environment_scope": one.environment_scope,
        }
        # What is hidden is so from the beginning, and stays masked.
        masking = {"masked_and_hidden": True} if one.hidden else {"masked": one.masked}
        path = f"{self._path}/variables"
        self._create_or_update(
            path,
            {"key": one.key, **values, **masking},
            taken=400,
            update=f"{path}/{one.key}",
            values=values if one.hidden else values | masking,
            query={"filter[environment_scope]": one.environment_scope},
        )

    def _set_webhook(self, one: Webhook) -> None:
        body: dict[str, Any] = {
            "url": str(one.url),
            "enable_ssl_verification": one.verify_certificate,
            **{f"{event}_events": event in one.events for event in get_args(WebhookEvent)},
        }
        if one.branch_filter is not None:
            body["push_events_branch_filter"] = one.branch_filter
        if one.secret is not None:
            body["token"] = self._read(one.secret)
        path = f"{self._path}/hooks"

        def update() -> bool:
            hooks = [hook for hook in self._api.list(path) if hook["url"] == body["url"]]
            return bool(hooks) and self._update(f"{path}/{hooks[0]['id']}", body)

        # GitLab takes the same hook twice.
        if not update():
            self._create(path, body, taken=None, update=update)

    def _protect(self, one: ProtectedBranch) -> None:
        BranchProtection(self._api, self._repository, one).ensure()

    # Making what may be there

    def _create_or_update(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        taken: int,
        update: str,
        values: Mapping[str, Any],
        query: Mapping[str, Any] | None = None,
    ) -> None:
        self._create(path, body, taken=taken, update=lambda: self._update(update, values, query=query))

    def _create(self, path: str, body: Mapping[str, Any], *, taken: int | None, update: Callable[[], bool]) -> None:
        """Send a POST; where the thing is there (`taken` is the status), or the answer is lost, `update` it."""
        if self._post(path, body, taken=taken, find=update) == taken and not update():
            raise HostUnavailableError(f"POST {path}: it is there already, and then it is not")

    def _post(self, path: str, body: Mapping[str, Any], *, taken: int | None, find: Callable[[], bool]) -> int:
        """Return the status. Where the answer is lost, `find` says whether it was done."""

        def create() -> int:
            answer = self._api.request("POST", path, body=body, accept=() if taken is None else (taken,))
            if answer.status == 400 and _TAKEN not in self._api.explain(answer):
                raise ExportRejectedError(
                    f"POST {path} at {self._connection.account} was refused: 400 {self._api.explain(answer)}"
                )
            return answer.status

        return self._api.create(create, lambda: 201 if find() else None)

    def _update(self, path: str, values: Mapping[str, Any], *, query: Mapping[str, Any] | None = None) -> bool:
        """Send a PUT. Return False where there is nothing to update."""
        return self._api.request("PUT", path, body=values, query=query, accept=(404,)).status != 404

    def _read(self, secret: SecretReference) -> str:
        return self._connection.hide(self._read_secret(secret))


def _setting(kind: str, name: str, apply: Callable[[Any], None], value: Any) -> Setting:
    return Setting(name=f"{kind} {name}", apply=lambda: apply(value))


def _quote(text: str) -> str:
    return quote(text, safe="")
