"""Export to any git host: one push to a repository that is empty, or holds what the generated project had before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from scaffolder.errors import ExportConflictError, ExportTargetError, StorageError
from scaffolder.exports.contract import (
    BranchName,
    ExportOptions,
    ExportRequest,
    ExportResult,
    RepositoryName,
    read_options,
)
from scaffolder.exports.history import prepare_commit
from scaffolder.exports.hosted import get_export_ref
from scaffolder.exports.push import HEADS, RemoteRepositoryGit
from scaffolder.generation.git_remote import SCHEMES, GitRemote, without_credentials
from scaffolder.generation.repository import BRANCH, last_line, make_git


class GitOptions(ExportOptions):
    """The options of the target ``git``: the repository's name (that of the generated project) and the branch."""

    repository: RepositoryName | None = None
    branch: BranchName = "main"


class GitExporter:
    """A repository at any git host, which must be there and empty; a ``file:`` URL makes a local bare one."""

    target = "git"
    needs_connection = True
    author_options: frozenset[str] = frozenset()

    def check_options(self, options: Mapping[str, Any]) -> None:
        """See `Exporter`."""
        read_options(GitOptions, options, target=self.target)

    def connect(self, conn_id: str) -> GitRemote:
        """See `Exporter`."""
        from scaffolder.exports.hook import GitRemoteHook

        return GitRemoteHook(conn_id).get_conn()

    def locate(self, connection: GitRemote) -> str:
        """See `Exporter`."""
        return without_credentials(connection.url)

    def export(self, request: ExportRequest) -> ExportResult:
        """Push the commit. What is there and isn't this project's is not touched: ExportConflictError."""
        options = read_options(GitOptions, request.options, target=self.target)
        remote: GitRemote = request.connection
        url = get_repository_url(remote, name=options.repository or request.name)
        git = RemoteRepositoryGit(
            url,
            remote=remote,
            directory=request.repository.directory / ".git",
            timeout_seconds=request.settings.git_timeout_seconds,
        )
        commit = prepare_commit(
            request.repository, request.commit, ref=get_export_ref(request), identity=request.identity
        )
        _create_local_repository(url)
        found = git.list_refs()
        there = found.get(HEADS + options.branch)
        if there != commit:
            if found and there not in request.ledger.find_own_commits(url):
                raise ExportConflictError(
                    f"{url} holds {len(found)} refs that this export did not make, so nothing was pushed; accepted "
                    "is an empty repository"
                )
            request.ledger.note(remote_id=url, remote_name=url, exported_commit=commit, branch=options.branch, url=url)
            git.push(commit, branch=options.branch, onto=there)
        return ExportResult(url=url, exported_commit=commit, result={"branch": options.branch})

    def roll_back(self, request: ExportRequest) -> str | None:
        """Say what is left: git alone deletes no repositories."""
        export = request.export
        if export.exported_commit is None:
            return None
        return f"{export.url}, branch {export.branch!r}, is left behind: this target cannot delete repositories"


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
