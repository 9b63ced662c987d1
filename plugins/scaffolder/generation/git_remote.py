"""Git hosts: whose URL it is, how git gets its credentials, and what its errors mean.

Exports and templates from git share it. Credentials stand in no URL, argument, environment variable or file: git asks
for them, and they come through a pipe.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from scaffolder.errors import HostUnavailableError, PermanentError, ScaffolderError
from scaffolder.generation.repository import last_line, make_git

SCHEMES: Final = ("file", "http", "https", "ssh")

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ssh": 22}
# What retrying cannot help, in git's own words; all else (resets, time-outs, 5xx) may pass.
_PERMANENT = re.compile(
    r"authentication failed|could not read (username|password)|terminal prompts disabled|permission denied|not found"
    r"|does not exist|does not appear to be a git repository|hook declined|protected|remote rejected|access denied"
    r"|returned error: 4(?!08|25|29)\d\d|host key verification failed|certificate|dubious ownership|unsupported"
    r"|fsck error",
    re.IGNORECASE,
)
# The password comes through a pipe, so that it stands in no argument, environment variable or file.
_ASKPASS: Final = """#!/bin/sh
case "$1" in
    Username*) printf '%s\\n' "$SCAFFOLDER_GIT_USERNAME" ;;
    *) cat "/dev/fd/$SCAFFOLDER_GIT_PASSWORD_FD" ;;
esac
"""


@dataclass(frozen=True, kw_only=True)
class GitRemote:
    """What a connection says of a git host: the URL's template (``{name}`` is the repository) and who we are there."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class RemoteGitError(Exception):
    """A git command that failed. `told` is what git and the host said, without the URL and the password.

    It never leaves the domain packages: `translated` makes it one of ours.
    """

    def __init__(self, message: str, *, told: str) -> None:
        super().__init__(message)
        self.told = told

    def translated(self, rejected: type[PermanentError]) -> ScaffolderError:
        """Return the error of ours: `rejected` where retrying cannot help, otherwise HostUnavailableError."""
        return rejected(str(self)) if _PERMANENT.search(self.told) else HostUnavailableError(str(self))


class RemoteGit:
    """git commands against the repository at `url`, with the credentials of `remote`."""

    def __init__(self, url: str, *, remote: GitRemote | None, timeout_seconds: int) -> None:
        self.url = url
        self._remote = remote
        self._timeout_seconds = timeout_seconds

    def list_refs(self, git_directory: Path) -> dict[str, str]:
        """Return the remote's branches and tags: ref -> object id. Raises RemoteGitError."""
        text = self.run("ls-remote", "--heads", "--tags", "--refs", "--", self.url, git_directory=git_directory)
        lines = [line.split("\t") for line in text.splitlines() if "\t" in line]
        return {ref: object_id for object_id, ref in lines}

    def run(self, command: str, *arguments: str, git_directory: Path, configuration: Sequence[str] = ()) -> str:
        """Run one git command in the repository `git_directory` and return what it prints.

        `configuration` is git's own, each ``name=value``. Raises RemoteGitError.
        """
        import git

        configured = [part for option in ("http.followRedirects=false", *configuration) for part in ("-c", option)]
        with _askpass(self._remote) as (environment, descriptors):
            runner = make_git(
                git_directory, **environment, GIT_DIR=str(git_directory), GIT_SSH_COMMAND="ssh -o BatchMode=yes"
            )
            try:
                return str(
                    runner.execute(
                        ["git", *configured, command, *arguments],
                        kill_after_timeout=self._timeout_seconds,
                        pass_fds=descriptors,
                    )
                )
            except git.GitCommandError as error:
                # Not "from error": its text is what the host wrote, unread.
                raise self._describe(command, str(error.stderr)) from None

    def _describe(self, command: str, stderr: str) -> RemoteGitError:
        # A host may repeat the password; the URL is ours and may hold any word.
        told = stderr.replace(self.url, "the repository")
        if self._remote is not None and self._remote.password:
            told = told.replace(self._remote.password, "***")
        # After the reason, git gives advice.
        reasons = [line for line in told.splitlines() if _PERMANENT.search(line)]
        reason = last_line(reasons[0] if reasons else told).removeprefix("stderr: '").removesuffix("'")
        return RemoteGitError(f"git {command} at {self.url} failed: {reason}", told=told)


def without_credentials(url: str) -> str:
    """Return `url` without what stands before its ``@``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def get_origin(url: str) -> tuple[str, str, int | None]:
    """Return what credentials belong to: scheme, host and port (the scheme's own where none is named).

    Raises ValueError for a port that is no number.
    """
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


@contextmanager
def _askpass(remote: GitRemote | None) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """Yield the environment and the file descriptors with which git can ask for the connection's credentials."""
    if remote is None or remote.password is None:
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
