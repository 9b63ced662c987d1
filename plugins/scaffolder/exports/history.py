"""A commit as it is to be exported: its history made again for a commit identity, with files of the export on top.

The generated project's own branch stays as it is; what is made here hangs on a ref of the export's own.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from scaffolder.errors import StorageError
from scaffolder.exports.identity import CommitIdentity
from scaffolder.generation.paths import MAX_PATH_BYTES, check_paths
from scaffolder.generation.repository import CommitInfo, ProjectRepository, last_line, make_git
from scaffolder.generation.tree import GeneratedFile
from scaffolder.records.models import GeneratedProject

_ADDED_MESSAGE: Final = "Add the files of the export\n"
_RUN_EMAIL: Final = "scaffolder@localhost"
_REFS: Final = "refs/"
_HEADS: Final = "refs/heads/"
# git holds a lock for a moment only: one that stays is that of a process that was killed.
_STALE_LOCK_SECONDS: Final = 5


def prepare_commit(
    repository: ProjectRepository,
    commit: str,
    *,
    ref: str,
    identity: CommitIdentity | None,
    files: Sequence[GeneratedFile] = (),
    message: str = _ADDED_MESSAGE,
    timeout_seconds: int = 600,
) -> str:
    """Return the id of `commit` as it is to be exported; `ref` holds it, and is made last.

    Without `identity` and `files` that is `commit` itself, and nothing is written. An identity becomes the author and
    committer of every commit of the first-parent history, which is signed where it has a key; trees, dates and
    messages stay. `files` come in one commit on top, with the date of `commit`; they replace those with their paths.

    Where `ref` is there, its commit is returned as it is: signatures differ from try to try, and a retry has to find
    the first one's. A try that was killed before leaves objects that nothing holds.

    Raises ExportTargetError (the key), UnsafePathError (the files) and StorageError.
    """
    if identity is None and not files:
        return commit
    if not ref.startswith(_REFS) or ref.startswith(_HEADS):
        raise ValueError(f"ref {ref!r}; accepted is one below {_REFS!r} that is no branch")
    git = _Plumbing(repository.directory / ".git", timeout_seconds=timeout_seconds)
    if found := git.find_ref(ref):
        return found
    newest = _make_again(git, commit, identity) if identity else commit
    if files:
        newest = _add_files(git, newest, files=files, identity=identity, message=message)
    return git.create_ref(ref, newest)


def write_commit(
    directory: Path, text: CommitText, *, identity: CommitIdentity | None, timeout_seconds: int = 600
) -> str:
    """Write the commit, signed where `identity` has a key, into the repository `directory`, and return its id.

    `directory` is a ``.git``, or a bare repository. Raises ExportTargetError (the key) and StorageError.
    """
    return _Plumbing(directory, timeout_seconds=timeout_seconds).write_commit(text, identity=identity)


def _make_again(git: _Plumbing, commit: str, identity: CommitIdentity) -> str:
    parents: tuple[str, ...] = ()
    for one in git.read_history(commit):
        parents = (git.write_commit(one.made_by(identity, parents=parents), identity=identity),)
    return parents[0]


def _add_files(
    git: _Plumbing, parent: str, *, files: Sequence[GeneratedFile], identity: CommitIdentity | None, message: str
) -> str:
    added = [file.path for file in files]
    kept = set(git.list_paths(parent)).difference(added)
    check_paths([*kept, *added], max_depth=MAX_PATH_BYTES)  # no path is deeper
    newest = git.read_commit(parent)
    tree = git.write_tree(parent, files)
    if tree == newest.tree:
        return parent
    # Where there is an identity, the parent's committer is that one already.
    on_top = CommitText(
        tree=tree,
        parents=(parent,),
        author=newest.committer,
        committer=newest.committer,
        message=_end_line(message),
    )
    return git.write_commit(on_top, identity=identity)


@dataclass(frozen=True, kw_only=True)
class CommitText:
    """What a commit object says (git-hash-object, type commit), without its signature.

    `author` and `committer` are ``Name <address> seconds zone``. `encoding` is that of the message where not UTF-8.
    """

    tree: str
    parents: tuple[str, ...]
    author: bytes
    committer: bytes
    message: bytes
    encoding: bytes | None = None

    @classmethod
    def of_run(
        cls,
        generated_project: GeneratedProject,
        *,
        identity: CommitIdentity | None,
        tree: str,
        parents: tuple[str, ...],
        message: str,
    ) -> CommitText:
        """Return a commit made by `identity` or, without, by whoever started the run; it has the run's date."""
        info = CommitInfo(
            step_id="",
            subject="",
            trailers=(),
            author=generated_project.created_by or "scaffolder",
            email=_RUN_EMAIL,
            at=generated_project.run_at,
        )
        who = info.signature.encode()
        text = cls(tree=tree, parents=parents, author=who, committer=who, message=_end_line(message))
        return text.made_by(identity, parents=parents) if identity else text

    @classmethod
    def parse(cls, raw: bytes) -> CommitText:
        """Read a commit object; what it says beyond these fields is left out."""
        head, _, message = raw.partition(b"\n\n")
        # The lines of a signature, which begin with a space, have no key.
        lines = [line.partition(b" ") for line in head.split(b"\n")]
        headers = {key: value for key, _, value in lines}
        return cls(
            tree=headers[b"tree"].decode("ascii"),
            parents=tuple(value.decode("ascii") for key, _, value in lines if key == b"parent"),
            author=headers[b"author"],
            committer=headers[b"committer"],
            encoding=headers.get(b"encoding"),
            message=message,
        )

    def made_by(self, identity: CommitIdentity, *, parents: tuple[str, ...]) -> CommitText:
        """Return the same with `identity` as author and committer; the dates stay."""
        who = identity.signature.encode()
        return replace(
            self, parents=parents, author=who + _get_date(self.author), committer=who + _get_date(self.committer)
        )

    def serialize(self, *, signature: str | None = None) -> bytes:
        """Return the object's bytes; `signature` is that of the bytes without it."""
        lines = [
            b"tree " + self.tree.encode(),
            *(b"parent " + parent.encode() for parent in self.parents),
            b"author " + self.author,
            b"committer " + self.committer,
            *([b"encoding " + self.encoding] if self.encoding else []),
            *([b"gpgsig " + signature.rstrip("\n").replace("\n", "\n ").encode()] if signature else []),
        ]
        return b"\n".join(lines) + b"\n\n" + self.message


