"""What is set up in a project: members, groups, variables, labels, webhooks and protected branches."""

from __future__ import annotations

import re
from typing import Any

from tests.gitlab_peer import attributes
from tests.gitlab_peer.documents import describe_hook, describe_member, describe_protection, describe_variable
from tests.gitlab_peer.refusals import RefusalError, conflict, invalid, malformed, not_found
from tests.gitlab_peer.routing import Answer, Call, route
from tests.gitlab_peer.state import MAINTAINER


@route("POST", "/projects/{project}/members", body=attributes.ADD_MEMBER, level=MAINTAINER)
def add_member(call: Call) -> Answer:
    body, project = call.body, call.project
    if (body.get("username") is None) == (body.get("user_id") is None):
        raise malformed("user_id, username are missing, exactly one parameter must be provided")
    username = body.get("username") or call.peer.find_username(body["user_id"])
    if username not in call.peer.users:
        raise not_found("User")
    if username in project.members:
        raise conflict("Member already exists")
    project.members[username] = {key: body.get(key) for key in ("access_level", "expires_at")}
    return Answer(201, describe_member(call.peer, username, project.members[username]))


@route("PUT", "/projects/{project}/members/{user}", body=attributes.EDIT_MEMBER, level=MAINTAINER)
def edit_member(call: Call) -> Answer:
    username = call.peer.find_username(int(call.path["user"]))
    if username not in call.project.members:
        raise not_found("Member")
    member = call.project.members[username]
    member |= call.body
    return Answer(200, describe_member(call.peer, username, member))


@route("POST", "/projects/{project}/share", body=attributes.SHARE, level=MAINTAINER)
def share_project(call: Call) -> Answer:
    group = call.peer.find_namespace(str(call.body["group_id"]))
    if group.kind != "group":
        raise not_found("Group")
    if group.id in call.project.groups:
        raise conflict("The group has already been taken")
    call.project.groups[group.id] = dict(call.body)
    return Answer(201, {"id": call.peer.next_id(), "project_id": call.project.id, **call.body})


@route("DELETE", "/projects/{project}/share/{group}", level=MAINTAINER)
def unshare_project(call: Call) -> Answer:
    if call.project.groups.pop(int(call.path["group"]), None) is None:
        raise not_found("Group Link")
    return Answer(204)


_MASKABLE = re.compile(r"[A-Za-z0-9_:@\-+.~=/!#$%^&*]{8,}")


@route("POST", "/projects/{project}/variables", body=attributes.CREATE_VARIABLE, level=MAINTAINER)
def create_variable(call: Call) -> Answer:
    body, variables = call.body, call.project.variables
    key = (body["key"], body.get("environment_scope") or "*")
    if not re.fullmatch(r"[A-Za-z0-9_]{1,255}", body["key"]):
        raise invalid(key="can contain only letters, digits and '_'.")
    if key in variables:
        raise invalid(key=f"({body['key']}) has already been taken")
    hidden = bool(body.get("masked_and_hidden"))
    variable = {
        "key": body["key"],
        "value": body["value"],
        "variable_type": body.get("variable_type") or "env_var",
        "protected": bool(body.get("protected")),
        "masked": hidden or bool(body.get("masked")),
        "hidden": hidden,
        "raw": bool(body.get("raw")),
        "environment_scope": key[1],
        "description": body.get("description"),
    }
    _check_masking(variable)
    variables[key] = variable
    return Answer(201, describe_variable(variable))


@route("PUT", "/projects/{project}/variables/{key}", body=attributes.EDIT_VARIABLE, level=MAINTAINER)
def edit_variable(call: Call) -> Answer:
    scope = call.request.query.get("filter[environment_scope]")
    found = [key for key in call.project.variables if key[0] == call.path["key"] and scope in {None, key[1]}]
    if not found:
        raise not_found("Variable")
    if len(found) > 1:
        raise conflict("There are multiple variables with provided parameters. Please use 'filter[environment_scope]'")
    variable = call.project.variables[found[0]]
    if variable["hidden"] and "masked" in call.body:
        raise invalid(masked="The visibility setting cannot be changed for masked and hidden variables.")
    changed = variable | call.body
    _check_masking(changed)
    del call.project.variables[found[0]]
    call.project.variables[changed["key"], changed["environment_scope"]] = changed
    return Answer(200, describe_variable(changed))


