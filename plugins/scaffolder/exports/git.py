"""Export to any git host: one push of one commit to a repository that is empty, or holds that commit already."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from scaffolder.errors import (
    ExportConflictError,
    ExportRejectedError,
    ExportTargetError,
    HostUnavailableError,
    ScaffolderError,
    StorageError,
)
from scaffolder.exports.contract import ExportRequest, ExportResult, GitRemote, check_known_options
from scaffolder.generation.repository import BRANCH, last_line, make_git

SCHEMES: Final = ("file", "http", "https", "ssh")

_REPOSITORY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# What retrying cannot help, in git's own words; all else (resets, time-outs, 5xx) may pass.
_PERMANENT = re.compile(
    r"authentication failed|could not read (username|password)|terminal prompts disabled|permission denied|not found"
    r"|does not exist|does not appear to be a git repository|hook declined|protected|remote rejected|access denied"
    r"|returned error: 4(?!08|25|29)\d\d|host key verification failed|certificate|dubious ownership|unsupported",
    re.IGNORECASE,
)
_STALE = re.compile(r"stale info|fetch first|non-fast-forward|already exists", re.IGNORECASE)
# The password comes through a pipe, so that it stands in no argument, environment variable or file.
_ASKPASS: Final = """#!/bin/sh
case "$1" in
    Username*) printf '%s\\n' "$SCAFFOLDER_GIT_USERNAME" ;;
    *) cat "/dev/fd/$SCAFFOLDER_GIT_PASSWORD_FD" ;;
esac
"""


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


def without_credentials(url: str) -> str:
    """Return `url` without what stands before its ``@``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


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
        self._request = request
        self._url = url
        self._remote = remote

    def list_refs(self) -> dict[str, str]:
        """Return the remote's branches and tags: ref -> commit."""
        text = self._run("ls-remote", "--heads", "--tags", "--", self._url)
        lines = [line.split("\t") for line in text.splitlines() if "\t" in line]
        return {ref: commit for commit, ref in lines}

    def push(self) -> None:
        """Push the commit to a branch that must not be there: a second writer loses, it does not overwrite."""
        self._run(
            "push",
            "--quiet",
            f"--force-with-lease={BRANCH}:",
            "--",
            self._url,
            f"{self._request.commit}:{BRANCH}",
        )

    def _run(self, command: str, *arguments: str) -> str:
        import git

        directory = self._request.repository.directory
        with _askpass(self._remote) as (environment, descriptors):
            runner = make_git(
                directory,
                **environment,
                GIT_DIR=str(directory / ".git"),
                GIT_SSH_COMMAND="ssh -o BatchMode=yes",
            )
            try:
                return str(
                    runner.execute(
                        ["git", "-c", "http.followRedirects=false", command, *arguments],
                        kill_after_timeout=self._request.settings.git_timeout_seconds,
                        pass_fds=descriptors,
                    )
                )
            except git.GitCommandError as error:
                # Not "from error": its text is what the host wrote, unread.
                raise self._translate(command, error.stderr) from None

    def _translate(self, command: str, stderr: str) -> ScaffolderError:
        # A host may repeat the password; the URL is ours and may hold any word.
        told = stderr.replace(self._url, "the repository")
        if self._remote.password:
            told = told.replace(self._remote.password, "***")
        message = f"git {command} at {self._url} failed: {last_line(told)}"
        if _STALE.search(told):
            return ExportConflictError(f"{message}; somebody else has written there, so nothing was pushed")
        return ExportRejectedError(message) if _PERMANENT.search(told) else HostUnavailableError(message)


@contextmanager
def _askpass(remote: GitRemote) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """Yield the environment and the file descriptors with which git can ask for the connection's credentials."""
    if remote.password is None:
        yield {"GIT_ASKPASS": "/bin/false"}, ()
        return
    reader, writer = os.pipe()
    try:
        os.write(writer, remote.password.encode() + b"\n")
        os.close(writer)
        with tempfile.TemporaryDirectory(prefix="scaffolder-") as directory:
            script = Path(directory, "askpass")
            script.write_text(_ASKPASS)
            script.chmod(0o700)
            environment = {
                "GIT_ASKPASS": str(script),
                "SCAFFOLDER_GIT_USERNAME": remote.username or "git",
                "SCAFFOLDER_GIT_PASSWORD_FD": str(reader),
            }
            yield environment, (reader,)
    finally:
        os.close(reader)
