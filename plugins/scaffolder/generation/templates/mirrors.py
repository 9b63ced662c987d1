"""Templates' git repositories on this machine: fetched once, kept by commit.

Below ``<cache_dir>/templates/<digest of the URL>`` lie a bare mirror of the repository's branches and tags, and one
directory for each commit that was asked for. A tag is what it was when it was first fetched. Workers may share it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scaffolder.config import Settings
from scaffolder.errors import LimitExceededError, StorageError, TemplateError
from scaffolder.generation.git_remote import GitRemote, RemoteGit, RemoteGitError, get_origin
from scaffolder.generation.repository import last_line, make_git
from scaffolder.generation.templates.locks import hold_lock
from scaffolder.generation.templates.reference import GitReference

USED: Final = "used"
"""The file whose time says when a mirror was last asked for; what nobody has used for long is removed."""

_MAX_DEPTH: Final = 256
_TAGS: Final = "refs/tags/"
_HEADS: Final = "refs/heads/"
_SUBMODULE_MODE: Final = "160000"
# What comes in is checked, but for flaws that old and honest repositories have.
_FETCH_CONFIGURATION: Final = (
    "fetch.fsckObjects=true",
    *(
        f"fetch.fsck.{flaw}=ignore"
        for flaw in ("badTimezone", "missingEmail", "missingSpaceBeforeDate", "missingSpaceBeforeEmail")
    ),
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.badFilemode=ignore",
)


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A template's repository at one commit. `directory` has the files, `mirror` the history (a bare repository)."""

    directory: Path
    mirror: Path
    commit: str


