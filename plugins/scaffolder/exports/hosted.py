"""Exports to hosts where repositories are made through an API: make or find, push, set up, take back.

Each thing made there can be found done: a repository by its id once that is recorded, before that by the nonce in its
description; a commit by the branch; a setting by its name. What isn't this export's is never touched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from scaffolder.errors import ExportConflictError, ExportRejectedError, HostUnavailableError
from scaffolder.exports.contract import ExportRequest, ExportResult
from scaffolder.exports.history import prepare_commit
from scaffolder.exports.push import HEADS, RemoteRepositoryGit
from scaffolder.generation.git_remote import GitRemote
from scaffolder.generation.tree import GeneratedFile
from scaffolder.records.models import ExportStatus

log = logging.getLogger(__name__)

OnConflict = Literal["fail", "suffix"]

_MAX_SUFFIX: Final = 50
_ROLL_BACK: Final = "roll-back"


@dataclass(frozen=True, kw_only=True)
class RemoteRepository:
    """A repository as its host shows it. `full_name` is ``owner/name``, `url` its page, `git_url` where git finds it.

    `uses` says what others have begun there (issues, requests), empty where nothing is.
    """

    id: str
    full_name: str
    url: str
    git_url: str
    description: str
    default_branch: str | None
    is_archived: bool
    uses: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One thing to set up in a repository. `apply` may be done twice: it finds what is there."""

    name: str
    apply: Callable[[], None]


class RepositoryHost(Protocol):
    """What the hosts have to offer. All raise ExportRejectedError, HostUnavailableError and HostWaitError."""

    def full_name(self, name: str) -> str:
        """Return ``owner/name`` as it will be, without a request where the owner is known."""

    def create(self, name: str, *, marker: str) -> RemoteRepository | None:
        """Make a repository whose description holds `marker`; None where the name is taken.

        Sends its request once: raises HostUnavailableError `in_doubt` where the answer is lost.
        """

    def find(self, name: str) -> RemoteRepository | None:
        """Return the repository that has this very name now."""

    def get(self, remote_id: str) -> RemoteRepository | None:
        """Return the repository with this id, whatever its name is now."""

    def list_settings(self, repository: RemoteRepository, *, branch: str) -> Sequence[Setting]:
        """Return what is to be set up, in order; the first takes the marker out of the description."""

    def set_archived(self, repository: RemoteRepository, *, archived: bool) -> None:
        """Make it read-only, or no longer so."""

    def delete(self, repository: RemoteRepository) -> None:
        """Delete it."""

    def get_git_remote(self) -> GitRemote:
        """Return the credentials for git."""


