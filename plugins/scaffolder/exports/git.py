"""Export to any git host: one push of one commit to a repository that is empty, or holds that commit already."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from scaffolder.errors import (
    ExportConflictError,
    ExportRejectedError,
    ExportTargetError,
    HostUnavailableError,
    StorageError,
)
from scaffolder.exports.contract import ExportRequest, ExportResult, check_known_options
from scaffolder.generation.git_remote import SCHEMES, GitRemote, RemoteGit, RemoteGitError, without_credentials
from scaffolder.generation.repository import BRANCH, last_line, make_git

_REPOSITORY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_STALE = re.compile(r"stale info|fetch first|non-fast-forward|already exists", re.IGNORECASE)


class GitExporter:
    """Options: ``repository``, the repository's name on the host (default: the generated project's name)."""

    target = "git"
    needs_connection = True

    def check_options(self, options: Mapping[str, Any]) -> None:
        """See `Exporter`."""
        check_known_options(self.target, options, {"repository": "the repository's name"})
        name = options.get("repository")
        if name is not None and (not isinstance(name, str) or not _REPOSITORY_NAME.fullmatch(name)):
            raise ExportTargetError(f"repository {name!r}; accepted is {_REPOSITORY_NAME.pattern}")

    def export(self, request: ExportRequest) -> ExportResult:
        """Push the commit to ``main``. What is there and isn't ours is not touched: ExportConflictError."""
        if request.remote is None:
            raise ExportTargetError("target 'git' needs a connection that names the git host")
        url = get_repository_url(request.remote, name=request.options.get("repository") or request.name)
        git = _Git(request, url=url, remote=request.remote)
        _create_local_repository(url)
        found = git.list_refs()
        if found.get(BRANCH) != request.commit:
            if found:
                raise ExportConflictError(
                    f"{url} holds {len(found)} refs that this export did not make, so nothing was pushed; accepted "
                    "is an empty repository"
                )
            git.push()
            if (there := git.list_refs().get(BRANCH)) != request.commit:
                raise HostUnavailableError(f"{url} has {there!r} on main after a push of {request.commit!r}")
        return ExportResult(url=url)


def get_repository_url(remote: GitRemote, *, name: str) -> str:
    """Return the URL of repository `name`, never with credentials. Raises ExportTargetError."""
    url = remote.url.replace("{name}", quote(name)) if "{name}" in remote.url else remote.url
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or (parts.scheme != "file" and not parts.hostname) or not parts.path:
        raise ExportTargetError(
            f"the git connection's host is {without_credentials(url)!r}; accepted is a URL with a scheme of "
            f"{list(SCHEMES)}, such as 'https://git.example.com/team/{{name}}.git'"
        )
    login = parts.netloc.rpartition("@")[0]
    if ":" in login or (login and parts.scheme != "ssh") or parts.query or parts.fragment:
        raise ExportTargetError(
            "the git connection's host has credentials or a query in it; credentials belong in login and password"
        )
    return url


def _create_local_repository(url: str) -> None:
    """Make the bare repository a ``file:`` URL names; hosts have their own ways."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        return
    import git

    directory = Path(unquote(parts.path))
    if (directory / "HEAD").is_file():
        return
    command = make_git()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        branch = BRANCH.removeprefix("refs/heads/")
        command.execute(
            ["git", "init", "--quiet", "--bare", f"--initial-branch={branch}", "--template=", str(directory)]
        )
    except OSError as error:
        raise StorageError(f"the repository {str(directory)!r} cannot be made: {error.strerror}") from error
    except git.GitCommandError as error:
        raise StorageError(f"the repository {str(directory)!r} cannot be made: {last_line(error.stderr)}") from error


class _Git:
    """git commands against one remote repository, with its credentials."""

    def __init__(self, request: ExportRequest, *, url: str, remote: GitRemote) -> None:
        self._commit = request.commit
        self._directory = request.repository.directory / ".git"
        self._git = RemoteGit(url, remote=remote, timeout_seconds=request.settings.git_timeout_seconds)

    def list_refs(self) -> dict[str, str]:
        """Return the remote's branches and tags: ref -> commit."""
        with _translated_errors():
            return self._git.list_refs(self._directory)

    def push(self) -> None:
        """Push the commit to a branch that must not be there: a second writer loses, it does not overwrite."""
        with _translated_errors():
            self._git.run(
                "push",
                "--quiet",
                f"--force-with-lease={BRANCH}:",
                "--",
                self._git.url,
                f"{self._commit}:{BRANCH}",
                git_directory=self._directory,
            )


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except RemoteGitError as error:
        # Not "from error": ours says all that it says.
        if _STALE.search(error.told):
            raise ExportConflictError(f"{error}; somebody else has written there, so nothing was pushed") from None
        raise error.translated(ExportRejectedError) from None
