"""Merge requests: listed, opened, changed and merged."""

from __future__ import annotations

from tests.github_peer import bare_git
from tests.gitlab_peer import attributes
from tests.gitlab_peer.documents import describe_merge_request, describe_status
from tests.gitlab_peer.refusals import RefusalError, conflict, invalid, not_found
from tests.gitlab_peer.routing import Answer, Call, route
from tests.gitlab_peer.state import DEVELOPER, MergeRequest


@route("GET", "/projects/{project}/merge_requests")
def list_merge_requests(call: Call) -> Answer:
    call.project.refresh()
    query = call.request.query
    unknown = query.keys() - {"state", "source_branch", "target_branch", "page", "per_page"}
    if unknown or query.get("state", "all") not in {"all", "opened", "closed", "locked", "merged"}:
        raise RefusalError(400, {"error": f"{sorted(unknown) or 'state'} does not have a valid value"})
    found = [
        one
        for one in sorted(call.project.merge_requests.values(), key=lambda one: -one.iid)
        if query.get("state", "all") in {"all", one.state}
        if query.get("source_branch") in {None, one.source_branch}
        if query.get("target_branch") in {None, one.target_branch}
    ]
    return call.answer_page(found, lambda one: describe_merge_request(call.peer, call.project, one))


@route("GET", "/projects/{project}/merge_requests/{iid}")
def get_merge_request(call: Call) -> Answer:
    one = _find(call)
    shown = describe_merge_request(call.peer, call.project, one)
    one.looks_left = max(0, one.looks_left - 1)
    return Answer(200, shown)


@route("POST", "/projects/{project}/merge_requests", body=attributes.CREATE_MERGE_REQUEST, level=DEVELOPER)
def create_merge_request(call: Call) -> Answer:
    project, body, branches = call.project, call.body, call.project.branches
    source, target = body["source_branch"], body["target_branch"]
    if source == target:
        raise invalid(branch_conflict="You can't use same project/branch for source and target")
    if missing := [name for name in (source, target) if name not in branches]:
        raise invalid(base=f"Branch {missing[0]!r} does not exist")
    for other in project.merge_requests.values():
        if (other.state, other.source_branch, other.target_branch) == ("opened", source, target):
            if other.source_project_id == project.id:
                raise conflict([f"Another open merge request already exists for this source branch: !{other.iid}"])
    _check_title(body["title"])
    one = MergeRequest(
        id=call.peer.next_id(),
        iid=len(project.merge_requests) + 1,
        title=body["title"],
        description=body.get("description") or "",
        source_branch=source,
        target_branch=target,
        source_project_id=project.id,
        author=call.username,
        sha=branches[source],
        squash=bool(body.get("squash")),
        remove_source_branch=bool(body.get("remove_source_branch")),
        looks_left=call.peer.looks_before_ready,
    )
    _change(call, one)
    project.merge_requests[one.iid] = one
    return Answer(201, describe_merge_request(call.peer, project, one))


@route("PUT", "/projects/{project}/merge_requests/{iid}", body=attributes.EDIT_MERGE_REQUEST, level=DEVELOPER)
def edit_merge_request(call: Call) -> Answer:
    one, body = _find(call), call.body
    if not body:
        raise RefusalError(400, {"error": "at least one parameter must be provided"})
    _check_title(body.get("title") or "x")
    one.title = body.get("title") or one.title
    one.description = body["description"] if body.get("description") is not None else one.description
    if body.get("state_event") == "close":
        one.state = "closed"
    if body.get("squash") is not None:
        one.squash = body["squash"]
    if body.get("remove_source_branch") is not None:
        one.remove_source_branch = body["remove_source_branch"]
    _change(call, one)
    return Answer(200, describe_merge_request(call.peer, call.project, one))


def _check_title(title: str) -> None:
    if len(title) > 255:
        raise invalid(title="is too long (maximum is 255 characters)")


def _change(call: Call, one: MergeRequest) -> None:
    """Set people and labels; a label that isn't there is made."""
    body, peer = call.body, call.peer
    # Without Premium, the first counts.
    count = None if peer.is_premium else 1
    if body.get("assignee_ids") is not None:
        one.assignees = [peer.find_username(number) for number in body["assignee_ids"]][:count]
    if body.get("reviewer_ids") is not None:
        one.reviewers = [peer.find_username(number) for number in body["reviewer_ids"]][:count]
    if body.get("labels") is not None:
        one.labels = body["labels"].split(",")
    if body.get("add_labels"):
        one.labels = list(dict.fromkeys([*one.labels, *body["add_labels"].split(",")]))
    for name in one.labels:
        made = {"id": peer.next_id(), "name": name, "color": "#6699cc", "description": None}
        call.project.labels.setdefault(name, made)


@route("PUT", "/projects/{project}/merge_requests/{iid}/merge", body=attributes.MERGE, level=DEVELOPER)
def merge(call: Call) -> Answer:
    one, project, body = _find(call), call.project, call.body
    waits = bool(body.get("auto_merge") or body.get("merge_when_pipeline_succeeds"))
    if body.get("sha") not in {None, one.sha}:
        raise conflict("SHA does not match HEAD of source branch")
    status = describe_status(one)
    if waits and status == "ci_still_running":
        one.merges_when_pipeline_succeeds = True
    elif status != "mergeable":
        raise RefusalError(405, {"message": "405 Method Not Allowed"})
    else:
        one.state = "merged"
        bare_git.run_git(project.directory, "update-ref", f"refs/heads/{one.target_branch}", one.sha)
        if one.remove_source_branch:
            bare_git.run_git(project.directory, "update-ref", "-d", f"refs/heads/{one.source_branch}")
    return Answer(200, describe_merge_request(call.peer, project, one))


def _find(call: Call) -> MergeRequest:
    call.project.refresh()
    iid = call.path["iid"]
    if not iid.isdecimal() or int(iid) not in call.project.merge_requests:
        raise not_found()
    return call.project.merge_requests[int(iid)]