def _check_masking(variable: dict[str, Any]) -> None:
    if variable["masked"] and not _MASKABLE.fullmatch(variable["value"]):
        raise invalid(value="is invalid")


@route("POST", "/projects/{project}/labels", body=attributes.CREATE_LABEL)
def create_label(call: Call) -> Answer:
    body = call.body
    if body["name"] in call.project.labels:
        raise conflict("Label already exists")
    _check_color(body["color"])
    label = {"id": call.peer.next_id(), "name": body["name"], "color": body["color"]}
    call.project.labels[body["name"]] = label | {"description": body.get("description")}
    return Answer(201, call.project.labels[body["name"]])


@route("PUT", "/projects/{project}/labels/{name}", body=attributes.EDIT_LABEL)
def edit_label(call: Call) -> Answer:
    body, labels = call.body, call.project.labels
    if call.path["name"] not in labels:
        raise not_found("Label")
    if not body.get("new_name") and not body.get("color"):
        raise malformed("new_name, color, description are missing, at least one parameter must be provided")
    _check_color(body.get("color") or "#000000")
    label = labels[call.path["name"]]
    label |= {key: value for key, value in body.items() if key in {"color", "description"}}
    return Answer(200, label)


def _check_color(color: str) -> None:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        raise invalid(color="must be a valid color code")


@route("GET", "/projects/{project}/hooks", level=MAINTAINER)
def list_hooks(call: Call) -> Answer:
    return call.answer_page(list(call.project.hooks.items()), lambda one: describe_hook(one[1], number=one[0]))


@route("POST", "/projects/{project}/hooks", body=attributes.HOOK, level=MAINTAINER)
def create_hook(call: Call) -> Answer:
    number = call.peer.next_id()
    call.project.hooks[number] = {"push_events": True, **call.body}
    return Answer(201, describe_hook(call.project.hooks[number], number=number))


@route("PUT", "/projects/{project}/hooks/{number}", body=attributes.HOOK, level=MAINTAINER)
def edit_hook(call: Call) -> Answer:
    number = int(call.path["number"])
    if number not in call.project.hooks:
        raise not_found()
    call.project.hooks[number] |= call.body
    return Answer(200, describe_hook(call.project.hooks[number], number=number))


@route("GET", "/projects/{project}/protected_branches/{name}")
def get_protected_branch(call: Call) -> Answer:
    return _show_protection(call, _find_protected(call))


@route("POST", "/projects/{project}/protected_branches", body=attributes.PROTECT, level=MAINTAINER)
def protect_branch(call: Call) -> Answer:
    body, peer = call.body, call.peer
    if body["name"] in call.project.protection:
        raise conflict(f"Protected branch '{body['name']}' already exists")
    if not peer.is_premium and any(name.startswith("allowed_to_") for name in body):
        raise RefusalError(403, {"message": "403 Forbidden"})
    levels = {what: body.get(f"{what}_access_level") for what in ("push", "merge", "unprotect")}
    call.project.protection[body["name"]] = {
        "id": peer.next_id(),
        **{what: [MAINTAINER if level is None else level] for what, level in levels.items()},
        "allow_force_push": bool(body.get("allow_force_push")),
        "code_owner_approval_required": peer.is_premium and bool(body.get("code_owner_approval_required")),
    }
    return _show_protection(call, body["name"], status=201)


@route("PATCH", "/projects/{project}/protected_branches/{name}", body=attributes.EDIT_PROTECTION, level=MAINTAINER)
def edit_protected_branch(call: Call) -> Answer:
    name, body = _find_protected(call), call.body
    protection = call.project.protection[name]
    if body.get("allow_force_push") is not None:
        protection["allow_force_push"] = body["allow_force_push"]
    if body.get("code_owner_approval_required") is not None and call.peer.is_premium:
        protection["code_owner_approval_required"] = body["code_owner_approval_required"]
    return _show_protection(call, name)


@route("DELETE", "/projects/{project}/protected_branches/{name}", level=MAINTAINER)
def unprotect_branch(call: Call) -> Answer:
    del call.project.protection[_find_protected(call)]
    return Answer(204)


def _find_protected(call: Call) -> str:
    if call.path["name"] not in call.project.protection:
        raise not_found()
    return call.path["name"]


def _show_protection(call: Call, name: str, *, status: int = 200) -> Answer:
    return Answer(status, describe_protection(call.peer, name, call.project.protection[name]))
