"""The repository of one generated project against its record: commits, head, files and the working tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from scaffolder.config import Settings
from scaffolder.doctor.checkout import CheckoutComparison
from scaffolder.doctor.disk import find_status, open_directory
from scaffolder.doctor.findings import SHOWN, Difference, FindingKind, join_shown
from scaffolder.doctor.merging import merge_by_path
from scaffolder.doctor.objects import BlobReader, ObjectStore, TreeFile
from scaffolder.doctor.record_checks import describe
from scaffolder.errors import StorageError
from scaffolder.generation.repository import BRANCH, last_line, make_git
from scaffolder.records.doctor import DoctorRecords
from scaffolder.records.doctor_models import ExaminedProject, RecordedFile
from scaffolder.records.models import GeneratedProjectStatus

_NO_COMMIT: Final = "0" * 40
_REF_BYTES: Final = 200
# By these, git would read objects or refs that are somewhere else.
_REDIRECTIONS: Final = (".git/objects/info/alternates", ".git/commondir")


class RepositoryComparison:
    """One look at the repository in `directory`, which is open as `descriptor`.

    The branch and the working tree are looked at where the record is ``ready``: a step that goes on, or is run again,
    makes both anew. `deep` also reads every object and the contents of all files.
    """

    def __init__(
        self,
        record: ExaminedProject,
        *,
        directory: Path,
        descriptor: int,
        bare: Path,
        records: DoctorRecords,
        settings: Settings,
        deep: bool,
    ) -> None:
        self._record = record
        self._head = record.head_commit or _NO_COMMIT
        self._directory = directory
        self._descriptor = descriptor
        self._records = records
        self._settings = settings
        self._deep = deep
        self._is_ready = record.status is GeneratedProjectStatus.READY
        self._store = ObjectStore(
            directory / ".git" / "objects", bare=bare, timeout_seconds=settings.git_timeout_seconds
        )

    def find_redirections(self) -> Iterator[Difference]:
        """Yield the files by which git would be led to what is not in the repository."""
        for path in _REDIRECTIONS:
            if find_status(path, within=self._descriptor) is not None:
                yield Difference(
                    kind=FindingKind.OUTSIDE_LINK,
                    subject=str(self._directory / path),
                    detail=f"{str(self._directory / path)!r} makes git read what is not in the repository, so git was "
                    f"not asked about {describe(self._record)}; remove the file, and look who has put it there",
                )

    def compare(self) -> Iterator[Difference]:
        """Yield what differs. Raises OSError for what cannot be read."""
        try:
            yield from self._compare_all()
        except StorageError as error:
            yield self._differ(
                FindingKind.OBJECTS_DAMAGED,
                f"cannot be read by git: {error}. Its files come back with a backup, or by generating it again",
            )

    def _compare_all(self) -> Iterator[Difference]:
        commits = {one.commit: f"of step {one.step_id!r}" for one in self._records.list_commits(self._record.id)}
        commits.setdefault(self._head, "that is the head")
        missing = self._store.find_missing(list(commits))
        for commit in sorted(missing):
            yield self._differ(
                FindingKind.COMMIT_MISSING,
                f"lacks the commit {commit!r} {commits[commit]} in {str(self._directory)!r}. It comes back with a "
                "backup, or by generating it again",
            )
        if self._record.last_commit is not None and self._record.last_commit != self._head:
            yield self._differ(
                FindingKind.HEAD_DIFFERS,
                f"has the head_commit {self._head!r}, and its last step made {self._record.last_commit!r}; the "
                "records contradict each other, so restore them from a backup or generate it again",
            )
        if self._is_ready:
            yield from self._compare_branch(is_there=self._head not in missing)
        if self._deep and (told := self._store.check([one for one in commits if one not in missing])):
            yield self._differ(
                FindingKind.OBJECTS_DAMAGED,
                f"has damaged objects in {str(self._directory)!r}: {join_shown(told, count=len(told))}. They come back "
                "with a backup, or by generating it again",
            )
            return
        if self._head in missing:
            return
        yield from self._compare_files()
        if self._is_ready:
            yield from CheckoutComparison(
                self._record,
                directory=self._directory,
                descriptor=self._descriptor,
                store=self._store,
                deep=self._deep,
            ).compare()

    # The branch

    def _compare_branch(self, *, is_there: bool) -> Iterator[Difference]:
        found = self._read_branch()
        if found == self._head:
            return
        advice = "--repair moves it back" if is_there else "that commit is not there, so it stays"
        yield self._differ(
            FindingKind.HEAD_DIFFERS,
            f"has the head_commit {self._head!r}, and {BRANCH} in {str(self._directory)!r} is at {found!r}; {advice}",
            repair=(lambda: self._move_branch(found)) if is_there else None,
        )

    def _read_branch(self) -> str | None:
        """Return what the branch says, by git's files: a ref of its own, or a line among the packed ones."""
        with open_directory(".git", within=self._descriptor) as git_directory:
            if git_directory is None:
                return None
            loose = _read_text(BRANCH, within=git_directory)
            if loose is not None:
                return last_line(loose[:_REF_BYTES])
            try:
                descriptor = os.open("packed-refs", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=git_directory)
            except FileNotFoundError:
                return None
            with os.fdopen(descriptor, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    if line.rstrip("\n").endswith(f" {BRANCH}"):
                        return line.split(" ")[0]
        return None

    def _move_branch(self, found: str | None) -> None:
        """Move the branch to the head, where it is still at `found`. Raises StorageError."""
        import git

        newest = self._records.find_statuses([self._record.id]).get(self._record.id)
        if newest is None or newest.status is not GeneratedProjectStatus.READY:
            raise StorageError(f"{describe(self._record)} is not 'ready' any more")
        location = str(self._directory / ".git")
        arguments = ["git", "--no-replace-objects", "update-ref", BRANCH, self._head, found or _NO_COMMIT]
        try:
            make_git(self._directory, GIT_DIR=location).execute(
                arguments, kill_after_timeout=self._settings.git_timeout_seconds
            )
        except git.GitCommandError as error:
            raise StorageError(f"git update-ref failed in {location!r}: {last_line(error.stderr)}") from error

    # The files

    def _compare_files(self) -> Iterator[Difference]:
        shown: list[str] = []
        count = 0
        with ExitStack() as stack:
            blobs = stack.enter_context(self._store.reading()) if self._deep else None
            rows = self._records.iterate_files(self._record.id)
            for row, entry in merge_by_path(rows, self._store.iterate_tree(self._head)):
                reason = self._find_file_difference(row, entry, blobs)
                if reason is not None:
                    count += 1
                    shown += [reason] if len(shown) < SHOWN else []
        if count:
            yield self._differ(
                FindingKind.FILES_DIFFER,
                f"has other files in its records than in commit {self._head!r}: {join_shown(shown, count=count)}. The "
                "commit is what exports hold; restore the records from a backup or generate it again",
            )

    def _find_file_difference(
        self, row: RecordedFile | None, entry: TreeFile | None, blobs: BlobReader | None
    ) -> str | None:
        if entry is None:
            return f"{row.path!r} is not in the commit" if row is not None else None
        if row is None:
            return f"{entry.path!r} is not in the records"
        if row.mode != entry.mode:
            return f"{row.path!r} has mode {row.mode:o} in the records and {entry.mode:o} in the commit"
        if row.size_bytes != entry.size_bytes:
            return f"{row.path!r} has {row.size_bytes} bytes in the records and {entry.size_bytes} in the commit"
        if blobs is not None and (digest := blobs.digest(entry.blob)) != row.sha256:
            return f"{row.path!r} has SHA-256 {row.sha256!r} in the records and {digest!r} in the commit"
        return None

    def _differ(self, kind: FindingKind, what: str, *, repair: Callable[[], object] | None = None) -> Difference:
        return Difference(
            kind=kind, subject=str(self._record.id), detail=f"{describe(self._record)} {what}", repair=repair
        )


def _read_text(path: str, *, within: int) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=within)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return file.read(_REF_BYTES).decode("utf-8", "replace")
