"""Users, namespaces and projects: who is there, and what is made, edited, archived and deleted."""

from __future__ import annotations

import re

from tests.gitlab_peer.attributes import CREATE_PROJECT, EDIT_PROJECT
from tests.gitlab_peer.documents import describe_namespace, describe_project, describe_user
from tests.gitlab_peer.refusals import RefusalError, forbidden, invalid, malformed, not_found
from tests.gitlab_peer.routing import Answer, Call, route
from tests.gitlab_peer.state import DEVELOPER, MAINTAINER, OWNER, SETTINGS

_PATH = re.compile(r"[A-Za-z0-9_]+([._-][A-Za-z0-9_]+)*")
_OWN = {"name", "path", "namespace_id", "description", "visibility", "topics", "default_branch"}
_TAKEN = "has already been taken"


@route("GET", "/user")
def get_own_user(call: Call) -> Answer:
    return Answer(200, describe_user(call.peer, call.username) | {"email": f"{call.username}@example.org"})


@route("GET", "/users")
def list_users(call: Call) -> Answer:
    wanted = call.request.query.get("username", "").lower()
    found = [username for username in call.peer.users if username.lower() == wanted]
    return call.answer_page(found, lambda username: describe_user(call.peer, username))


@route("GET", "/namespaces/{namespace}")
def get_namespace(call: Call) -> Answer:
    return Answer(200, describe_namespace(call.peer, call.peer.find_namespace(call.path["namespace"])))


@route("GET", "/groups/{namespace}")
def get_group(call: Call) -> Answer:
    namespace = call.peer.find_namespace(call.path["namespace"])
    if namespace.kind != "group":
        raise not_found("Group")
    return Answer(200, describe_namespace(call.peer, namespace))


@route("POST", "/projects", body=CREATE_PROJECT)
def create_project(call: Call) -> Answer:
    peer, body = call.peer, call.body
    if not body.get("name") and not body.get("path"):
        raise malformed("name, path are missing, at least one parameter must be provided")
    namespace = peer.namespaces[call.username]
    if body.get("namespace_id") is not None:
        namespace = peer.find_namespace(str(body["namespace_id"]))
        if namespace.level is None or namespace.level < DEVELOPER:
            raise invalid(namespace="is not valid")
    if body.get("default_branch") and not body.get("initialize_with_readme"):
        raise invalid(default_branch="needs initialize_with_readme")
    path = body.get("path") or re.sub(r"[^a-z0-9]+", "-", body["name"].lower())
    name = body.get("name") or path
    if not _PATH.fullmatch(path) or path.endswith((".git", ".atom")):
        raise invalid(path="must not start or end with a special character and must not contain consecutive ones")
    _check_free(call, namespace.full_path, path=path, name=name)
    _check_description(body.get("description"))
    project = peer.create_project(f"{namespace.full_path}/{path}", commits=False, level=OWNER)
    project.name = name
    project.description = body.get("description")
    project.visibility = body.get("visibility") or "private"
    project.topics = list(body.get("topics") or [])
    project.settings |= {key: value for key, value in body.items() if key not in _OWN and value is not None}
    return Answer(201, describe_project(peer, project))


def _check_free(call: Call, namespace: str, *, path: str, name: str) -> None:
    there = [one for one in call.peer.projects if one.namespace == namespace]
    taken = [key for key in ("name", "path") if _is_taken(key, {"name": name, "path": path}[key], there)]
    if taken:
        raise RefusalError(
            400, {"message": {key: [_TAKEN] for one in taken for key in (f"project_namespace.{one}", one)}}
        )


def _is_taken(key: str, wanted: str, there: list[object]) -> bool:
    return any(str(getattr(one, key)).lower() == wanted.lower() for one in there)


def _check_description(text: str | None) -> None:
    if len(text or "") > 2000:
        raise invalid(description="is too long (maximum is 2000 characters)")


@route("GET", "/projects/{project}")
def get_project(call: Call) -> Answer:
    return Answer(200, describe_project(call.peer, call.project))


@route("PUT", "/projects/{project}", body=EDIT_PROJECT, level=MAINTAINER, works_archived=True)
def edit_project(call: Call) -> Answer:
    project, body = call.project, call.body
    if not body:
        raise malformed(f"{', '.join(sorted(EDIT_PROJECT))} are missing, at least one parameter must be provided")
    _check_description(body.get("description"))
    if body.get("default_branch"):
        if body["default_branch"] not in project.branches or call.peer.unseen_branches:
            call.peer.unseen_branches = max(0, call.peer.unseen_branches - 1)
            raise invalid(base=f"Could not change HEAD: branch '{body['default_branch']}' does not exist")
        project.default_branch = body["default_branch"]
        call.peer.note_first_push(project)
    if "description" in body:
        project.description = body["description"]
    if body.get("path"):
        call.peer.rename(project, body["path"])
    project.settings |= {key: value for key, value in body.items() if key in SETTINGS and value is not None}
    return Answer(200, describe_project(call.peer, project))


@route("POST", "/projects/{project}/archive", level=OWNER, works_archived=True)
def archive_project(call: Call) -> Answer:
    call.project.archived = True
    return Answer(201, describe_project(call.peer, call.project))


@route("POST", "/projects/{project}/unarchive", level=OWNER, works_archived=True)
def unarchive_project(call: Call) -> Answer:
    call.project.archived = False
    return Answer(201, describe_project(call.peer, call.project))


@route("DELETE", "/projects/{project}", level=MAINTAINER, works_archived=True)
def delete_project(call: Call) -> Answer:
    if call.project.level != OWNER:
        raise forbidden()
    if call.project.marked_for_deletion_on:
        raise RefusalError(400, {"message": "Project has been already marked for deletion"})
    if call.peer.deletes_at_once:
        call.peer.delete(call.project)
    else:
        call.peer.mark_for_deletion(call.project)
    return Answer(202, {"message": "202 Accepted"})
