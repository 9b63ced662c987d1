"""Pull and merge requests: the generated project's files as a change of a repository that is there already.

The change is one commit on a branch of its own, so that a request that is open is updated by a further commit. Nothing
is opened where nothing would change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from pydantic import Field, field_validator

from scaffolder.errors import ExportConflictError
from scaffolder.exports.contract import BranchName, ExportOptions, ExportRequest, ExportResult
from scaffolder.exports.history import CommitText
from scaffolder.exports.hosted import RemoteRepository, RepositoryHost, Setting
from scaffolder.exports.push import HEADS
from scaffolder.exports.scratch import Branch, ScratchRepository
from scaffolder.generation.paths import find_flaw

log = logging.getLogger(__name__)

_BRANCH_PREFIX: Final = "scaffolder/"
_PUSHED: Final = "push"


class ChangeRequestOptions(ExportOptions):
    """What pull and merge requests have in common.

    The files go below `target_path`, on a `branch` (``scaffolder/`` and the generated project's name) that begins at
    `base` (the default branch).
    """

    branch: BranchName | None = None
    base: BranchName | None = None
    title: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*\Z")] | None = None
    body: Annotated[str, Field(max_length=60_000)] = ""
    reviewers: list[Annotated[str, Field(min_length=1, max_length=100)]] = []
    assignees: list[Annotated[str, Field(min_length=1, max_length=100)]] = []
    labels: list[Annotated[str, Field(min_length=1, max_length=50)]] = []
    draft: bool = False
    target_path: str = ""

    @field_validator("target_path")
    @classmethod
    def _is_safe(cls, path: str) -> str:
        stripped = path.strip("/")
        if stripped and (flaw := find_flaw(stripped)):
            raise ValueError(f"{path!r} {flaw}; accepted is a directory's path inside the repository")
        return stripped


@dataclass(frozen=True, kw_only=True)
class ChangeRequest:
    """An open request: `id` is what its host calls it, `url` its page."""

    id: str
    url: str
    title: str
    body: str
    is_draft: bool


class ChangeRequests(Protocol):
    """What hosts offer for requests. All raise ExportRejectedError, HostUnavailableError and HostWaitError."""

    def find_request(self, repository: RemoteRepository, *, branch: str, base: str) -> ChangeRequest | None:
        """Return the request from `branch` into `base` that is open."""

    def create_request(
        self, repository: RemoteRepository, *, branch: str, base: str, title: str, body: str
    ) -> ChangeRequest:
        """Open a request. Sends its request once: raises HostUnavailableError `in_doubt` where the answer is lost."""

    def list_settings(
        self, repository: RemoteRepository, change: ChangeRequest, *, title: str, body: str
    ) -> Sequence[Setting]:
        """Return what is to be set up for the request, in order; the first brings title and body up to date."""


class ChangeRequestExport:
    """One export that becomes a request into `repository_name`."""

    def __init__(
        self,
        host: RepositoryHost,
        requests: ChangeRequests,
        request: ExportRequest,
        *,
        repository_name: str,
        options: ChangeRequestOptions,
        create: Callable[[Callable[[], ChangeRequest], Callable[[], ChangeRequest | None]], ChangeRequest],
    ) -> None:
        self._host = host
        self._requests = requests
        self._request = request
        self._ledger = request.ledger
        self._name = repository_name
        self._options = options
        self._create = create
        self._branch = options.branch or f"{_BRANCH_PREFIX}{request.name}"
        self._title = options.title or f"Add {request.name}"

    def run(self) -> ExportResult:
        """Push the change and open or update its request; do neither where nothing changes."""
        repository = self._find_repository()
        base = self._options.base or repository.default_branch
        if base is None:
            raise ExportConflictError(
                f"{repository.full_name} is empty and has no branch for a request; accepted is an export without one"
            )
        if base == self._branch:
            raise ExportConflictError(f"branch {base!r} cannot be changed by a request from itself")
        scratch = ScratchRepository(
            self._request.directory.parent / "exports" / f"{self._request.export.id}.git",
            url=repository.git_url,
            remote=self._host.get_git_remote(),
            objects=self._request.repository.directory / ".git" / "objects",
            timeout_seconds=self._request.settings.git_timeout_seconds,
        )
        try:
            commit, change = self._push(scratch, repository, base=base)
        finally:
            scratch.remove()
        details = {"repository": repository.full_name, "remote_id": repository.id, "branch": self._branch, "base": base}
        if commit is None and change is None:
            log.info("%s has it all already: nothing was opened", repository.full_name)
            return ExportResult(url=repository.url, result=details | {"changed": False})
        if change is None:
            change = self._open(repository, base=base)
        self._set_up(repository, change)
        return ExportResult(
            url=change.url,
            exported_commit=commit,
            result=details | {"request": change.id, "changed": commit is not None},
        )

    def roll_back(self) -> str | None:
        """Say what is left: a request is a proposal to people, who can close it."""
        export = self._ledger.export
        if export.exported_commit is None:
            return None
        return f"the request {export.url or ''} from branch {export.branch!r} is left behind: close it there"

    def _find_repository(self) -> RemoteRepository:
        export = self._ledger.export
        full_name = self._host.full_name(self._name)
        repository = self._host.get(export.remote_id) if export.remote_id else self._host.find(self._name)
        if repository is None:
            raise ExportConflictError(
                f"there is no repository {full_name}, or the connection may not see it; accepted is one that is there"
            )
        if repository.full_name.casefold() != full_name.casefold():
            raise ExportConflictError(
                f"{full_name} was renamed or transferred to {repository.full_name}; nothing was pushed"
            )
        if repository.is_archived:
            raise ExportConflictError(f"{full_name} is archived; nothing was pushed")
        if export.remote_id is None:
            self._ledger.note(remote_id=repository.id, remote_name=repository.full_name)
        return repository

    def _push(
        self, scratch: ScratchRepository, repository: RemoteRepository, *, base: str
    ) -> tuple[str | None, ChangeRequest | None]:
        """Return the commit that was pushed, None where nothing changes, and the request that is open already."""
        refs = scratch.remote_git.list_refs()
        if HEADS + base not in refs:
            raise ExportConflictError(f"{repository.full_name} has no branch {base!r}; accepted is one of its branches")
        there = refs.get(HEADS + self._branch)
        pushed = self._ledger.export.exported_commit
        change = self._requests.find_request(repository, branch=self._branch, base=base) if there else None
        if there is not None and there == pushed:
            if not self._ledger.is_done(_PUSHED):
                self._ledger.mark_done(_PUSHED)
            if change is not None:
                return pushed, change
        own_commits = self._list_own_commits(repository)
        if there is not None and not own_commits:
            raise ExportConflictError(
                f"{repository.full_name} has a branch {self._branch!r} that no export of this project made, so it was "
                "not touched; accepted is another branch"
            )
        scratch.create()
        # On top of a request that is open, so that what reviewers have added stays.
        onto = scratch.fetch(self._branch if change is not None else base)
        commit = self._make_commit(scratch, onto)
        if commit is None:
            return None, change
        self._ledger.note(exported_commit=commit, branch=self._branch)
        if there is None or change is not None:
            scratch.remote_git.push(commit, branch=self._branch, onto=there)
        elif there in own_commits:
            # The request before was merged or closed; nobody has added to its branch.
            scratch.remote_git.replace(commit, branch=self._branch, instead_of=there)
        else:
            raise ExportConflictError(
                f"{repository.full_name} has commits of somebody else on branch {self._branch!r}, and no request is "
                "open for it, so it was not touched; accepted is another branch"
            )
        self._ledger.mark_done(_PUSHED)
        log.info("Pushed %s to %s, branch %s", commit, repository.url, self._branch)
        return commit, change

    def _make_commit(self, scratch: ScratchRepository, onto: Branch) -> str | None:
        tree = scratch.add(self._request.commit, into=self._options.target_path, onto=onto)
        if tree == onto.tree:
            return None
        project = self._request.generated_project
        identity = self._request.identity
        message = (
            f"{self._title}\n\nScaffolder-Generated-Project: {project.id}\nScaffolder-Commit: {self._request.commit}\n"
        )
        text = CommitText.of_run(project, identity=identity, tree=tree, parents=(onto.commit,), message=message)
        return scratch.commit(text, identity=identity)

    def _list_own_commits(self, repository: RemoteRepository) -> set[str]:
        exports = [self._ledger.export, *self._ledger.find_others(repository.id)]
        return {
            one.exported_commit
            for one in exports
            if one.exported_commit and one.branch == self._branch and _PUSHED in one.steps_done
        }

    def _open(self, repository: RemoteRepository, *, base: str) -> ChangeRequest:
        def create() -> ChangeRequest:
            return self._requests.create_request(
                repository, branch=self._branch, base=base, title=self._title, body=self._options.body
            )

        def find() -> ChangeRequest | None:
            return self._requests.find_request(repository, branch=self._branch, base=base)

        change = self._create(create, find)
        log.info("Opened %s", change.url)
        return change

    def _set_up(self, repository: RemoteRepository, change: ChangeRequest) -> None:
        self._ledger.note(url=change.url)
        settings = self._requests.list_settings(repository, change, title=self._title, body=self._options.body)
        for setting in settings:
            name = f"{setting.name} of request {change.id}"
            if not self._ledger.is_done(name):
                log.info("Setting up %s", name)
                setting.apply()
                self._ledger.mark_done(name)
