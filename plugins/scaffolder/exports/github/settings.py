"""What is set up in a new repository at GitHub: each setting is one or few requests, and harmless when repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from scaffolder.exports.contract import SecretReference, label_url
from scaffolder.exports.github.options import (
    BranchProtection,
    Collaborator,
    Environment,
    GitHubOptions,
    Label,
    Ruleset,
    Webhook,
)
from scaffolder.exports.host_api import HostApi
from scaffolder.exports.hosted import RemoteRepository, Setting


class RepositorySettings:
    """The settings of one repository that `options` ask for. Its default branch will be `branch`."""

    def __init__(
        self,
        api: HostApi,
        repository: RemoteRepository,
        *,
        options: GitHubOptions,
        owner: str,
        branch: str,
        read_secret: Callable[[SecretReference], str],
    ) -> None:
        self._api = api
        self._repository = repository
        self._path = f"/repos/{repository.full_name}"
        self._options = options
        self._owner = owner
        self._branch = branch
        self._read_secret = read_secret

    def list(self) -> tuple[Setting, ...]:
        """Return them in order. What could lock us out comes last: protection, then rulesets."""
        options = self._options
        found = [Setting(name="metadata", apply=self._set_metadata)]
        if options.topics:
            found.append(Setting(name="topics", apply=self._set_topics))
        found += [_setting("label", one.name, self._set_label, one) for one in options.labels]
        found += [
            _setting("collaborator", one.user or f"team {one.team}", self._set_collaborator, one)
            for one in options.collaborators
        ]
        found += [
            _setting("variable", name, self._set_variable, (name, value)) for name, value in options.variables.items()
        ]
        found += [_setting("secret", name, self._set_secret, (name, one)) for name, one in options.secrets.items()]
        found += [_setting("environment", one.name, self._set_environment, one) for one in options.environments]
        found += [_setting("webhook", label_url(one.url), self._set_webhook, one) for one in options.webhooks]
        if options.branch_protection is not None:
            found.append(_setting("branch protection", self._branch, self._protect, options.branch_protection))
        found += [_setting("ruleset", one.name, self._set_ruleset, one) for one in options.rulesets]
        return tuple(found)

    def _set_metadata(self) -> None:
        merge = self._options.merge
        values = {
            "description": self._options.description,
            "default_branch": self._branch if self._repository.default_branch != self._branch else None,
            "allow_update_branch": merge.update_branch,
            "squash_merge_commit_title": merge.squash_title,
            "squash_merge_commit_message": merge.squash_message,
        }
        body = {key: value for key, value in values.items() if value is not None}
        self._api.request("PATCH", self._path, body=body)

    def _set_topics(self) -> None:
        self._api.request("PUT", f"{self._path}/topics", body={"names": self._options.topics})

    def _set_label(self, label: Label) -> None:
        values = {"color": label.color.lower(), "description": label.description}
        path = f"{self._path}/labels/{_quote(label.name)}"
        self._ensure(
            lambda: self._api.request("PATCH", path, body=values, accept=(404,)).status != 404,
            f"{self._path}/labels",
            {"name": label.name, **values},
        )

    def _set_collaborator(self, one: Collaborator) -> None:
        path = (
            f"{self._path}/collaborators/{one.user}"
            if one.user
            else f"/orgs/{self._owner}/teams/{one.team}{self._path}"
        )
        self._api.request("PUT", path, body={"permission": one.role})

    def _set_variable(self, item: tuple[str, str], *, below: str = "/actions") -> None:
        name, value = item
        path = f"{self._path}{below}/variables"
        self._ensure(
            lambda: self._api.request("PATCH", f"{path}/{name}", body={"value": value}, accept=(404,)).status != 404,
            path,
            {"name": name, "value": value},
        )

    def _set_secret(self, item: tuple[str, SecretReference], *, below: str = "/actions") -> None:
        name, reference = item
        value = self._read_secret(reference)
        key = self._api.request("GET", f"{self._path}{below}/secrets/public-key").data
        body = {"encrypted_value": _seal(value, key["key"]), "key_id": key["key_id"]}
        self._api.request("PUT", f"{self._path}{below}/secrets/{name}", body=body)

    def _set_environment(self, one: Environment) -> None:
        body: dict[str, Any] = {
            "wait_timer": one.wait_minutes,
            "prevent_self_review": one.prevent_self_review,
            "reviewers": [self._find_reviewer(reviewer) for reviewer in one.reviewers] or None,
            "deployment_branch_policy": (
                {"protected_branches": True, "custom_branch_policies": False} if one.protected_branches_only else None
            ),
        }
        below = f"/environments/{_quote(one.name)}"
        self._api.request("PUT", f"{self._path}{below}", body=body)
        for variable in one.variables.items():
            self._set_variable(variable, below=below)
        for secret in one.secrets.items():
            self._set_secret(secret, below=below)

    def _find_reviewer(self, reviewer: Collaborator) -> dict[str, Any]:
        path = f"/users/{reviewer.user}" if reviewer.user else f"/orgs/{self._owner}/teams/{reviewer.team}"
        return {"type": "User" if reviewer.user else "Team", "id": self._api.request("GET", path).data["id"]}

    def _set_webhook(self, one: Webhook) -> None:
        config: dict[str, Any] = {"url": str(one.url), "content_type": one.content_type, "insecure_ssl": "0"}
        if one.secret is not None:
            config["secret"] = self._read_secret(one.secret)
        body = {"events": one.events, "active": one.active, "config": config}
        path = f"{self._path}/hooks"

        def update() -> bool:
            for hook in self._api.list(path):
                if hook["config"].get("url") == config["url"]:
                    self._api.request("PATCH", f"{path}/{hook['id']}", body=body)
                    return True
            return False

        self._ensure(update, path, {"name": "web", **body})

    def _protect(self, one: BranchProtection) -> None:
        self._api.request("PUT", f"{self._path}/branches/{_quote(self._branch)}/protection", body=_describe(one))

    def _set_ruleset(self, one: Ruleset) -> None:
        body = one.model_dump(exclude_none=True)
        path = f"{self._path}/rulesets"

        def update() -> bool:
            for found in self._api.list(path, query={"includes_parents": "false"}):
                if found["name"] == one.name:
                    self._api.request("PUT", f"{path}/{found['id']}", body=body)
                    return True
            return False

        self._ensure(update, path, body)

    def _ensure(self, update: Callable[[], bool], path: str, body: Mapping[str, Any]) -> None:
        """Let `update` change what is there, or make it; `update` also tells whether a lost answer has made it."""
        if not update():
            self._api.create(lambda: bool(self._api.request("POST", path, body=body)), lambda: update() or None)


def _setting(kind: str, name: str, apply: Callable[[Any], None], value: Any) -> Setting:
    return Setting(name=f"{kind} {name}", apply=lambda: apply(value))


def _describe(one: BranchProtection) -> dict[str, Any]:
    reviews = {
        "required_approving_review_count": one.required_approvals or 0,
        "dismiss_stale_reviews": one.dismiss_stale_reviews,
        "require_code_owner_reviews": one.require_code_owner_reviews,
        "require_last_push_approval": one.require_last_push_approval,
    }
    wants_reviews = one.required_approvals is not None or any(list(reviews.values())[1:])
    return {
        "required_status_checks": (
            {"strict": one.strict_status_checks, "contexts": one.status_checks}
            if one.status_checks is not None
            else None
        ),
        "enforce_admins": one.enforce_admins,
        "required_pull_request_reviews": reviews if wants_reviews else None,
        "restrictions": one.restrictions.model_dump() if one.restrictions is not None else None,
        "required_linear_history": one.linear_history,
        "required_conversation_resolution": one.conversation_resolution,
        "allow_force_pushes": one.allow_force_pushes,
        "allow_deletions": one.allow_deletions,
    }


def _seal(value: str, key: str) -> str:
    """Return `value` encrypted for the holder of `key` (both base64 outside): libsodium's sealed box."""
    import base64

    from nacl.public import PublicKey, SealedBox

    sealed = SealedBox(PublicKey(base64.b64decode(key))).encrypt(value.encode())
    return base64.b64encode(sealed).decode()


def _quote(text: str) -> str:
    return quote(text, safe="")
