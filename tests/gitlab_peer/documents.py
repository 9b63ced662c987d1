"""What GitLab answers: what it keeps, as its pages show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.gitlab_peer.state import MergeRequest, Namespace, Project

if TYPE_CHECKING:
    from tests.gitlab_peer.peer import GitlabPeer


def describe_user(peer: GitlabPeer, username: str) -> dict[str, Any]:
    return {
        "id": peer.users[username],
        "username": username,
        "name": username.title(),
        "state": "active",
        "web_url": f"{peer.url}/{username}",
    }


def describe_namespace(peer: GitlabPeer, namespace: Namespace) -> dict[str, Any]:
    path = namespace.full_path.rpartition("/")[2]
    return {
        "id": namespace.id,
        "name": path.title(),
        "path": path,
        "kind": namespace.kind,
        "full_path": namespace.full_path,
        "parent_id": None,
        "web_url": f"{peer.url}/{namespace.full_path}",
    }


def describe_project(peer: GitlabPeer, project: Project) -> dict[str, Any]:
    project.refresh()
    url = f"{peer.url}/{project.full_path}"
    return {
        **project.settings,
        "id": project.id,
        "name": project.name,
        "path": project.path,
        "path_with_namespace": project.full_path,
        "description": project.description,
        "default_branch": project.default_branch,
        "empty_repo": not project.branches,
        "visibility": project.visibility,
        "topics": list(project.topics),
        "web_url": url,
        # Not where the credentials belong.
        "http_url_to_repo": f"http://internal.invalid/{project.full_path}.git",
        "ssh_url_to_repo": f"git@internal.invalid:{project.full_path}.git",
        "archived": project.archived,
        "marked_for_deletion_on": project.marked_for_deletion_on,
        "marked_for_deletion_at": project.marked_for_deletion_on,
        "open_issues_count": project.open_issues,
        "forks_count": project.forks,
        "star_count": 0,
        "created_at": project.created_at,
        "creator_id": peer.users.get(project.creator),
        "namespace": describe_namespace(peer, peer.namespaces[project.namespace]),
        "shared_with_groups": [
            {
                "group_id": number,
                "group_full_path": next(one.full_path for one in peer.namespaces.values() if one.id == number),
                "group_access_level": shared["group_access"],
                "expires_at": shared.get("expires_at"),
            }
            for number, shared in project.groups.items()
        ],
        "permissions": {"project_access": {"access_level": project.level}, "group_access": None},
    }


def describe_member(peer: GitlabPeer, username: str, member: dict[str, Any]) -> dict[str, Any]:
    return describe_user(peer, username) | {
        "access_level": member["access_level"],
        "expires_at": member.get("expires_at"),
    }


def describe_variable(variable: dict[str, Any]) -> dict[str, Any]:
    return variable | ({"value": None} if variable["hidden"] else {})


def describe_hook(hook: dict[str, Any], *, number: int) -> dict[str, Any]:
    return {"id": number, **{name: value for name, value in hook.items() if name != "token"}}


def describe_protection(peer: GitlabPeer, name: str, protection: dict[str, Any]) -> dict[str, Any]:
    names = {0: "No one", 30: "Developers + Maintainers", 40: "Maintainers", 60: "Administrator"}
    levels = {
        f"{what}_access_levels": [
            {"id": peer.next_id(), "access_level": level, "access_level_description": names[level]}
            for level in protection[what]
        ]
        for what in ("push", "merge", "unprotect")
        if what != "unprotect" or peer.is_premium
    }
    return {
        "id": protection["id"],
        "name": name,
        "allow_force_push": protection["allow_force_push"],
        "code_owner_approval_required": protection["code_owner_approval_required"],
        **levels,
    }


def describe_merge_request(peer: GitlabPeer, project: Project, one: MergeRequest) -> dict[str, Any]:
    return {
        "id": one.id,
        "iid": one.iid,
        "project_id": project.id,
        "source_project_id": one.source_project_id,
        "target_project_id": project.id,
        "title": one.title,
        "description": one.description,
        "state": one.state,
        "draft": one.is_draft,
        "source_branch": one.source_branch,
        "target_branch": one.target_branch,
        "sha": one.sha,
        "author": describe_user(peer, one.author),
        "labels": list(one.labels),
        "assignees": [describe_user(peer, username) for username in one.assignees],
        "reviewers": [describe_user(peer, username) for username in one.reviewers],
        "squash": one.squash,
        "force_remove_source_branch": one.remove_source_branch,
        "merge_when_pipeline_succeeds": one.merges_when_pipeline_succeeds,
        "detailed_merge_status": describe_status(one),
        "prepared_at": None if one.looks_left >= 2 else one.created_at,
        "created_at": one.created_at,
        # Not where people find it.
        "web_url": f"http://internal.invalid/{project.full_path}/-/merge_requests/{one.iid}",
    }


def describe_status(one: MergeRequest) -> str:
    if one.state != "opened":
        return "not_open"
    # What GitLab finds it mergeable at first may have no pipeline yet: that comes as it is prepared.
    if one.looks_left in {1, 3}:
        return "preparing" if one.looks_left == 3 else "checking"
    return "draft_status" if one.is_draft else one.status
