"""git commands of exports against one remote repository: what is there, and pushes that never overwrite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scaffolder.errors import ExportConflictError, ExportRejectedError, HostUnavailableError
from scaffolder.generation.git_remote import GitRemote, RemoteGit, RemoteGitError
from scaffolder.observability import traces

HEADS: Final = "refs/heads/"

_STALE = re.compile(r"stale info|fetch first|non-fast-forward|already exists", re.IGNORECASE)


class RemoteRepositoryGit:
    """git against the repository at `url`. `directory` is the local repository (its ``.git``) that has the commits."""

    def __init__(self, url: str, *, remote: GitRemote, directory: Path, timeout_seconds: int) -> None:
        self.url = url
        self._directory = directory
        self._git = RemoteGit(url, remote=remote, timeout_seconds=timeout_seconds)

    def list_refs(self) -> dict[str, str]:
        """Return the remote's branches and tags: ref -> object id.

        Raises ExportRejectedError and HostUnavailableError.
        """
        with _translated_errors():
            return self._git.list_refs(self._directory)

    def push(self, commit: str, *, branch: str, onto: str | None) -> None:
        """Push `commit` to `branch`, which must be at `onto`, or not be there for None; then see that it is there.

        A second writer loses: nothing is overwritten. Raises ExportConflictError, ExportRejectedError and
        HostUnavailableError.
        """
        ref = HEADS + branch
        # Where the branch must not be there, a lease says so; otherwise git itself refuses what is not on top.
        lease = [f"--force-with-lease={ref}:"] if onto is None else []
        try:
            with traces.span("scaffolder.git_push", kind="client", commit=commit), _translated_errors():
                self._git.run(
                    "push", "--quiet", *lease, "--", self.url, f"{commit}:{ref}", git_directory=self._directory
                )
        except ExportConflictError:
            if self.list_refs().get(ref) != commit:
                raise
            return  # another try of the same export was faster
        if (there := self.list_refs().get(ref)) != commit:
            raise HostUnavailableError(f"{self.url} has {there!r} on {branch!r} after a push of {commit!r}")

    def fetch_trees(self, branch: str) -> None:
        """Fetch the newest commit of `branch` with its trees, but neither its files nor its history.

        The local repository must know the remote as ``origin``. A host that cannot leave files out sends them.
        """
        ref = HEADS + branch
        with _translated_errors():
            self._git.run(
                "fetch",
                "--quiet",
                "--depth=1",
                "--filter=blob:none",
                "--no-tags",
                "--no-write-fetch-head",
                "origin",
                f"+{ref}:{ref}",
                git_directory=self._directory,
            )

    def replace(self, commit: str, *, branch: str, instead_of: str) -> None:
        """Make `branch` point to `commit` where it is at `instead_of`, whose commits go. Raises as `push` does."""
        ref = HEADS + branch
        with traces.span("scaffolder.git_push", kind="client", commit=commit), _translated_errors():
            self._git.run(
                "push",
                "--quiet",
                f"--force-with-lease={ref}:{instead_of}",
                "--",
                self.url,
                f"{commit}:{ref}",
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
