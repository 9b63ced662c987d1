"""The peer that tests hold: what it keeps, how it is to fail, and what somebody else does to it meanwhile."""

from __future__ import annotations

import base64
import itertools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.github_peer import bare_git
from tests.github_peer.traffic import Fault, Request, check_kind
from tests.gitlab_peer.refusals import not_found, unauthorized
from tests.gitlab_peer.state import MAINTAINER, OWNER, MergeRequest, Namespace, Project

Moment = Literal["before", "after"]


@dataclass
class GitlabPeer:
    """A GitLab with the user `login`, who owns the groups "acme" and "acme/platform" and sees nothing of "elsewhere".

    `flaws` are requests and attributes that GitLab doesn't know, and what the peer failed at itself: a test asserts it
    is empty.
    """

    root: Path
    #: Where the web interface is, with the path's `prefix` of an installation below a host's root.
    url: str = ""
    prefix: str = ""
    token: str = "glpat-" + "Scaffolder0Robot1Token"
    oauth_token: str = "oauth-" + "Scaffolder2Robot3Token"
    login: str = "robot"

    #: Requests to the API, and those to git.
    requests: list[Request] = field(default_factory=list)
    git_requests: list[Request] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)

    #: Called for every request, to git too: before anything happens, and when it has, before the answer leaves.
    #: Where it returns False before, nothing happens and the connection is reset.
    on_request: Callable[[Moment, str, str], bool | None] | None = None

    hang_seconds: float = 30.0
    slow_seconds: float = 0.5
    retry_after_seconds: float = 1.0

    is_premium: bool = True
    #: The old paths of projects redirect (since GitLab 16.7), or are answered with the project itself.
    redirects_moved: bool = True
    #: The default branch is protected when it is pushed for the first time.
    protects_default_branch: bool = True
    #: What the default branch of an empty project is going to be; GitLab of old said nothing.
    initial_branch: str = "main"
    deletes_at_once: bool = False
    #: How often a new merge request is asked for until GitLab has looked at it: see `MergeRequest.looks_left`.
    looks_before_ready: int = 1
    #: How often GitLab doesn't know of a branch yet that was pushed.
    unseen_branches: int = 0

    projects: list[Project] = field(default_factory=list)
    users: dict[str, int] = field(default_factory=dict)
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    redirects: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    closing: threading.Event = field(default_factory=threading.Event, repr=False)
    _ids: Any = field(default_factory=lambda: itertools.count(1001), repr=False)

    def __post_init__(self) -> None:
        for username in (self.login, "ada", "grace"):
            self.users[username] = self.next_id()
            level = OWNER if username == self.login else None
            self._add_namespace(username, kind="user", level=level)
        for path, level in (("acme", OWNER), ("acme/platform", OWNER), ("readers", 20), ("elsewhere", None)):
            self._add_namespace(path, level=level)
        self.tokens = {self.token: self.login, self.oauth_token: self.login}

    def _add_namespace(self, full_path: str, **values: Any) -> None:
        self.namespaces[full_path] = Namespace(id=self.next_id(), full_path=full_path, **values)

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/v4"

    def next_id(self) -> int:
        return next(self._ids)

    def reset(self) -> None:
        """Forget what tests did; the users and groups stay."""
        for kept in (self.projects, self.redirects, self.faults, self.requests, self.git_requests, self.flaws):
            kept.clear()
        fresh = GitlabPeer(self.root)
        for name in ("is_premium", "redirects_moved", "protects_default_branch", "initial_branch", "deletes_at_once"):
            setattr(self, name, getattr(fresh, name))
        self.looks_before_ready, self.unseen_branches, self.on_request = fresh.looks_before_ready, 0, None

    # What there is

    def project(self, full_path: str) -> Project:
        """Return the project that has this path now. Raises LookupError."""
        found, has_moved = self.find(full_path)
        if found is None or has_moved:
            raise LookupError(f"no project {full_path}; there are {[one.full_path for one in self.projects]}")
        return found

    def find(self, named: str) -> tuple[Project | None, bool]:
        """Return the project with this id or path, and whether it has another path by now."""
        if named.isdecimal():
            return next((one for one in self.projects if one.id == int(named)), None), False
        for project in self.projects:
            if project.full_path.lower() == named.lower():
                return project, False
        number = self.redirects.get(named.lower())
        return next((one for one in self.projects if one.id == number), None), True

    def find_namespace(self, named: str) -> Namespace:
        for namespace in self.namespaces.values():
            if named == str(namespace.id) or named.lower() == namespace.full_path.lower():
                if namespace.level is not None:
                    return namespace
        raise not_found("Namespace")

    def find_username(self, number: int) -> str:
        for username, known in self.users.items():
            if known == number:
                return username
        raise not_found("User")

    def authenticate(self, request: Request) -> str:
        """Return the user of a request to the API. Raises RefusalError."""
        token = request.authorization.removeprefix("Bearer ")
        # A personal token may stand in either header, one of OAuth 2.0 only as a bearer's.
        if token not in self.tokens or (token == self.oauth_token) > request.authorization.startswith("Bearer "):
            raise unauthorized()
        return self.tokens[token]

    def authenticate_git(self, request: Request) -> str | None:
        """Return the user whose token stands as a password; OAuth 2.0 needs its own username."""
        kind, _, credentials = request.authorization.partition(" ")
        try:
            username, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except ValueError:
            return None
        if kind.lower() != "basic" or not username or (password == self.oauth_token and username != "oauth2"):
            return None
        return self.tokens.get(password)

    # How it fails

    def fail(
        self,
        method: str,
        path: str,
        fault: str | Callable[[Any], None],
        *,
        times: float = 1,
        seconds: float | None = None,
    ) -> None:
        """Let the next `times` requests of `method` ("*": any), whose path has a match for `path`, meet `fault`.

        "502 after", "404", "reset before", "hang after": a status, "reset" or "hang", with the effect ("after") or
        without ("before", and what is meant where neither stands). "429" and "slow" are without. A function of the
        handler answers in the peer's place, or doesn't. `seconds` is for how long: it hangs, is slow, or tells to wait.
        """
        check_kind(fault)
        self.faults.append(Fault(method=method, path=re.compile(path), kind=fault, times=times, seconds=seconds))

    # What somebody else does

    def create_project(self, full_path: str, *, commits: bool = True, level: int | None = OWNER) -> Project:
        """Create a project, in which `level` is what the token's user may do."""
        namespace, _, path = full_path.rpartition("/")
        number = self.next_id()
        directory = self.root / f"{number}.git"
        bare_git.create(directory)
        project = Project(
            id=number,
            namespace=self.namespaces[namespace].full_path,
            path=path,
            name=path,
            directory=directory,
            creator=self.login,
            level=level,
            default_branch=self.initial_branch,
        )
        self.redirects.pop(full_path.lower(), None)
        self.projects.append(project)
        if commits:
            self.push_foreign_commit(project, self.initial_branch, files={"README.md": f"# {path}\n"})
        return project

    def push_foreign_commit(
        self, project: Project | str, branch: str = "main", *, files: Mapping[str, str] | None = None
    ) -> str:
        """Add a commit by somebody else to `branch`, which need not exist, and return its name."""
        found = self._find(project)
        text = files or {"foreign.txt": f"{self.next_id()}\n"}
        return bare_git.commit(found.directory, branch=branch, files=text, message="Foreign change", author="ada")

    def open_merge_request(
        self, project: Project | str, *, source: str, target: str = "main", fork: bool = False
    ) -> int:
        """Open somebody else's merge request, from a fork where that is asked for, and return its number."""
        found = self._find(project)
        iid = len(found.merge_requests) + 1
        found.merge_requests[iid] = MergeRequest(
            id=self.next_id(),
            iid=iid,
            title="Theirs",
            description="",
            source_branch=source,
            target_branch=target,
            source_project_id=self.next_id() if fork else found.id,
            author="ada",
            sha="0" * 40,
        )
        return iid

    def note_first_push(self, project: Project) -> None:
        """Do what GitLab does after a push: the first branch is the default branch, which is protected once."""
        project.refresh()
        if self.protects_default_branch and project.branches and not project.protection:
            project.protection[project.default_branch] = {
                "id": self.next_id(),
                "push": [MAINTAINER],
                "merge": [MAINTAINER],
                "unprotect": [MAINTAINER],
                "allow_force_push": False,
                "code_owner_approval_required": False,
            }

    def rename(self, project: Project | str, path: str) -> None:
        found = self._find(project)
        self._move(found, found.namespace, path)

    def transfer(self, project: Project | str, namespace: str) -> None:
        """Give the project to another namespace. The token sees nothing of elsewhere."""
        found = self._find(project)
        if self.namespaces[namespace].level is None:
            found.level = None
        self._move(found, namespace, found.path)

    def _move(self, project: Project, namespace: str, path: str) -> None:
        with self.lock:
            self.redirects[project.full_path.lower()] = project.id
            project.namespace, project.path, project.name = namespace, path, path
            self.redirects.pop(project.full_path.lower(), None)

    def delete(self, project: Project | str) -> None:
        with self.lock:
            self.projects.remove(self._find(project))

    def mark_for_deletion(self, project: Project | str) -> None:
        """Do what a deletion is at first: the project gets another path, and goes days later."""
        found = self._find(project)
        found.marked_for_deletion_on = "2026-03-04"
        self.rename(found, f"{found.path}-deletion_scheduled-{found.id}")

    def archive(self, project: Project | str) -> None:
        self._find(project).archived = True

    def _find(self, project: Project | str) -> Project:
        return self.project(project) if isinstance(project, str) else project