class HostedExport:
    """One export that makes a repository at a host.

    `repository_name` is the name wanted; where it is taken, `on_conflict` says whether ``name-2`` and so on will do.
    `files` are added on top of the exported commit.
    """

    def __init__(
        self,
        host: RepositoryHost,
        request: ExportRequest,
        *,
        repository_name: str,
        branch: str,
        on_conflict: OnConflict,
        files: Sequence[GeneratedFile] = (),
    ) -> None:
        self._host = host
        self._request = request
        self._ledger = request.ledger
        self._name = repository_name
        self._branch = branch
        self._on_conflict = on_conflict
        self._files = files

    def run(self) -> ExportResult:
        """Make what isn't there yet, and return where it is."""
        commit = prepare_commit(
            self._request.repository,
            self._request.commit,
            ref=get_export_ref(self._request),
            identity=self._request.identity,
            files=self._files,
        )
        repository, is_new = self._ensure_repository()
        self._push(repository, commit, is_new=is_new)
        self._set_up(repository)
        return ExportResult(
            url=repository.url,
            exported_commit=commit,
            result={"repository": repository.full_name, "remote_id": repository.id, "branch": self._branch},
        )

    def roll_back(self) -> str | None:
        """Delete the repository where this export made it and nobody has used it since; say what is left otherwise."""
        export = self._ledger.export
        repository = self._find_own()
        if repository is None and export.remote_id is not None and not self._ledger.is_done(_ROLL_BACK):
            return f"{export.url} is not there: deleted or transferred already, or no longer visible to the connection"
        if repository is None:
            return None
        if not export.created_remote and export.nonce not in repository.description:
            return f"{repository.url} is left behind: it was there before this run"
        if repository.full_name != export.remote_name:
            return f"{repository.url} is left behind: it was renamed or transferred from {export.remote_name!r}"
        if self._is_wanted_by_others(repository):
            return f"{repository.url} is left behind: another export of the project uses it"
        if reason := self._find_use(repository):
            return f"{repository.url} is left behind: {reason}"
        if not repository.is_archived:
            # Nobody can push to it any more, so that what is looked at now is what is deleted.
            self._host.set_archived(repository, archived=True)
            if reason := self._find_use(repository):
                self._host.set_archived(repository, archived=False)
                return f"{repository.url} is left behind: {reason}"
        self._ledger.mark_done(_ROLL_BACK)
        self._host.delete(repository)
        return None

    # The repository

    def _ensure_repository(self) -> tuple[RemoteRepository, bool]:
        """Return the repository, and whether this try made it."""
        export = self._ledger.export
        if export.remote_id is not None:
            return self._check_own(self._host.get(export.remote_id)), False
        for name in self._candidates():
            self._ledger.reload()
            if self._ledger.export.remote_id is not None:
                return self._check_own(self._host.get(self._ledger.export.remote_id)), False
            repository, is_new = self._take(name)
            if repository is not None:
                return repository, is_new
            if self._on_conflict == "fail":
                raise ExportConflictError(
                    f"{self._host.full_name(name)} exists and was not made by this export, so it was not touched; "
                    "accepted is another name, or on_conflict: suffix for the next free one"
                )
        raise ExportConflictError(
            f"{self._host.full_name(self._name)} and its names with -2 to -{_MAX_SUFFIX} are taken; accepted is "
            "another name"
        )

    def _candidates(self) -> Iterator[str]:
        """Yield the names to try; first the one that an earlier try was about to take."""
        names = [self._name]
        if self._on_conflict == "suffix":
            names += [f"{self._name}-{number}" for number in range(2, _MAX_SUFFIX + 1)]
        tried = (self._ledger.export.remote_name or "").rpartition("/")[2]
        yield from names[names.index(tried) if tried in names else 0 :]

    def _take(self, name: str) -> tuple[RemoteRepository | None, bool]:
        full_name = self._host.full_name(name)
        is_second_try = self._ledger.export.remote_name == full_name
        if is_second_try and (found := self._host.find(name)) is not None and self._is_marked(found):
            return self._adopt(found, created=True), False
        if not is_second_try:
            self._ledger.note(remote_name=full_name)
        try:
            created = self._host.create(name, marker=self._ledger.export.nonce)
        except HostUnavailableError as error:
            if not error.in_doubt:
                raise
            log.warning("%s. Looking whether it was done", error)
            found = self._host.find(name)
            if found is None or not self._is_marked(found):
                raise
            return self._adopt(found, created=True), False
        if created is not None:
            log.info("Created %s", created.url)
            return self._adopt(created, created=True), True
        found = self._host.find(name)
        if found is None:
            raise HostUnavailableError(f"{full_name} is taken, and then it is not there")
        self._ledger.reload()
        if self._is_marked(found) or self._ledger.export.remote_id == found.id:
            return self._adopt(found, created=True), False
        if self._is_of_generated_project(found):
            return self._adopt(found, created=False), False
        return None, False

    def _adopt(self, repository: RemoteRepository, *, created: bool) -> RemoteRepository:
        self._ledger.note(
            remote_id=repository.id,
            remote_name=repository.full_name,
            created_remote=created,
            url=repository.url,
        )
        if self._ledger.export.remote_id != repository.id:
            raise ExportConflictError(
                f"another try of this export has made {self._ledger.export.remote_name} meanwhile, so "
                f"{repository.full_name} is left behind, empty"
            )
        return self._check_own(repository)

    def _is_marked(self, repository: RemoteRepository) -> bool:
        return self._ledger.export.nonce in repository.description

    def _is_of_generated_project(self, repository: RemoteRepository) -> bool:
        """Say whether another export of the same generated project made it."""
        key = self._ledger.export.generated_project_id
        others = self._ledger.find_others(repository.id)
        return any(one.created_remote and one.generated_project_id == key for one in others)

    def _is_wanted_by_others(self, repository: RemoteRepository) -> bool:
        return any(
            one.status is ExportStatus.EXPORTED and not one.rollback for one in self._ledger.find_others(repository.id)
        )

    def _check_own(self, repository: RemoteRepository | None) -> RemoteRepository:
        export = self._ledger.export
        if repository is None:
            raise ExportConflictError(
                f"{export.remote_name} (id {export.remote_id}) is gone: deleted, transferred, or no longer visible to "
                "the connection; nothing was pushed"
            )
        if repository.full_name != export.remote_name:
            raise ExportConflictError(
                f"{export.remote_name} was renamed or transferred to {repository.full_name}; nothing was pushed"
            )
        if repository.is_archived:
            raise ExportConflictError(f"{repository.full_name} was archived; nothing was pushed")
        return repository

    def _find_own(self) -> RemoteRepository | None:
        """Return the repository that this export made, or was about to make, as far as the host shows it."""
        export = self._ledger.export
        if export.remote_id is not None:
            return self._host.get(export.remote_id)
        if export.remote_name is None:
            return None
        found = self._host.find(export.remote_name.rpartition("/")[2])
        return found if found is not None and self._is_marked(found) else None

    # Commits and settings

    def _push(self, repository: RemoteRepository, commit: str, *, is_new: bool) -> None:
        self._ledger.note(exported_commit=commit, branch=self._branch)
        git = self._open_git(repository)
        refs = {} if is_new else git.list_refs()
        there = refs.get(HEADS + self._branch)
        if there == commit:
            return
        if refs and there not in self._ledger.find_own_commits(repository.id):
            raise ExportConflictError(
                f"{repository.url} holds {len(refs)} refs that this export did not make, so nothing was pushed"
            )
        try:
            git.push(commit, branch=self._branch, onto=there)
        except ExportRejectedError as error:
            if self._ledger.export.created_remote and "not found" in str(error).lower():
                # A repository that has just been made is not everywhere at once.
                raise HostUnavailableError(str(error)) from error
            raise
        log.info("Pushed %s to %s, branch %s", commit, repository.url, self._branch)

    def _set_up(self, repository: RemoteRepository) -> None:
        settings = self._host.list_settings(repository, branch=self._branch)
        for number, setting in enumerate(settings, start=1):
            if not self._ledger.is_done(setting.name):
                log.info("Setting up %s (%s of %s)", setting.name, number, len(settings))
                setting.apply()
                self._ledger.mark_done(setting.name)

    def _find_use(self, repository: RemoteRepository) -> str | None:
        """Return who else has used the repository, None where nobody has."""
        export = self._ledger.export
        pushed = {HEADS + export.branch: export.exported_commit} if export.branch else {}
        refs = self._open_git(repository).list_refs()
        if refs and refs != pushed:
            return "somebody has pushed to it since"
        newest = self._host.get(repository.id)
        return newest.uses if newest is not None and newest.uses else None

    def _open_git(self, repository: RemoteRepository) -> RemoteRepositoryGit:
        return RemoteRepositoryGit(
            repository.git_url,
            remote=self._host.get_git_remote(),
            directory=self._request.repository.directory / ".git",
            timeout_seconds=self._request.settings.git_timeout_seconds,
        )


def get_export_ref(request: ExportRequest) -> str:
    """Return the ref below which the project's repository keeps what was made for this export."""
    return f"refs/scaffolder/exports/{request.export.id}"
