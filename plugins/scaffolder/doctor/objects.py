"""The objects of a repository that nobody trusts, read by git from a repository of the doctor's own.

Only the object store is the project's (``GIT_OBJECT_DIRECTORY``): git never sees its configuration, hooks, attributes,
grafts or replacements, so that nothing that was planted there runs or hides anything.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, cast

from scaffolder.errors import StorageError
from scaffolder.generation.repository import last_line, make_git

if TYPE_CHECKING:
    import git

_PIECE_BYTES: Final = 65_536
_COMMITS_PER_CHECK: Final = 500  # whose ids a pipe holds while nobody reads the answers


@dataclass(frozen=True, kw_only=True)
class TreeFile:
    """One entry of a tree. `size_bytes` is None for what is no blob."""

    path: str
    mode: int
    size_bytes: int | None
    blob: str


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object:
        """Take `data`."""


@contextmanager
def make_bare_repository() -> Iterator[Path]:
    """Yield an empty repository for git to run in. Raises StorageError."""
    import git as gitpython

    with tempfile.TemporaryDirectory(prefix="scaffolder-doctor-") as directory:
        try:
            make_git().execute(["git", "init", "--quiet", "--bare", "--template=", directory])
        except gitpython.GitCommandError as error:
            raise StorageError(f"{directory!r} cannot be made a repository: {last_line(error.stderr)}") from error
        yield Path(directory)


class ObjectStore:
    """The objects in the directory `objects`; `bare` is from `make_bare_repository`. All methods raise StorageError."""

    def __init__(self, objects: Path, *, bare: Path, timeout_seconds: int) -> None:
        self._objects = objects
        self._bare = bare
        self._timeout_seconds = timeout_seconds

    def find_missing(self, commits: Sequence[str]) -> set[str]:
        """Return those of `commits` that are not there, or are no commits."""
        missing: set[str] = set()
        for start in range(0, len(commits), _COMMITS_PER_CHECK):
            chunk = commits[start : start + _COMMITS_PER_CHECK]
            given = "".join(f"{commit}\n" for commit in chunk).encode()
            with self._running("cat-file", "--batch-check=%(objecttype)", given=given) as process:
                lines = _output(process).read().decode().splitlines()
            missing.update(commit for commit, line in zip(chunk, lines, strict=False) if line != "commit")
        return missing

    def iterate_tree(self, commit: str) -> Iterator[TreeFile]:
        """Yield the files of `commit` by path in byte order."""
        with self._running("ls-tree", "-r", "-l", "-z", "--full-tree", commit) as process:
            rest = b""
            while piece := _output(process).read(_PIECE_BYTES):
                *lines, rest = (rest + piece).split(b"\0")
                yield from map(_parse_tree_file, lines)

    @contextmanager
    def reading(self) -> Iterator[BlobReader]:
        """Yield what reads contents one after the other."""
        with self._running("cat-file", "--batch", given=None) as process:
            yield BlobReader(process)
            if process.stdin is not None:
                process.stdin.close()

    def check(self, commits: Sequence[str]) -> list[str]:
        """Return what ``git fsck`` says is wrong with the objects and all that `commits` lead to; reads all of them."""
        command = ("fsck", "--full", "--no-dangling", "--no-reflogs", "--no-progress", *commits)
        with self._running(*command, accept_failure=True) as process:
            output, errors = process.communicate()
        told = (output + b"\n" + errors).decode("utf-8", "replace").splitlines()
        lines = [last_line(line) for line in told if line.strip() and not line.startswith("notice:")]
        if process.returncode and not lines:
            return [f"git fsck ends with status {process.returncode}"]
        return lines if process.returncode else []

    @contextmanager
    def _running(
        self, *arguments: str, given: bytes | None = b"", accept_failure: bool = False
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a git command for as long as the block takes; `given` is what it reads, None for what the block writes.

        Its errors go to a file: a pipe that nobody empties would stop it.
        """
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            process.kill()

        with ExitStack() as stack:
            if given is None:
                source: int | IO[bytes] = subprocess.PIPE
            else:
                source = stack.enter_context(tempfile.TemporaryFile())
                source.write(given)
                source.seek(0)
            command = ["git", "--no-replace-objects", "--no-pager", *arguments]
            running: Any = self._git().execute(command, as_process=True, istream=cast("Any", source))
            process: subprocess.Popen[bytes] = stack.enter_context(running.proc)
            errors: list[bytes] = []
            reader = threading.Thread(target=lambda: errors.append(_drain(process)), daemon=True)
            if not accept_failure:
                reader.start()
            timer = threading.Timer(self._timeout_seconds, give_up)
            timer.start()
            try:
                yield process
                process.wait()
            except BrokenPipeError:
                process.wait()  # its status says why it reads no more
            except BaseException:
                process.kill()
                raise
            finally:
                timer.cancel()
                if process.stdin is not None:
                    with suppress(BrokenPipeError):
                        process.stdin.close()
                if reader.ident is not None:
                    process.wait()
                    reader.join()
        where = f"git {arguments[0]} in {str(self._objects)!r}"
        if expired.is_set():
            raise StorageError(f"{where} took longer than {self._timeout_seconds} s")
        if process.returncode and not accept_failure:
            raise StorageError(f"{where} failed: {last_line(b''.join(errors).decode('utf-8', 'replace'))}")

    def _git(self) -> git.Git:
        return make_git(
            self._bare,
            GIT_DIR=str(self._bare),
            GIT_OBJECT_DIRECTORY=str(self._objects),
            GIT_NO_REPLACE_OBJECTS="1",
            GIT_GRAFT_FILE="/dev/null",
            GIT_ALLOW_PROTOCOL="none",
        )


class BlobReader:
    """Contents of blobs, by a git that is asked for one after the other."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def copy(self, blob: str, *, output: _Sink) -> None:
        """Write the content of `blob` to `output`. Raises StorageError where it is not there."""
        if self._process.stdin is None:
            raise StorageError("git cat-file reads nothing")
        try:
            self._process.stdin.write(f"{blob}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise StorageError(f"the object {blob!r} cannot be read") from None
        stream = _output(self._process)
        header = stream.readline().decode("utf-8", "replace").split()
        if len(header) != 3 or header[1] != "blob":
            raise StorageError(f"the object {blob!r} cannot be read: git says {' '.join(header) or 'nothing'!r}")
        left = int(header[2])
        while left:
            piece = stream.read(min(left, _PIECE_BYTES))
            if not piece:
                raise StorageError(f"the object {blob!r} cannot be read to its end")
            output.write(piece)
            left -= len(piece)
        stream.read(1)

    def digest(self, blob: str) -> str:
        """Return the SHA-256 of the content of `blob`. Raises StorageError where it is not there."""
        digest = hashlib.sha256()
        self.copy(blob, output=_Digest(digest))
        return digest.hexdigest()


class _Digest:
    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def write(self, data: bytes, /) -> None:
        self._digest.update(data)


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        raise StorageError("git says nothing")
    return process.stdout


def _drain(process: subprocess.Popen[bytes]) -> bytes:
    return process.stderr.read() if process.stderr is not None else b""


def _parse_tree_file(line: bytes) -> TreeFile:
    attributes, path = line.split(b"\t", 1)
    mode, kind, blob, size = attributes.decode().split()
    if kind == "blob" and not size.isdigit():
        raise StorageError(f"the object {blob!r} of {path.decode('utf-8', 'backslashreplace')!r} cannot be read")
    return TreeFile(
        path=path.decode("utf-8", "surrogateescape"),
        mode=int(mode, 8),
        size_bytes=int(size) if size.isdigit() else None,
        blob=blob,
    )
