"""Pull requests, and the issues that they are, over REST."""

from __future__ import annotations

from tests.github_peer import bare_git
from tests.github_peer.documents import describe_issue, describe_label, describe_pull
from tests.github_peer.refusals import RefusalError, custom, invalid_field, not_found
from tests.github_peer.routing import Answer, Call, route
from tests.github_peer.settings import check_plan
from tests.github_peer.state import Pull, Repository


def _find_pull(call: Call) -> Pull:
    call.repository.refresh_pulls()
    number = call.path["number"]
    if not number.isdecimal() or int(number) not in call.repository.pulls:
        raise not_found()
    return call.repository.pulls[int(number)]


@route("GET", "/{repo}/pulls", answered="PullRequestSimple")
def list_pulls(call: Call) -> Answer:
    call.repository.refresh_pulls()
    query, owner = call.request.query, call.repository.owner
    state, head, base = query.get("state", "open"), query.get("head", ""), query.get("base")
    if state not in {"open", "closed", "all"}:
        raise invalid_field("PullRequest", "state")
    found = [
        pull
        for pull in sorted(call.repository.pulls.values(), key=lambda pull: -pull.number)
        # GitHub overlooks a head without an owner.
        if state in {"all", pull.state} and (":" not in head or head.lower() == f"{owner}:{pull.head}".lower())
        if base in {None, pull.base}
    ]
    return call.answer_page(found, lambda pull: describe_pull(call.peer, call.repository, pull, is_full=False))


@route("GET", "/{repo}/pulls/{number}", answered="PullRequest")
def get_pull(call: Call) -> Answer:
    return Answer(200, describe_pull(call.peer, call.repository, _find_pull(call)))


@route(
    "POST",
    "/{repo}/pulls",
    body="ReposOwnerRepoPullsPostBody",
    answered="PullRequest",
    access="write",
    resource="PullRequest",
)
def create_pull(call: Call) -> Answer:
    repository, body = call.repository, call.body
    repository.refresh_pulls()
    owner, _, head = body["head"].rpartition(":")
    if not body.get("title"):
        raise invalid_field("PullRequest", "title", code="missing_field")
    if body.get("draft"):
        check_plan(call)
    if owner.lower() not in {"", repository.owner.lower()}:
        raise invalid_field("PullRequest", "head")
    head_sha = _check_ends(repository, head, body["base"])
    _check_is_only(repository, head, body["base"])
    pull = Pull(
        id=call.peer.next_id(),
        number=len(repository.pulls) + 1,
        title=body["title"],
        body=body.get("body"),
        head=head,
        base=body["base"],
        head_sha=head_sha,
        author=call.token.login,
        draft=bool(body.get("draft")),
        maintainer_can_modify=False,
    )
    repository.pulls[pull.number] = pull
    return Answer(201, describe_pull(call.peer, repository, pull))


def _check_ends(repository: Repository, head: str, base: str) -> str:
    """Return the head's commit, which has to have commits that the base doesn't have."""
    branches = repository.branches
    for field, branch in (("head", head), ("base", base)):
        if branch not in branches:
            raise invalid_field("PullRequest", field)
    if not bare_git.ask_git(repository.directory, "merge-base", branches[head], branches[base]):
        raise custom("PullRequest", f"The {head} branch has no history in common with {base}")
    if bare_git.ask_git(repository.directory, "merge-base", "--is-ancestor", branches[head], branches[base]):
        raise custom("PullRequest", f"No commits between {base} and {head}")
    return branches[head]


def _check_is_only(repository: Repository, head: str, base: str, *, besides: Pull | None = None) -> None:
    for pull in repository.pulls.values():
        if pull is not besides and pull.state == "open" and (pull.head, pull.base) == (head, base):
            raise custom("PullRequest", f"A pull request already exists for {repository.owner}:{head}.")


