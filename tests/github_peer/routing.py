"""Which function answers which request; who may ask it; what its request and its answer have to look like."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlencode

from tests.github_peer.descriptions import find_flaws, read_body
from tests.github_peer.refusals import RefusalError, not_found
from tests.github_peer.state import PERMISSIONS, Repository, Token

if TYPE_CHECKING:
    from tests.github_peer.peer import GithubPeer
    from tests.github_peer.traffic import Request

_REPOSITORY = r"(?:repos/(?P<_owner>[^/]+)/(?P<_name>[^/]+)|repositories/(?P<_id>\d+))"

Item = TypeVar("Item")


@dataclass(frozen=True)
class Answer:
    status: int
    data: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Call:
    """A request that is allowed, with what its path names and a body that GitHub's description knows."""

    peer: GithubPeer
    request: Request
    token: Token
    path: dict[str, str]
    body: Any = None
    _repository: Repository | None = None

    @property
    def repository(self) -> Repository:
        assert self._repository is not None
        return self._repository

    def answer_page(
        self,
        items: list[Item],
        describe: Callable[[Item], Any],
        *,
        key: str | None = None,
        default: int = 30,
        maximum: int = 100,
    ) -> Answer:
        """Answer with one page of `items` and the way to the others."""
        size = min(_read_number(self.request.query.get("per_page"), default), maximum)
        page = _read_number(self.request.query.get("page"), 1)
        last = max(1, -(-len(items) // size))
        shown = [describe(item) for item in items[(page - 1) * size : page * size]]
        pages = {"prev": page - 1, "next": page + 1, "first": 1, "last": last}
        if page == 1:
            del pages["prev"], pages["first"]
        if page >= last:
            del pages["next"], pages["last"]
        url = f"{self.peer.api_url}{self.request.path}"
        links = [f'<{url}?{self._turn(number, size)}>; rel="{name}"' for name, number in pages.items()]
        headers = {"Link": ", ".join(links)} if links else {}
        return Answer(200, {"total_count": len(items), key: shown} if key else shown, headers)

    def _turn(self, page: int, size: int) -> str:
        return urlencode(self.request.query | {"page": page, "per_page": size})


def _read_number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and int(text) else default


@dataclass(frozen=True, kw_only=True)
class Route:
    """`access` is what one has to be allowed in the repository, none where the path names no repository."""

    method: str
    pattern: re.Pattern[str]
    answer: Callable[[Call], Answer]
    body: tuple[str, ...]
    answered: str | None
    access: str
    resource: str
    works_archived: bool


_ROUTES: list[Route] = []


def route(
    method: str,
    template: str,
    *,
    body: str | tuple[str, ...] = (),
    answered: str | None = None,
    access: str = "read",
    resource: str = "Repository",
    works_archived: bool = False,
) -> Callable[[Callable[[Call], Answer]], Callable[[Call], Answer]]:
    """Answer `method` and `template`; `body` and `answered` are names of githubkit's models."""
    pattern = re.sub(r"\{(\w+)\}", lambda found: _match_part(found[1]), template)
    models = (body,) if isinstance(body, str) else body

    def register(answer: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
        made = Route(
            method=method,
            pattern=re.compile(pattern),
            answer=answer,
            body=models,
            answered=answered,
            access=access,
            resource=resource,
            works_archived=works_archived,
        )
        _ROUTES.append(made)
        return answer

    return register


def _match_part(name: str) -> str:
    if name == "repo":
        return _REPOSITORY
    return rf"(?P<{name}>.+)" if name == "branch" else rf"(?P<{name}>[^/]+)"


def answer_request(peer: GithubPeer, request: Request) -> Answer:
    """Return the answer. What is wrong with it, or with us, stands in the peer's flaws."""
    try:
        return _answer(peer, request)
    except RefusalError as refusal:
        return Answer(refusal.status, refusal.body, refusal.headers)
    except Exception as error:
        peer.flaws.append(f"{request.method} {request.path}: {error!r}")
        return Answer(500, {"message": f"the peer itself failed: {error!r}"})


def _answer(peer: GithubPeer, request: Request) -> Answer:
    found = next(_match(request), None)
    if found is None:
        peer.flaws.append(f"{request.method} {request.path}: no such route")
        raise not_found()
    route, names = found
    # An installation's tokens are asked for with what no other request accepts.
    token = Token(login="") if route.access == "app" else peer.authenticate(request)
    call = Call(peer=peer, request=request, token=token, path=names)
    if "_owner" in names:
        redirect = _find_repository(call, route)
        if redirect is not None:
            return redirect
    if route.body:
        call.body = read_body(route.body, request.content, resource=route.resource)
    answer: Answer = route.answer(call)
    if route.answered and answer.status < 300 and answer.data is not None:
        for data in _find_described(route.answered, answer.data):
            flaws = find_flaws(route.answered, data)
            peer.flaws += [f"{request.method} {request.path}: {flaw}" for flaw in flaws]
    return answer


def _match(request: Request) -> Any:
    for route in _ROUTES:
        if route.method == request.method and (matched := route.pattern.fullmatch(request.path)):
            yield route, {name: unquote(value or "") for name, value in matched.groupdict().items()}


def _find_described(model: str, data: Any) -> list[Any]:
    # Lists without a model of their own are lists of what the model describes.
    return data if isinstance(data, list) else [data]


def _find_repository(call: Call, route: Route) -> Answer | None:
    """Set the call's repository, or return where it has moved. Raises RefusalError."""
    owner, name, number = (call.path.pop(part) for part in ("_owner", "_name", "_id"))
    repository, has_moved = call.peer.find(f"{owner}/{name}") if owner else (call.peer.find_by_id(int(number)), False)
    permission = repository and call.peer.find_permission(call.token, repository)
    if repository is None or permission is None:
        raise not_found()
    call._repository = repository
    if has_moved:
        return _redirect(call, f"repos/{owner}/{name}")
    if PERMISSIONS.index(permission) < PERMISSIONS.index(route.access):
        raise RefusalError(403, "Must have admin rights to Repository.")
    if repository.archived and route.method != "GET" and not route.works_archived:
        raise RefusalError(403, "Repository was archived so is read-only.")
    return None


def _redirect(call: Call, named: str) -> Answer:
    request = call.request
    path = request.path.replace(named, f"repositories/{call.repository.id}", 1)
    query = f"?{urlencode(request.query)}" if request.query else ""
    location = f"{call.peer.api_url}{path}{query}"
    moved = request.method == "GET" or call.peer.redirects_writes_with == 301
    message = "Moved Permanently" if moved else "Temporary Redirect"
    status = 301 if moved else call.peer.redirects_writes_with
    return Answer(status, {"message": message, "url": location}, {"Location": location})
