"""The git repository of one generated project: one deterministic commit for each step, written by ``git fast-import``.

A step's commit appears when one ref moves, or not at all. Author, committer and dates come from the run, so equal
input gives equal commit ids. Callers serialise writers (the records' row lock); readers need no lock.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from scaffolder.errors import RecordNotFoundError, StorageError
from scaffolder.generation.merge import TreeChanges

if TYPE_CHECKING:
    import git

BRANCH: Final = "refs/heads/main"
STEP_TRAILER: Final = "Scaffolder-Step"

# A tree may hold a .gitattributes; none of it may change bytes on the way out or leave files out.
_ATTRIBUTES: Final = "* -text -eol -ident -filter -working-tree-encoding -export-ignore -export-subst\n"
_PIECE_BYTES: Final = 65_536  # what a pipe holds: git fills it again while the last one is worked on
_LOCKS: Final = (
    "index.lock",
    "HEAD.lock",
    "config.lock",
    "packed-refs.lock",
    f"{BRANCH}.lock",
)
_DIFF: Final = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames")
_CONFIG: Final = (
    ("core.hooksPath", "/dev/null"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.autocrlf", "false"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.quotePath", "false"),
    ("gc.auto", "0"),
    ("core.compression", "1"),  # of all levels that compress, the one that doesn't cost more than the rest of a step
    ("checkout.workers", "4"),  # writing waits for the disk more than for a processor
    ("tar.umask", "0022"),
    ("protocol.ext.allow", "never"),
)


def git_environment() -> dict[str, str]:
    """Return the environment of every git command: no configuration or credentials but ours, no prompts, no hooks."""
    environment = {
        "HOME": "/nonexistent",  # or a .netrc there would lend its credentials
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CONFIG_COUNT": str(len(_CONFIG)),
        "LC_ALL": "C",
        "TZ": "UTC",  # zip archives hold local times
    }
    for index, (key, value) in enumerate(_CONFIG):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment


class ByteSink(Protocol):
    """Anything bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take `data`."""


def make_git(directory: Path | None = None, **environment: str) -> git.Git:
    """Return GitPython's git for `directory`, with `git_environment` and `environment`.

    Drops foreign ``GIT_*`` variables from this process: GitPython hands on all it finds, and they redirect git.
    """
    import git

    for name in [name for name in os.environ if name.startswith("GIT_") and not name.startswith("GIT_PYTHON_")]:
        del os.environ[name]
    command = git.Git(directory)
    command.update_environment(**git_environment(), **environment)
    return command


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit of a generated project. `step_id` is None for a commit that no step made."""

    id: str
    parent: str | None
    subject: str
    step_id: str | None
    authored_at: datetime


@dataclass(frozen=True, kw_only=True)
class TreeEntry:
    """One file of a commit, as git sees it."""

    path: str
    mode: int
    size_bytes: int
    blob: str


@dataclass(frozen=True, kw_only=True)
class CommitInfo:
    """What a step's commit says of itself. `at` (aware, whole seconds count) dates author and committer."""

    step_id: str
    subject: str
    trailers: tuple[tuple[str, str], ...]
    author: str
    email: str
    at: datetime

    @property
    def message(self) -> str:
        """The commit message, with its trailers (git-interpret-trailers)."""
        lines = [f"{key}: {_one_line(value)}" for key, value in ((STEP_TRAILER, self.step_id), *self.trailers)]
        return f"{_one_line(self.subject)}\n\n" + "\n".join(lines) + "\n"

    @property
    def signature(self) -> str:
        """Author and committer as fast-import reads them."""
        name, email = (_without(_one_line(text), "<>") for text in (self.author, self.email))
        return f"{name} <{email}> {int(self.at.timestamp())} +0000"