class TemplateMirror:
    """The repository of one git URL in `settings.cache_dir`."""

    def __init__(self, url: str, *, settings: Settings, remote: GitRemote | None = None) -> None:
        if remote is not None and get_origin(remote.url) != get_origin(url):
            raise TemplateError(
                f"the connection's credentials are for {_show_origin(remote.url)}, the template is at "
                f"{_show_origin(url)}; accepted is a template from the connection's own scheme, host and port"
            )
        self._home = settings.cache_dir / "templates" / hashlib.sha256(url.encode()).hexdigest()[:32]
        self._remote_git = RemoteGit(url, remote=remote, timeout_seconds=settings.git_timeout_seconds)
        self._url = url
        self._settings = settings
        self.directory = self._home / "mirror.git"

    def check_out(self, reference: GitReference) -> Checkout:
        """Return the repository at `reference`'s ref, fetched where it isn't there yet.

        Raises TemplateError (no such repository, tag or commit; a branch; credentials that the host refuses),
        HostUnavailableError, LimitExceededError and StorageError (the cache cannot be written).
        """
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._home / USED).touch()
            commit = self._find(reference) if self._is_made() else None
            if commit is None or not self._tree(commit).is_dir():
                with hold_lock(self._home / "lock"):
                    commit = self._find_or_fetch(reference)
                    if not self._tree(commit).is_dir():
                        self._check_limits(commit)
                        self._extract(commit)
        except OSError as error:
            raise StorageError(
                f"the directory {str(self._home)!r} cannot be written: {error.strerror}. Check SCAFFOLDER_CACHE_DIR"
            ) from error
        return Checkout(directory=self._tree(commit), mirror=self.directory, commit=commit)

    def _tree(self, commit: str) -> Path:
        return self._home / "commits" / commit

    def _is_made(self) -> bool:
        return (self.directory / "HEAD").is_file()

    def _find(self, reference: GitReference) -> str | None:
        """Return the commit of the ref, where the mirror has it."""
        import git

        name = reference.ref if reference.is_commit else f"{_TAGS}{reference.ref}"
        try:
            found = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except git.GitCommandError:
            return None
        if reference.is_commit and found != reference.ref:
            raise TemplateError(
                f"template {str(reference)!r}: {reference.ref!r} is a tag's own id; accepted is {found!r}"
            )
        return found

    def _find_or_fetch(self, reference: GitReference) -> str:
        if not self._is_made():
            self._make()
        commit = self._find(reference)
        if commit is None:
            self._fetch(reference)
            commit = self._find(reference)
        if commit is None:
            raise TemplateError(
                f"template {str(reference)!r}: no branch or tag of {self._url} holds the commit {reference.ref!r}"
            )
        return commit

    def _make(self) -> None:
        """Make the mirror without any commit, all or nothing."""
        staging = self._home / "unfinished-mirror.git"
        for leftover in (staging, self.directory):
            shutil.rmtree(leftover, ignore_errors=True)
        make_git(self._home).execute(
            ["git", "init", "--quiet", "--bare", "--template=", str(staging)],
            kill_after_timeout=self._settings.git_timeout_seconds,
        )
        staging.rename(self.directory)

    def _fetch(self, reference: GitReference) -> None:
        for leftover in self.directory.glob("objects/pack/tmp_*"):
            leftover.unlink(missing_ok=True)
        try:
            there = self._remote_git.list_refs(self.directory)
            self._check_ref(reference, there)
            kept = self._git("for-each-ref", "--format=%(refname)", _TAGS).split()
            tags = [f"{ref}:{ref}" for ref in there if ref.startswith(_TAGS) and ref not in kept]
            self._fetch_refs([f"+{_HEADS}*:{_HEADS}*", *tags])
        except RemoteGitError as error:
            raise error.translated(TemplateError) from None

    def _fetch_refs(self, refspecs: list[str]) -> None:
        # Refspecs on the command line have a limit, and a repository may have thousands of tags.
        for start in range(0, len(refspecs), 500):
            self._remote_git.run(
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-recurse-submodules",
                "--no-write-fetch-head",
                "--no-auto-maintenance",
                "--",
                self._url,
                *refspecs[start : start + 500],
                git_directory=self.directory,
                configuration=_FETCH_CONFIGURATION,
            )

    def _check_ref(self, reference: GitReference, there: dict[str, str]) -> None:
        if reference.is_commit or f"{_TAGS}{reference.ref}" in there:
            return
        tags = sorted((ref.removeprefix(_TAGS) for ref in there if ref.startswith(_TAGS)), reverse=True)
        accepted = f"accepted is a tag or a full commit; tags are {tags[:10]}{' and more' if len(tags) > 10 else ''}"
        branch = there.get(f"{_HEADS}{reference.ref}")
        if branch is not None:
            raise TemplateError(
                f"template {str(reference)!r}: {reference.ref!r} is a branch, which moves (it is at {branch}); "
                f"{accepted}"
            )
        raise TemplateError(f"template {str(reference)!r}: {self._url} has no tag {reference.ref!r}; {accepted}")

    def _check_limits(self, commit: str) -> None:
        """Refuse a tree over the limits of a project before it is written."""
        maximum_files, maximum_bytes = self._settings.max_project_files, self._settings.max_project_size
        size_bytes = 0
        for files, entry in enumerate(self._list_tree(commit), start=1):
            facts, _, path = entry.partition("\t")
            size = facts.split()[-1]
            size_bytes += int(size) if size.isdigit() else 0  # a submodule has none
            if path.count("/") > _MAX_DEPTH:
                raise LimitExceededError(
                    f"the template's repository {self._url} has {path[:100]!r}..., which is deeper than {_MAX_DEPTH}"
                )
            if files > maximum_files:
                raise LimitExceededError(
                    f"the template's repository {self._url} has more than {maximum_files} files "
                    "(SCAFFOLDER_MAX_PROJECT_FILES)"
                )
            if size_bytes > maximum_bytes:
                raise LimitExceededError(
                    f"the template's repository {self._url} has more than {maximum_bytes} bytes "
                    "(SCAFFOLDER_MAX_PROJECT_SIZE)"
                )

    def _list_tree(self, commit: str) -> Iterator[str]:
        # Read as it comes: a few objects can make a tree of any size.
        command: Any = make_git(self.directory, GIT_DIR=str(self.directory))
        # Kept while it is read: GitPython ends the process of one that nobody holds.
        running = command.execute(["git", "ls-tree", "-r", "-l", "-z", "--full-tree", commit], as_process=True)
        process = running.proc
        rest = b""
        try:
            while chunk := process.stdout.read(65_536):
                *entries, rest = (rest + chunk).split(b"\0")
                yield from (entry.decode("utf-8", "replace") for entry in entries)
        finally:
            process.kill()
            process.communicate()

    def _extract(self, commit: str) -> None:
        """Write the commit's files as a clone would, all or nothing."""
        import git

        target = self._tree(commit)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        for leftover in self._home.glob("unfinished-*"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=self._home) as staging:
            tree = Path(staging, "tree")
            tree.mkdir()
            index = str(Path(staging, "index"))
            try:
                self._git("read-tree", commit, GIT_INDEX_FILE=index)
                self._git("checkout-index", "--all", GIT_INDEX_FILE=index, GIT_WORK_TREE=str(tree))
            except git.GitCommandError as error:
                raise TemplateError(
                    f"the template's repository {self._url} cannot be written at {commit}: {last_line(error.stderr)}"
                ) from error
            tree.rename(target)

    def _git(self, *arguments: str, **environment: str) -> str:
        return str(
            make_git(self._home, GIT_DIR=str(self.directory), **environment).execute(
                ["git", *arguments], kill_after_timeout=self._settings.git_timeout_seconds
            )
        )


def _show_origin(url: str) -> str:
    scheme, host, port = get_origin(url)
    return f"{scheme}://{host}" + (f":{port}" if port else "")
