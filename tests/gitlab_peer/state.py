"""What GitLab keeps: users, groups, projects, merge requests. Tests read it and may change it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.github_peer import bare_git

OWNER, MAINTAINER, DEVELOPER, REPORTER = 50, 40, 30, 20

SETTINGS: dict[str, Any] = {
    "merge_method": "merge",
    "squash_option": "default_off",
    "remove_source_branch_after_merge": True,
    "only_allow_merge_if_pipeline_succeeds": False,
    "only_allow_merge_if_all_discussions_are_resolved": False,
    "ci_config_path": "",
    "ci_default_git_depth": 20,
    "shared_runners_enabled": True,
    "group_runners_enabled": True,
    "build_timeout": 3600,
    "build_git_strategy": "fetch",
    "auto_cancel_pending_pipelines": "enabled",
    "auto_devops_enabled": False,
    "auto_devops_deploy_strategy": "continuous",
    "public_jobs": True,
}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass(kw_only=True)
class Namespace:
    """A user or a group; `level` is what the token's user may do in it, None where it sees nothing of it."""

    id: int
    full_path: str
    kind: str = "group"
    level: int | None = OWNER


@dataclass(kw_only=True)
class MergeRequest:
    id: int
    iid: int
    title: str
    description: str
    source_branch: str
    target_branch: str
    source_project_id: int
    author: str
    sha: str
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    squash: bool = False
    remove_source_branch: bool = False
    state: str = "opened"
    merges_when_pipeline_succeeds: bool = False
    #: How often it is asked for until GitLab has looked at it: it is preparing (3), not prepared (2), checking (1).
    looks_left: int = 0
    status: str = "mergeable"
    created_at: str = field(default_factory=now)

    @property
    def is_draft(self) -> bool:
        return self.title.lower().startswith(("draft:", "[draft]", "(draft)"))


@dataclass(kw_only=True)
class Project:
    """`level` is what the token's user may do in it, None where it doesn't see it."""

    id: int
    namespace: str
    path: str
    name: str
    directory: Path
    creator: str
    level: int | None = OWNER
    description: str | None = None
    visibility: str = "private"
    archived: bool = False
    marked_for_deletion_on: str | None = None
    default_branch: str = "main"
    topics: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    members: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[int, dict[str, Any]] = field(default_factory=dict)
    variables: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    hooks: dict[int, dict[str, Any]] = field(default_factory=dict)
    protection: dict[str, dict[str, Any]] = field(default_factory=dict)
    merge_requests: dict[int, MergeRequest] = field(default_factory=dict)
    open_issues: int = 0
    forks: int = 0
    created_at: str = field(default_factory=now)

    @property
    def full_path(self) -> str:
        return f"{self.namespace}/{self.path}"

    @property
    def branches(self) -> dict[str, str]:
        return bare_git.list_branches(self.directory)

    def refresh(self) -> None:
        """Let merge requests follow their branches, and the default branch be one that is there."""
        branches = self.branches
        for one in self.merge_requests.values():
            if one.state == "opened" and one.source_project_id == self.id and one.source_branch in branches:
                one.sha = branches[one.source_branch]
        if branches and self.default_branch not in branches:
            self.default_branch = "main" if "main" in branches else min(branches)
