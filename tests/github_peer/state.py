"""What GitHub keeps: accounts, repositories, environments, pull requests. Tests read it and may change it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from nacl.public import PrivateKey, SealedBox

from tests.github_peer import bare_git

PERMISSIONS = ("read", "triage", "write", "maintain", "admin")

SETTINGS: dict[str, Any] = {
    "homepage": None,
    "has_issues": True,
    "has_projects": True,
    "has_wiki": True,
    "has_discussions": False,
    "has_pull_requests": True,
    "pull_request_creation_policy": "all",
    "is_template": False,
    "allow_squash_merge": True,
    "allow_merge_commit": True,
    "allow_rebase_merge": True,
    "allow_auto_merge": False,
    "delete_branch_on_merge": False,
    "allow_update_branch": False,
    "squash_merge_commit_title": "COMMIT_OR_PR_TITLE",
    "squash_merge_commit_message": "COMMIT_MESSAGES",
    "merge_commit_title": "MERGE_MESSAGE",
    "merge_commit_message": "PR_TITLE",
    "allow_forking": False,
    "web_commit_signoff_required": False,
    "security_and_analysis": None,
}

#: GitHub gives every new repository these.
DEFAULT_LABELS = {
    "bug": "d73a4a",
    "documentation": "0075ca",
    "duplicate": "cfd3d7",
    "enhancement": "a2eeef",
    "good first issue": "7057ff",
    "help wanted": "008672",
    "invalid": "e4e669",
    "question": "d876e3",
    "wontfix": "ffffff",
}


def make_node_id(kind: str, number: int) -> str:
    return f"{kind}_" + base64.urlsafe_b64encode(f"{kind}:{number}".encode()).decode().rstrip("=")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(kw_only=True)
class Account:
    """A user, an organization or an app's bot. `is_hidden`: nobody here sees what it has."""

    id: int
    login: str
    kind: Literal["User", "Organization", "Bot"] = "User"
    members: set[str] = field(default_factory=set)
    teams: dict[str, int] = field(default_factory=dict)
    is_hidden: bool = False


@dataclass(kw_only=True)
class Token:
    """`repository_ids` limits a token of an installation."""

    login: str
    is_installation: bool = False
    repository_ids: frozenset[int] | None = None


@dataclass(kw_only=True)
class Vault:
    """Variables and secrets, which only the vault's key opens."""

    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    key: PrivateKey = field(default_factory=PrivateKey.generate, repr=False)
    key_id: str = "0"
    created_at: str = field(default_factory=now)

    def open_secret(self, name: str) -> str:
        return self.open_box(self.secrets[name])

    def open_box(self, sealed: str) -> str:
        return SealedBox(self.key).decrypt(base64.b64decode(sealed, validate=True)).decode()


@dataclass(kw_only=True)
class Environment(Vault):
    id: int
    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Pull:
    id: int
    number: int
    title: str
    body: str | None
    head: str
    base: str
    head_sha: str
    author: str
    draft: bool = False
    state: str = "open"
    merged: bool = False
    maintainer_can_modify: bool = False
    auto_merge: str | None = None
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    team_reviewers: list[str] = field(default_factory=list)
    created_at: str = field(default_factory=now)

    @property
    def node_id(self) -> str:
        return make_node_id("PR", self.id)


@dataclass(kw_only=True)
class Repository(Vault):
    """`permission` is what the token's user may do in it; labels, variables and secrets stand under their keys."""

    id: int
    owner: str
    name: str
    directory: Path
    permission: str | None = "admin"
    description: str | None = None
    private: bool = True
    archived: bool = False
    topics: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    collaborators: dict[str, str] = field(default_factory=dict)
    invitations: dict[str, tuple[int, str]] = field(default_factory=dict)
    teams: dict[str, str] = field(default_factory=dict)
    protection: dict[str, dict[str, Any]] = field(default_factory=dict)
    rulesets: dict[int, dict[str, Any]] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    hooks: dict[int, dict[str, Any]] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
    pushed_at: str = field(default_factory=now)
    _default_branch: str = "main"
    _refusal: str | None = None

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def visibility(self) -> str:
        return "private" if self.private else "public"

    @property
    def branches(self) -> dict[str, str]:
        return bare_git.list_branches(self.directory)

    @property
    def default_branch(self) -> str:
        """Where the default branch does not exist, the branch that was pushed becomes it."""
        branches = self.branches
        if branches and self._default_branch not in branches:
            self.default_branch = min(branches)
        return self._default_branch

    @default_branch.setter
    def default_branch(self, name: str) -> None:
        self._default_branch = name
        bare_git.run_git(self.directory, "symbolic-ref", "HEAD", f"refs/heads/{name}")

    @property
    def refuse_pushes(self) -> str | None:
        """Why a hook refuses every push."""
        return self._refusal

    @refuse_pushes.setter
    def refuse_pushes(self, reason: str | None) -> None:
        self._refusal = reason
        bare_git.refuse_pushes(self.directory, reason)

    def refresh_pulls(self) -> None:
        """Follow the branches: pull requests of a branch that is gone are closed, of one that is in its base merged."""
        waiting = [pull for pull in self.pulls.values() if pull.state == "open"]
        branches = self.branches if waiting else {}
        for pull in waiting:
            pull.head_sha = branches.get(pull.head, pull.head_sha)
            base = branches.get(pull.base)
            if base and bare_git.ask_git(self.directory, "merge-base", "--is-ancestor", pull.head_sha, base):
                pull.state, pull.merged = "closed", True
            elif pull.head not in branches or not base:
                pull.state = "closed"
