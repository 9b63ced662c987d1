"""`ScratchRepository`: where a commit for somebody else's repository is made, without fetching its files or history.

It borrows the generated project's objects and fetches of the other side the trees of one commit only (a partial and
shallow clone). It is thrown away when the export is done.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scaffolder.errors import ExportConflictError, StorageError, UnsafePathError
from scaffolder.exports.history import CommitText, write_commit
from scaffolder.exports.identity import CommitIdentity
from scaffolder.exports.push import HEADS, RemoteRepositoryGit
from scaffolder.generation.git_remote import GitRemote
from scaffolder.generation.paths import MAX_PATH_BYTES, check_paths, is_ci_file
from scaffolder.generation.repository import last_line, make_git

_FILE_MODES: Final = frozenset({"100644", "100755"})


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A branch of the other repository that was fetched: its newest commit and that one's tree."""

    commit: str
    tree: str


class ScratchRepository:
    """The bare repository at `directory`. `objects` is the object store of the generated project."""

    def __init__(self, directory: Path, *, url: str, remote: GitRemote, objects: Path, timeout_seconds: int) -> None:
        self.directory = directory
        self._objects = objects
        self._url = url
        self.remote_git = RemoteRepositoryGit(url, remote=remote, directory=directory, timeout_seconds=timeout_seconds)

    def create(self) -> None:
        """Make it, anew where an earlier try left one. Raises StorageError."""
        import git

        try:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir(parents=True)
            command = make_git(self.directory)
            command.execute(["git", "init", "--quiet", "--bare", "--template=", str(self.directory)])
            (self.directory / "objects" / "info").mkdir(exist_ok=True)
            (self.directory / "objects" / "info" / "alternates").write_text(f"{self._objects}\n")
            for name, value in {
                "core.repositoryFormatVersion": "1",
                "extensions.partialClone": "origin",
                "remote.origin.url": self._url,
                "remote.origin.promisor": "true",
                "remote.origin.partialCloneFilter": "blob:none",
            }.items():
                command.execute(["git", f"--git-dir={self.directory}", "config", name, value])
        except OSError as error:
            raise StorageError(f"the directory {str(self.directory)!r} cannot be written: {error.strerror}") from error
        except git.GitCommandError as error:
            raise StorageError(f"{str(self.directory)!r} cannot be made: {last_line(error.stderr)}") from error

    def remove(self) -> None:
        """Remove it; what cannot be removed now is made anew by the next export."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def fetch(self, branch: str) -> Branch:
        """Fetch the trees of the newest commit of `branch`. Raises ExportRejectedError and HostUnavailableError."""
        self.remote_git.fetch_trees(branch)
        commit, tree = self._run("rev-parse", f"{HEADS}{branch}", f"{HEADS}{branch}^{{tree}}").split()
        return Branch(commit=commit, tree=tree)

    def add(self, commit: str, *, into: str, onto: Branch) -> str:
        """Return the tree of `onto` with the files of `commit` added or replaced below the directory `into`.

        Nothing is deleted. Raises ExportConflictError where a file would have to become a directory, or the reverse,
        and where a link or a submodule is in the way, and UnsafePathError for paths that break the rules there.
        """
        theirs = self._list(onto.commit)
        ours = {f"{into}/{path}" if into else path: entry for path, entry in self._list(commit).items()}
        _check_paths(ours, below=into)
        _check_no_clashes(ours, theirs)
        self._run("read-tree", onto.commit)
        lines = "".join(
            f"{mode} {blob}\t{path}\0" for path, (mode, blob) in ours.items() if theirs.get(path) != (mode, blob)
        )
        self._run("update-index", "-z", "--index-info", given=lines.encode())
        # Their blobs are not here.
        return self._run("write-tree", "--missing-ok")

    def commit(self, text: CommitText, *, identity: CommitIdentity | None) -> str:
        """Make a commit and return its id."""
        return write_commit(self.directory, text, identity=identity)

    def _list(self, commit: str) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for line in self._run("ls-tree", "-r", "-z", "--full-tree", commit).split("\0"):
            if line:
                attributes, path = line.split("\t", 1)
                mode, _, blob = attributes.split()
                found[path] = (mode, blob)
        return found

    def _run(self, command: str, *arguments: str, given: bytes | None = None) -> str:
        import git

        runner = make_git(self.directory, GIT_DIR=str(self.directory), GIT_INDEX_FILE=str(self.directory / "index"))
        try:
            if given is None:
                return str(runner.execute(["git", command, *arguments]))
            with tempfile.TemporaryFile(dir=self.directory) as stream:
                stream.write(given)
                stream.seek(0)
                return str(runner.execute(["git", command, *arguments], istream=stream))
        except git.GitCommandError as error:
            raise StorageError(f"git {command} failed: {last_line(error.stderr)}") from error


def _check_paths(paths: Iterable[str], *, below: str) -> None:
    """Hold the paths as they will be against the path rules; no file becomes a CI system's by being moved."""
    batch = list(paths)
    check_paths(batch, max_depth=MAX_PATH_BYTES)
    offenders = [path for path in batch if below and is_ci_file(path) and not is_ci_file(path[len(below) + 1 :])]
    if offenders:
        raise UnsafePathError(
            [(path, "runs on a CI system there, and not where it was made") for path in offenders],
            accepted="another target_path",
        )


def _check_no_clashes(ours: Mapping[str, object], theirs: Mapping[str, tuple[str, str]]) -> None:
    directories = {"/".join(path.split("/")[:depth]) for path in theirs for depth in range(1, path.count("/") + 1)}
    clashes = sorted(path for path in ours if path in directories)
    for path in ours:
        parts = path.split("/")
        clashes += [above for depth in range(1, len(parts)) if (above := "/".join(parts[:depth])) in theirs]
    # A link or a submodule that a file of ours would replace is somebody's design.
    clashes += [path for path in ours if theirs.get(path, ("100644", ""))[0] not in _FILE_MODES]
    if clashes:
        raise ExportConflictError(
            f"the repository has something else where files should go: {sorted(set(clashes))[:20]}; accepted is "
            "another target_path"
        )