def _end_line(message: str) -> bytes:
    return message.rstrip("\n").encode() + b"\n"


def _get_date(signature: bytes) -> bytes:
    return signature[signature.rindex(b">") + 1 :]


class _Plumbing:
    """git's commands for objects and refs in the repository `directory` (a ``.git``, or a bare one)."""

    def __init__(self, directory: Path, *, timeout_seconds: int) -> None:
        self._directory = directory
        self._timeout_seconds = timeout_seconds

    # Reading

    def find_ref(self, ref: str) -> str | None:
        listing = self._run("for-each-ref", "--format=%(refname) %(objectname)", ref).decode().splitlines()
        # A name also finds all that is below it.
        return dict(line.split(" ") for line in listing).get(ref)

    def read_commit(self, commit: str) -> CommitText:
        return CommitText.parse(self._run("cat-file", "commit", commit))

    def read_history(self, commit: str) -> list[CommitText]:
        """Return the first-parent history, oldest first."""
        ids = self._run("rev-list", "--first-parent", "--reverse", "--end-of-options", commit)
        batch = self._run("cat-file", "--batch", data=ids)
        commits = []
        position = 0
        while position < len(batch):
            end = batch.index(b"\n", position)
            size_bytes = int(batch[position:end].split(b" ")[2])
            commits.append(CommitText.parse(batch[end + 1 : end + 1 + size_bytes]))
            position = end + size_bytes + 2  # a line end follows each
        return commits

    def list_paths(self, commit: str) -> list[str]:
        listing = self._run("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
        return [path.decode("utf-8", "surrogateescape") for path in listing.split(b"\0") if path]

    # Writing

    def write_commit(self, commit: CommitText, *, identity: CommitIdentity | None) -> str:
        signature = identity.sign(commit.serialize()) if identity else None
        return self._write_object("commit", commit.serialize(signature=signature))

    def write_tree(self, commit: str, files: Sequence[GeneratedFile]) -> str:
        """Write the tree of `commit` with `files`, and return its id."""
        entries = [f"{file.mode:o} {self._write_object('blob', file.content)}\t{file.path}\0" for file in files]
        with tempfile.TemporaryDirectory(prefix="scaffolder-") as directory:
            index = str(Path(directory, "index"))
            self._run("read-tree", commit, GIT_INDEX_FILE=index)
            self._run("update-index", "-z", "--index-info", data="".join(entries).encode(), GIT_INDEX_FILE=index)
            return self._run("write-tree", GIT_INDEX_FILE=index).decode().strip()

    def _write_object(self, kind: str, content: bytes) -> str:
        return self._run("hash-object", "-t", kind, "-w", "--stdin", data=content).decode().strip()

    def create_ref(self, ref: str, commit: str) -> str:
        """Make the ref, or return the commit of a try that was faster."""
        self._break_lock(f"{ref}.lock")
        try:
            self._run("update-ref", ref, commit, "")
        except StorageError:
            if found := self.find_ref(ref):
                return found
            raise
        return commit

    def _break_lock(self, name: str) -> None:
        lock = self._directory / name
        deadline = time.monotonic() + _STALE_LOCK_SECONDS
        while lock.exists():
            if time.monotonic() > deadline:
                lock.unlink(missing_ok=True)
            time.sleep(0.05)

    def _run(self, command: str, *arguments: str, data: bytes = b"", **environment: str) -> bytes:
        runner = make_git(self._directory, GIT_DIR=str(self._directory), **environment)
        running: Any = runner.execute(["git", command, *arguments], istream=subprocess.PIPE, as_process=True)
        process: subprocess.Popen[bytes] = running.proc
        try:
            output, errors = process.communicate(data, timeout=self._timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise StorageError(
                f"git {command} took longer than {self._timeout_seconds} s in {str(self._directory)!r}"
            ) from None
        if process.returncode != 0:
            raise StorageError(
                f"git {command} failed in {str(self._directory)!r}: {last_line(errors.decode('utf-8', 'replace'))}"
            )
        return output
