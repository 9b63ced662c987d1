"""The peer that tests hold: what it keeps, how it is to fail, and what somebody else does to it meanwhile."""

from __future__ import annotations

import base64
import itertools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.github_peer import bare_git
from tests.github_peer.refusals import RefusalError, not_found
from tests.github_peer.state import DEFAULT_LABELS, SETTINGS, Account, Repository, Token, now
from tests.github_peer.traffic import Fault, Request, SecondaryLimits, check_kind

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

Moment = Literal["before", "after"]


@dataclass
class GithubPeer:
    """A GitHub with the user `login`, who owns the organization "acme", and "elsewhere", of which it sees nothing.

    `flaws` are what the peer did that GitHub wouldn't, and requests that it doesn't know: a test asserts it is empty.
    """

    root: Path
    url: str = ""
    token: str = "ghp_" + "Scaffolder0Robot1Token2For3Tests4567"
    login: str = "robot"
    bot: str = "scaffolder[bot]"
    app_id: int = 4711
    installation_id: int = 1147

    #: Requests to the API, those to git, and when those that write arrived (time.monotonic).
    requests: list[Request] = field(default_factory=list)
    git_requests: list[Request] = field(default_factory=list)
    write_times: list[float] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)

    #: Called for every request, to git too: before anything happens, and when it has, before the answer leaves.
    #: Where it returns False before, nothing happens and the connection is reset: a client died as it was sending.
    on_request: Callable[[Moment, str, str], bool | None] | None = None
    limits: SecondaryLimits | None = None
    limit_violations: int = 0

    hang_seconds: float = 30.0
    slow_seconds: float = 0.5
    retry_after_seconds: float = 1.0
    reset_seconds: float = 1.0

    #: The free plan protects no branch of a private repository, and has no environments' rules nor drafts there.
    has_free_plan: bool = False
    #: GitHub enables auto-merge only where a pull request has something to wait for.
    refuses_clean_auto_merge: bool = True
    #: What requests other than GET to a repository's old name are answered with.
    redirects_writes_with: Literal[301, 307] = 307
    #: Properties that acme has, with the values that they may have.
    custom_properties: dict[str, tuple[str, ...] | None] = field(
        default_factory=lambda: {"team": None, "tier": ("gold", "silver")}
    )

    repositories: list[Repository] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    redirects: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    closing: threading.Event = field(default_factory=threading.Event, repr=False)
    in_flight: int = 0
    rate_used: int = 0
    _ids: Any = field(default_factory=lambda: itertools.count(1001), repr=False)

    def __post_init__(self) -> None:
        for login in (self.login, "ada", "grace"):
            self._add_account(login)
        self._add_account(self.bot, kind="Bot")
        members = {self.login, "ada", self.bot}
        self._add_account("acme", kind="Organization", members=members, teams={"platform": self.next_id()})
        self._add_account("elsewhere", kind="Organization", is_hidden=True)
        self.tokens[self.token] = Token(login=self.login)

    def _add_account(self, login: str, **account: Any) -> None:
        self.accounts[login] = Account(id=self.next_id(), login=login, **account)

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/v3"

    def next_id(self) -> int:
        return int(next(self._ids))

    # The app

    @cached_property
    def _app_key(self) -> RSAPrivateKey:
        from cryptography.hazmat.primitives.asymmetric import rsa

        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @cached_property
    def app_private_key(self) -> str:
        """The app's private key in PEM."""
        from cryptography.hazmat.primitives import serialization as form

        pem = self._app_key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        return pem.decode()

    @property
    def app_public_key(self) -> Any:
        return self._app_key.public_key()

    # What there is

    def repository(self, full_name: str) -> Repository:
        """Return the repository that has this name now. Raises LookupError."""
        found, has_moved = self.find(full_name)
        if found is None or has_moved:
            raise LookupError(f"no repository {full_name}; there are {[item.full_name for item in self.repositories]}")
        return found

    def find(self, full_name: str) -> tuple[Repository | None, bool]:
        """Return the repository of this name, and whether it has another name by now."""
        name = full_name.lower()
        for repository in self.repositories:
            if repository.full_name.lower() == name:
                return repository, False
        return (self.find_by_id(self.redirects[name]), True) if name in self.redirects else (None, False)

    def find_by_id(self, number: int) -> Repository | None:
        return next((repository for repository in self.repositories if repository.id == number), None)

    def find_account(self, login: str) -> Account:
        for account in self.accounts.values():
            if account.login.lower() == login.lower():
                return account
        raise not_found()

    def find_team(self, number: int) -> tuple[str, str]:
        """Return the organization and the slug of a team."""
        teams = [(owner, slug, team) for owner, found in self.accounts.items() for slug, team in found.teams.items()]
        return next((owner, slug) for owner, slug, team in teams if team == number)

    def find_permission(self, token: Token | None, repository: Repository) -> str | None:
        """Return what a token may do in a repository, None where it doesn't see it."""
        if self.accounts[repository.owner].is_hidden:
            return None
        public = None if repository.private else "read"
        if token is None:
            return public
        if token.is_installation:
            is_chosen = token.repository_ids is None or repository.id in token.repository_ids
            return "admin" if repository.owner == "acme" and is_chosen else public
        return "admin" if repository.owner == token.login else repository.permission or public

    def authenticate(self, request: Request) -> Token:
        """Return the token of a request to the API. Raises RefusalError."""
        kind, _, credentials = request.authorization.partition(" ")
        if kind.lower() not in {"bearer", "token"} or credentials not in self.tokens:
            raise RefusalError(401, "Bad credentials")
        return self.tokens[credentials]

    def authenticate_git(self, request: Request) -> Token | None:
        """Return the token that stands as a password, whatever the username."""
        kind, _, credentials = request.authorization.partition(" ")
        try:
            password = base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except ValueError:
            return None
        return self.tokens.get(password) if kind.lower() == "basic" else None

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
        without ("before", and what is meant where neither stands). "secondary limit", "primary limit", "429" and
        "slow" are without. A function of the handler answers in the peer's place, or doesn't. `seconds` is for how
        long: it hangs, is slow, or tells to wait.
        """
        check_kind(fault)
        self.faults.append(Fault(method=method, path=re.compile(path), kind=fault, times=times, seconds=seconds))

    def revoke(self, token: str) -> None:
        del self.tokens[token]

    # What somebody else does

    def create_repository(
        self, full_name: str, *, commits: bool = True, private: bool = True, permission: str | None = "default"
    ) -> Repository:
        """Create a repository, in which `permission` is what the token's user may do: read, …, admin or None."""
        owner, _, name = full_name.partition("/")
        if permission == "default":
            permission = "admin" if owner in {self.login, "acme"} else None
        number = self.next_id()
        directory = self.root / f"{number}.git"
        bare_git.create(directory)
        repository = Repository(
            id=number,
            owner=owner,
            name=name,
            directory=directory,
            private=private,
            permission=permission,
            settings=dict(SETTINGS),
            key_id=str(self.next_id()),
        )
        for label, color in DEFAULT_LABELS.items():
            self.add_label(repository, label, color=color)["default"] = True
        self.redirects.pop(full_name.lower(), None)
        self.repositories.append(repository)
        if commits:
            self.push_foreign_commit(repository, "main", files={"README.md": f"# {name}\n"})
        return repository

    def push_foreign_commit(
        self, repository: Repository | str, branch: str = "main", *, files: Mapping[str, str] | None = None
    ) -> str:
        """Add a commit by somebody else to `branch`, which need not exist, and return its name."""
        found = self._find(repository)
        text = files or {"foreign.txt": f"{self.next_id()}\n"}
        sha = bare_git.commit(found.directory, branch=branch, files=text, message="Foreign change", author="ada")
        found.pushed_at = now()
        return sha

    def rename(self, repository: Repository | str, name: str) -> None:
        found = self._find(repository)
        self._move(found, found.owner, name)

    def transfer(self, repository: Repository | str, owner: str) -> None:
        """Give the repository to another account. The token sees nothing of elsewhere, nor a user's private ones."""
        found = self._find(repository)
        if owner not in {"acme", self.login}:
            found.permission = None
        self._move(found, owner, found.name)

    def _move(self, repository: Repository, owner: str, name: str) -> None:
        with self.lock:
            self.redirects[repository.full_name.lower()] = repository.id
            repository.owner, repository.name = owner, name
            self.redirects.pop(repository.full_name.lower(), None)

    def delete(self, repository: Repository | str) -> None:
        with self.lock:
            self.repositories.remove(self._find(repository))

    def archive(self, repository: Repository | str) -> None:
        self._find(repository).archived = True

    def add_label(self, repository: Repository, name: str, *, color: str = "ededed") -> dict[str, Any]:
        label = {"id": self.next_id(), "name": name, "color": color, "description": None, "default": False}
        repository.labels[name.lower()] = label
        return label

    def _find(self, repository: Repository | str) -> Repository:
        return self.repository(repository) if isinstance(repository, str) else repository