class ProjectRepository:
    """The repository at `directory` (a working tree with its ``.git``)."""

    def __init__(self, directory: Path, *, timeout_seconds: int = 600) -> None:
        self.directory = directory
        self._timeout_seconds = timeout_seconds

    @classmethod
    def create(cls, directory: Path, *, timeout_seconds: int = 600) -> ProjectRepository:
        """Make the repository, or complete one whose making was interrupted. Raises StorageError."""
        repository = cls(directory, timeout_seconds=timeout_seconds)
        attributes = directory / ".git" / "info" / "attributes"
        try:
            if not attributes.is_file():
                directory.mkdir(parents=True, exist_ok=True)
                repository._remove_stale_locks()
                branch = BRANCH.removeprefix("refs/heads/")
                repository._git("init", "--quiet", f"--initial-branch={branch}", "--template=")
                attributes.parent.mkdir(exist_ok=True)
                # It marks the repository as complete, so it appears last and whole.
                unfinished = attributes.with_suffix(".unfinished")
                unfinished.write_text(_ATTRIBUTES)
                unfinished.replace(attributes)
        except OSError as error:
            raise StorageError(
                f"the directory {str(directory)!r} cannot be written: {error.strerror}. Check "
                "SCAFFOLDER_GENERATED_PROJECTS_DIR and the rights of the user that runs the tasks"
            ) from error
        return repository

    # Reading

    def head(self) -> str | None:
        """Return the newest commit's id."""
        found: str = self._git("for-each-ref", "--format=%(objectname)", BRANCH)
        return found or None

    def history(self, commit: str | None = None) -> list[Commit]:
        """Return the commits up to `commit` (default: the head), oldest first."""
        newest = commit or self.head()
        if newest is None:
            return []
        separator = f"%(trailers:key={STEP_TRAILER},valueonly,separator=%x2C)"
        text: str = self._git(
            "log",
            "-z",
            "--reverse",
            "--first-parent",
            f"--format=%H%x1f%P%x1f%at%x1f{separator}%x1f%s",
            newest,
        )
        return [_parse_commit(line) for line in text.split("\0") if line]

    def files(self, commit: str) -> list[TreeEntry]:
        """Return the files of `commit`, by path in byte order."""
        text: str = self._git("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        return [_parse_tree_entry(line) for line in text.split("\0") if line]

    def read(self, commit: str, path: str) -> bytes:
        """Return the content of one file. Raises RecordNotFoundError."""
        import git

        try:
            content: bytes = self._git(
                "cat-file", "blob", f"{commit}:{path}", strip_newline_in_stdout=False, stdout_as_string=False
            )
        except git.GitCommandError as error:
            raise RecordNotFoundError(f"there is no file {path!r} in commit {commit!r}") from error
        return content

    def diff(self, base: str, head: str) -> str:
        """Return the changes from `base` to `head` as a unified diff; binary files are only named."""
        found: str = self._git(*_DIFF, base, head)
        return found

    def write_file(self, commit: str, path: str, *, output: ByteSink) -> None:
        """Write the content of one file. Raises StorageError where git cannot, and what `output` raises."""
        self._copy("cat-file", "blob", f"{commit}:{path}", output=output)

    def write_diff(self, base: str, head: str, *, output: ByteSink) -> None:
        """Write the changes from `base` to `head` as `diff` returns them. Raises as `write_file`."""
        self._copy(*_DIFF, base, head, output=output)

    def write_tar(self, commit: str, *, prefix: str, output: ByteSink) -> None:
        """Write the tree of `commit` as a tar, all below `prefix`.

        Two tars of one commit are byte-identical: entries are sorted and dated by the commit. `output` gets them
        in pieces of the same sizes, too. Raises StorageError where git cannot, and what `output` raises.
        """
        self._copy("archive", "--format=tar", f"--prefix={prefix}/", commit, output=output)

    def write_bundle(self, commit: str, *, output: ByteSink) -> None:
        """Write the whole history of `commit` as a git bundle, whose branch main (and HEAD) is `commit`.

        Two bundles of one commit are byte-identical, however the objects are packed here. Raises as `write_tar`.
        """
        # ``git bundle`` takes over what lies packed here, which depends on how it came about, and names refs that are
        # there. So: gitformat-bundle(5), version 2. Deltas save a tenth of the size and cost six times the time.
        output.write(f"# v2 git bundle\n{commit} {BRANCH}\n{commit} HEAD\n\n".encode())
        self._copy(
            "pack-objects",
            "--quiet",
            "--revs",
            "--stdout",
            "--no-reuse-object",
            "--no-use-bitmap-index",
            "--window=0",
            "--compression=1",
            output=output,
            given=f"{commit}\n".encode(),
        )

    # Writing

    def commit(
        self, changes: TreeChanges, *, info: CommitInfo, parent: str | None, later: Sequence[str] = ()
    ) -> list[str]:
        """Make a commit on `parent` with `changes`, make those of `later` again on top, and move the branch there.

        Returns the ids of all of them. The same input gives the same ids. The working tree is left as it is: see
        `checking_out`. Raises StorageError where the disk cannot be written.
        """
        self._remove_stale_locks()
        blobs = {entry.path: entry.blob for entry in self.files(parent)} if changes.moved and parent else {}
        with self._fast_import() as stream:
            for mark, file in enumerate(changes.written, start=1):
                stream.write(b"blob\nmark :%d\ndata %d\n" % (mark, len(file.content)))
                stream.write(file.content)
                stream.write(b"\n")
            mark = len(changes.written) + 1
            # Moving the branch to the parent first makes "from" implicit and lets replaced commits go. Git sees the
            # branch move when all is done.
            stream.write(f"reset {BRANCH}\n".encode())
            stream.write((f"from {parent}\n" if parent else "").encode() + b"\n")
            stream.write(_commit_command(mark, signature=info.signature, message=info.message))
            stream.write("".join(_change_lines(changes, blobs)).encode() + b"\n")
            marks = [mark, *range(mark + 1, mark + 1 + len(later))]
            for number, commit in zip(marks[1:], later, strict=True):
                stream.write(self._replay(commit, mark=number))
            stream.write(b"".join(b"get-mark :%d\n" % number for number in marks))
        return stream.answer.split()

    def _remove_stale_locks(self) -> None:
        # A killed git leaves its locks behind; whoever holds the records' row lock is the only writer.
        for name in _LOCKS:
            (self.directory / ".git" / name).unlink(missing_ok=True)

    @contextmanager
    def checking_out(self, commit: str) -> Iterator[None]:
        """Make the working tree what `commit` says, while the block does something else.

        It is there for people to browse; nothing reads it. Raises StorageError at the end of the block.
        """
        process = self._git("reset", "--quiet", "--hard", commit, as_process=True)
        try:
            yield
            self._wait(process.proc, "reset")
        except BaseException:
            process.proc.kill()
            raise
        finally:
            process.proc.communicate()
        self._git("clean", "--quiet", "-ffdx")

    def _wait(self, process: subprocess.Popen[bytes], command: str) -> None:
        try:
            _, errors = process.communicate(timeout=self._timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise StorageError(
                f"git {command} took longer than {self._timeout_seconds} s in {str(self.directory)!r}"
            ) from error
        if process.returncode != 0:
            raise StorageError(
                f"git {command} failed in {str(self.directory)!r}: {last_line(errors.decode('utf-8', 'replace'))}"
            )

    def _replay(self, commit: str, *, mark: int) -> bytes:
        """Return the fast-import commands that make the change of `commit` again on the branch."""
        signature, message = str(self._git("log", "-1", "--format=%an <%ae> %at +0000%x00%B", commit)).split("\0")
        changes: str = self._git(
            "diff-tree",
            "-r",
            "-z",
            "--no-renames",
            "--raw",
            "--no-abbrev",
            "--root",
            "--no-commit-id",
            commit,
        )
        fields = [field for field in changes.split("\0") if field]
        lines = []
        for raw, path in zip(fields[::2], fields[1::2], strict=True):
            _, mode, _, blob, status = raw.split(" ")
            lines.append(f"D {_quote(path)}\n" if status == "D" else f"M {mode} {blob} {_quote(path)}\n")
        command = _commit_command(mark, signature=signature, message=message.rstrip("\n") + "\n")
        return command + "".join(lines).encode() + b"\n"

    @contextmanager
    def _fast_import(self) -> Iterator[_FastImport]:
        process = self._git(
            "fast-import",
            "--quiet",
            "--force",
            "--done",
            "--date-format=raw",
            as_process=True,
            istream=subprocess.PIPE,
        )
        stream = _FastImport(process.proc)
        try:
            yield stream
            stream.finish(timeout_seconds=self._timeout_seconds)
        except BrokenPipeError:
            stream.finish(timeout_seconds=self._timeout_seconds)
        except BaseException:
            process.proc.kill()
            raise
        finally:
            stream.close()

    # git

    def _copy(self, command: str, *arguments: str, output: ByteSink, given: bytes = b"") -> None:
        """Give `output` what a git command prints; `given` is what it reads."""
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            process.kill()

        running = self._git(command, *arguments, as_process=True, istream=subprocess.PIPE)
        timer = threading.Timer(self._timeout_seconds, give_up)
        with running.proc as process:
            try:
                timer.start()
                with suppress(BrokenPipeError):  # its status says why it reads no more
                    process.stdin.write(given)
                    process.stdin.close()
                while piece := process.stdout.read(_PIECE_BYTES):
                    output.write(piece)
                errors = process.stderr.read()
                process.wait()
            except BaseException:
                process.kill()
                raise
            finally:
                timer.cancel()
        if expired.is_set():
            raise StorageError(f"git {command} took longer than {self._timeout_seconds} s in {str(self.directory)!r}")
        if process.returncode != 0:
            raise StorageError(
                f"git {command} failed in {str(self.directory)!r}: {last_line(errors.decode('utf-8', 'replace'))}"
            )

    def _git(self, command: str, *arguments: str, **options: Any) -> Any:
        import git

        if not options.get("as_process"):
            options.setdefault("kill_after_timeout", self._timeout_seconds)
        try:
            return self._command(command).execute(["git", command, *arguments], **options)
        except git.GitCommandError as error:
            if command in {"clean", "init", "reset", "update-ref"}:
                raise StorageError(
                    f"git {command} failed in {str(self.directory)!r}: {last_line(error.stderr)}"
                ) from error
            raise

    def _command(self, name: str) -> git.Git:
        # Naming the repository keeps an inherited GIT_DIR out, and git from asking who owns the directory.
        location = {"GIT_DIR": str(self.directory / ".git")}
        if name != "init":
            location |= {
                "GIT_WORK_TREE": str(self.directory),
                "GIT_INDEX_FILE": str(self.directory / ".git" / "index"),
            }
        return make_git(self.directory, **location)


class _FastImport:
    """The stream into a running ``git fast-import`` and, when it is finished, its answer."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.answer = ""

    def write(self, data: bytes) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(data)

    def finish(self, *, timeout_seconds: int) -> None:
        try:
            self.write(b"done\n")
            answer, errors = self._process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            raise StorageError(f"git fast-import took longer than {timeout_seconds} s") from error
        if self._process.returncode != 0:
            raise StorageError(f"git fast-import failed: {last_line(errors.decode('utf-8', 'replace'))}")
        self.answer = answer.decode()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()
        self._process.wait()


def _commit_command(mark: int, *, signature: str, message: str) -> bytes:
    text = message.encode("utf-8")
    header = f"commit {BRANCH}\nmark :{mark}\nauthor {signature}\ncommitter {signature}\ndata {len(text)}\n"
    return header.encode() + text + b"\n"


def _change_lines(changes: TreeChanges, blobs: Mapping[str, str]) -> Iterator[str]:
    # Deletions come first: where a file was, a directory may be wanted.
    for path in changes.deleted:
        yield f"D {_quote(path)}\n"
    for moved in changes.moved:
        yield f"M {moved.source.mode:o} {blobs[moved.source.path]} {_quote(moved.path)}\n"
    for mark, file in enumerate(changes.written, start=1):
        yield f"M {file.mode:o} :{mark} {_quote(file.path)}\n"


def _quote(path: str) -> str:
    # Our path rules leave only the double quote for fast-import's C-style quoting to care about.
    return '"' + path.replace('"', '\\"') + '"' if path.startswith('"') else path


def _parse_commit(line: str) -> Commit:
    commit, parents, seconds, step_ids, subject = line.strip("\n").split("\x1f")
    return Commit(
        id=commit,
        parent=parents.split(" ")[0] or None,
        subject=subject,
        step_id=step_ids.split(",")[0].strip() or None,
        authored_at=datetime.fromtimestamp(int(seconds), tz=UTC),
    )


def _parse_tree_entry(line: str) -> TreeEntry:
    attributes, path = line.split("\t", 1)
    mode, _, blob, size = attributes.split()
    return TreeEntry(path=path, mode=int(mode, 8), size_bytes=int(size), blob=blob)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _without(text: str, characters: str) -> str:
    return text.translate({ord(character): None for character in characters}).strip() or "scaffolder"


def last_line(text: str | None) -> str:
    """Return the last line git wrote, printable and cut: what a host says may hold anything."""
    lines = [_one_line(line) for line in (text or "").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "no reason given"