@route(
    "PATCH",
    "/{repo}/pulls/{number}",
    body="ReposOwnerRepoPullsPullNumberPatchBody",
    answered="PullRequest",
    access="write",
    resource="PullRequest",
)
def update_pull(call: Call) -> Answer:
    repository, body, pull = call.repository, call.body, _find_pull(call)
    state, base = body.get("state") or pull.state, body.get("base") or pull.base
    if state == "open" and (state, base) != (pull.state, pull.base):
        if pull.merged:
            raise invalid_field("PullRequest", "state", "state cannot be changed. The pull request is merged.")
        _check_ends(repository, pull.head, base)
        _check_is_only(repository, pull.head, base, besides=pull)
    pull.state, pull.base = state, base
    pull.title = body.get("title") or pull.title
    pull.body = body.get("body", pull.body)
    if body.get("maintainer_can_modify") is not None:
        pull.maintainer_can_modify = body["maintainer_can_modify"]
    return Answer(200, describe_pull(call.peer, repository, pull))


_REVIEWERS = "ReposOwnerRepoPullsPullNumberRequestedReviewersPostBodyAnyof"


@route(
    "PUT",
    "/{repo}/pulls/{number}/merge",
    body="ReposOwnerRepoPullsPullNumberMergePutBody",
    answered="PullRequestMergeResult",
    access="write",
    resource="PullRequest",
)
def merge_pull(call: Call) -> Answer:
    pull = _find_pull(call)
    if pull.state != "open":
        raise RefusalError(405, "Pull Request is not mergeable")
    if call.body.get("sha") not in {None, pull.head_sha}:
        raise RefusalError(409, "Head branch was modified. Review and try the merge again.")
    bare_git.run_git(call.repository.directory, "update-ref", f"refs/heads/{pull.base}", pull.head_sha)
    pull.state, pull.merged = "closed", True
    return Answer(200, {"sha": pull.head_sha, "merged": True, "message": "Pull Request successfully merged"})


@route(
    "POST",
    "/{repo}/pulls/{number}/requested_reviewers",
    body=(f"{_REVIEWERS}0", f"{_REVIEWERS}1"),
    answered="PullRequestSimple",
    access="write",
    resource="PullRequest",
)
def request_reviewers(call: Call) -> Answer:
    repository, pull = call.repository, _find_pull(call)
    people, teams = call.body.get("reviewers") or [], call.body.get("team_reviewers") or []
    members = call.peer.accounts[repository.owner].members | set(repository.collaborators)
    if pull.author in people:
        raise RefusalError(422, "Review cannot be requested from pull request author.")
    if not set(people) <= members or not set(teams) <= set(repository.teams):
        message = (
            "Reviews may only be requested from collaborators. One or more of the users or teams you specified is not "
            f"a collaborator of the {repository.full_name} repository."
        )
        raise RefusalError(422, message)
    pull.reviewers = list(dict.fromkeys([*pull.reviewers, *people]))
    pull.team_reviewers = list(dict.fromkeys([*pull.team_reviewers, *teams]))
    return Answer(201, describe_pull(call.peer, repository, pull, is_full=False))


@route(
    "POST",
    "/{repo}/issues/{number}/labels",
    body=(
        "ReposOwnerRepoIssuesIssueNumberLabelsPostBodyOneof0",
        "list[str]",
        "list[ReposOwnerRepoIssuesIssueNumberLabelsPostBodyOneof2Items]",
    ),
    answered="Label",
    access="write",
    resource="Label",
)
def add_labels(call: Call) -> Answer:
    repository, pull = call.repository, _find_pull(call)
    given = call.body if isinstance(call.body, list) else call.body.get("labels") or []
    for item in given:
        name = item if isinstance(item, str) else item["name"]
        # A label that isn't there is made.
        label = repository.labels.get(name.lower()) or call.peer.add_label(repository, name)
        if label["name"] not in pull.labels:
            pull.labels.append(label["name"])
    labels = [repository.labels[name.lower()] for name in pull.labels]
    return Answer(200, [describe_label(call.peer, repository, label) for label in labels])


@route(
    "POST",
    "/{repo}/issues/{number}/assignees",
    body="ReposOwnerRepoIssuesIssueNumberAssigneesPostBody",
    answered="Issue",
    access="write",
    resource="Issue",
)
def add_assignees(call: Call) -> Answer:
    repository, pull = call.repository, _find_pull(call)
    members = call.peer.accounts[repository.owner].members | set(repository.collaborators) | {repository.owner}
    # GitHub leaves out in silence who can't be assigned.
    wanted = [login for login in call.body.get("assignees") or [] if login in members]
    pull.assignees = list(dict.fromkeys([*pull.assignees, *wanted]))
    return Answer(201, describe_issue(call.peer, repository, pull))
