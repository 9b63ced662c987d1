"""Which function answers which request, and who may ask it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from tests.gitlab_peer.attributes import NOTHING, Attributes, check_body
from tests.gitlab_peer.refusals import RefusalError, forbidden, malformed, not_found
from tests.gitlab_peer.state import REPORTER, Project

if TYPE_CHECKING:
    from tests.github_peer.traffic import Request
    from tests.gitlab_peer.peer import GitlabPeer

Item = TypeVar("Item")


@dataclass(frozen=True)
class Answer:
    status: int
    data: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Call:
    """A request that is allowed, with what its path names and a body that GitLab's pages know."""

    peer: GitlabPeer
    request: Request
    username: str
    path: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)
    found: Project | None = None

    @property
    def project(self) -> Project:
        assert self.found is not None
        return self.found

    def answer_page(self, items: list[Item], describe: Callable[[Item], Any]) -> Answer:
        size = min(int(self.request.query.get("per_page", "20")), 100)
        page = int(self.request.query.get("page", "1"))
        shown = [describe(item) for item in items[(page - 1) * size : page * size]]
        further = str(page + 1) if page * size < len(items) else ""
        return Answer(200, shown, {"X-Page": str(page), "X-Next-Page": further, "X-Total": str(len(items))})


@dataclass(frozen=True, kw_only=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    answer: Callable[[Call], Answer]
    body: Attributes
    level: int
    works_archived: bool


_ROUTES: list[Route] = []


def route(
    method: str,
    template: str,
    *,
    body: Attributes = NOTHING,
    level: int = REPORTER,
    works_archived: bool = False,
) -> Callable[[Callable[[Call], Answer]], Callable[[Call], Answer]]:
    """Answer `method` and `template`. `level` is the role it needs in the project."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template))

    def register(answer: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
        made = Route(
            method=method, pattern=pattern, answer=answer, body=body, level=level, works_archived=works_archived
        )
        _ROUTES.append(made)
        return answer

    return register


def answer_request(peer: GitlabPeer, request: Request) -> Answer:
    """Return the answer. What is wrong with it, or with us, stands in the peer's flaws."""
    try:
        return _answer(peer, request)
    except RefusalError as refusal:
        return Answer(refusal.status, refusal.body, refusal.headers)
    except Exception as error:
        peer.flaws.append(f"{request.method} {request.path}: {error!r}")
        return Answer(500, {"message": "500 Internal Server Error"})


def _answer(peer: GitlabPeer, request: Request) -> Answer:
    found = next(_match(request), None)
    if found is None:
        peer.flaws.append(f"{request.method} {request.path}: no such route")
        raise RefusalError(404, {"error": "404 Not Found"})
    route, names = found
    call = Call(peer=peer, request=request, username=peer.authenticate(request), path=names)
    if "project" in names:
        moved = _find_project(call, route)
        if moved is not None:
            return moved
    try:
        call.body = check_body(_read_json(request), route.body)
    except RefusalError as refusal:
        # GitLab overlooks what it doesn't know: nobody else would tell us.
        peer.flaws.append(f"{request.method} {request.path}: {refusal}")
        raise
    return route.answer(call)


def _read_json(request: Request) -> Any:
    if not request.content:
        return {}
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise malformed("The provided content-type is not supported.")
    return json.loads(request.content)


def _match(request: Request) -> Any:
    for route in _ROUTES:
        if route.method == request.method and (matched := route.pattern.fullmatch(request.path)):
            yield route, {name: unquote(value) for name, value in matched.groupdict().items()}


def _find_project(call: Call, route: Route) -> Answer | None:
    """Set the call's project, or return where it has moved. Raises RefusalError."""
    named = call.path.pop("project")
    project, has_moved = call.peer.find(named)
    if project is None or project.level is None:
        raise not_found("Project")
    if has_moved and call.peer.redirects_moved:
        location = f"{call.peer.api_url}/projects/{project.id}"
        message = f"This resource has been moved permanently to {location}"
        return Answer(301, {"message": message}, {"Location": location})
    if project.level < route.level:
        raise forbidden()
    if project.archived and route.method != "GET" and not route.works_archived:
        raise forbidden()
    call.found = project
    return None
