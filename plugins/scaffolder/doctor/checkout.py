"""The working tree of one generated project against the commit that it shows. People browse it, and may edit it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from scaffolder.doctor.disk import DiskEntry, digest_file, find_status, leads_outside, open_below, open_directory, walk
from scaffolder.doctor.findings import SHOWN, Difference, FindingKind, join_shown
from scaffolder.doctor.merging import merge_by_path
from scaffolder.doctor.objects import BlobReader, ObjectStore, TreeFile
from scaffolder.doctor.record_checks import describe
from scaffolder.errors import StorageError
from scaffolder.generation.tree import EXECUTABLE_MODE
from scaffolder.records.doctor_models import ExaminedProject

_OWN: Final = frozenset({".git"})


class CheckoutComparison:
    """One look at the working tree in `directory`, which is open as `descriptor`.

    Contents are read of files that were written or changed since git has checked them out, with `deep` of all.
    """

    def __init__(
        self, record: ExaminedProject, *, directory: Path, descriptor: int, store: ObjectStore, deep: bool
    ) -> None:
        self._record = record
        self._directory = directory
        self._descriptor = descriptor
        self._store = store
        self._deep = deep

    def compare(self) -> Iterator[Difference]:
        """Yield one difference for what is missing, and one for what is other or more. Raises OSError, StorageError."""
        missing: list[str] = []
        others: list[str] = []
        missing_count = other_count = 0
        for reason, is_missing in self._find_differences():
            if is_missing:
                missing_count += 1
                missing += [reason] if len(missing) < SHOWN else []
            else:
                other_count += 1
                others += [reason] if len(others) < SHOWN else []
        if missing_count:
            yield Difference(
                kind=FindingKind.CHECKOUT_DIFFERS,
                subject=str(self._record.id),
                detail=f"{describe(self._record)} lacks files in its working tree {str(self._directory)!r}: "
                f"{join_shown(missing, count=missing_count)}; --repair writes them",
                repair=self._restore,
            )
        if other_count:
            yield Difference(
                kind=FindingKind.CHECKOUT_DIFFERS,
                subject=str(self._record.id),
                detail=f"{describe(self._record)} has other files in its working tree {str(self._directory)!r} than in "
                f"commit {self._record.head_commit!r}: {join_shown(others, count=other_count)}. Nothing reads them: "
                "keep them elsewhere if they are wanted, and then 'git reset --hard' and 'git clean -fd'",
            )

    def _find_differences(self) -> Iterator[tuple[str, bool]]:
        """Yield what differs in words, and whether it is a file that is missing."""
        index = find_status(".git/index", within=self._descriptor)
        checked_out_ns = 0 if index is None else index.st_mtime_ns
        for entry, found in merge_by_path(self._iterate_tree(), walk(self._descriptor, skip=_OWN)):
            if entry is None:
                # Links that lead outside are told of as such.
                if found is not None and not leads_outside(found):
                    yield f"{found.path!r} is extra", False
            elif found is None:
                yield repr(entry.path), True
            elif self._differs(entry, found, checked_out_ns=checked_out_ns):
                yield f"{entry.path!r} is changed", False

    def _iterate_tree(self) -> Iterator[TreeFile]:
        return self._store.iterate_tree(str(self._record.head_commit))

    def _differs(self, entry: TreeFile, found: DiskEntry, *, checked_out_ns: int) -> bool:
        is_executable = bool(found.status.st_mode & stat.S_IXUSR)
        if not found.is_file or found.status.st_size != entry.size_bytes:
            return True
        if is_executable != (entry.mode == EXECUTABLE_MODE):
            return True
        if not self._deep and found.status.st_ctime_ns < checked_out_ns:
            return False
        header = f"blob {entry.size_bytes}\0".encode()
        return digest_file(found.name, within=found.parent, kind="sha1", prefix=header) != entry.blob

    # Repair

    def _restore(self) -> None:
        """Write the files that are missing, and none that is there. Raises StorageError."""
        failed: list[str] = []
        own = self._directory.parent
        with open_below(own.parent, own.name, self._directory.name) as descriptor, self._store.reading() as blobs:
            if descriptor is None:
                raise StorageError(f"{str(self._directory)!r} is not there any more")
            for entry, found in merge_by_path(self._iterate_tree(), walk(descriptor, skip=_OWN)):
                if entry is not None and found is None and not _write(entry, blobs=blobs, within=descriptor):
                    failed.append(repr(entry.path))
        if failed:
            raise StorageError(f"something else is in the way of {join_shown(failed, count=len(failed))}")


def _write(entry: TreeFile, *, blobs: BlobReader, within: int) -> bool:
    """Write a new file; return False where something is in its way, be it a link. Raises StorageError, OSError."""
    *directories, name = entry.path.split("/")
    with ExitStack() as stack:
        parent = within
        for directory in directories:
            with suppress(FileExistsError):
                os.mkdir(directory, dir_fd=parent)
            child = stack.enter_context(open_directory(directory, within=parent))
            if child is None:
                return False
            parent = child
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        mode = 0o777 if entry.mode == EXECUTABLE_MODE else 0o666
        try:
            descriptor = os.open(name, flags, mode, dir_fd=parent)
        except FileExistsError:
            return False
        try:
            with os.fdopen(descriptor, "wb") as output:
                blobs.copy(entry.blob, output=output)
        except BaseException:
            # Half a file would look like somebody's edit.
            os.unlink(name, dir_fd=parent)
            raise
    return True
