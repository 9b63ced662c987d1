"""The archives of one generated project against its exports."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scaffolder.config import Settings
from scaffolder.doctor.disk import DiskEntry, digest_file, find_status, leads_outside, open_below, walk
from scaffolder.doctor.findings import Difference, FindingKind
from scaffolder.doctor.record_checks import describe
from scaffolder.errors import StorageError
from scaffolder.records.doctor import DoctorRecords
from scaffolder.records.doctor_models import ExaminedProject, RecordedArchive
from scaffolder.records.models import ExportStatus

_SHA256: Final = "sha256"
_COMMIT_CHARACTERS: Final = 12  # of a commit in an archive's name


class ArchiveComparison:
    """One look at the archives in `directory`, which is open as `descriptor`, or None where it is not there."""

    def __init__(
        self,
        record: ExaminedProject,
        *,
        directory: Path,
        descriptor: int | None,
        records: DoctorRecords,
        settings: Settings,
        deep: bool,
    ) -> None:
        self._record = record
        self._directory = directory
        self._descriptor = descriptor
        self._records = records
        self._settled_after_seconds = 2 * settings.git_timeout_seconds
        self._deep = deep

    def compare(self) -> Iterator[Difference]:
        """Yield what differs. Raises OSError for what cannot be read."""
        exports = self._records.list_archives(self._record.id)
        for export in exports:
            if export.status is ExportStatus.EXPORTED:
                yield from self._compare_export(export)
        if self._descriptor is not None:
            for found in walk(self._descriptor):
                if not leads_outside(found) and self._is_unreferenced(found, exports):
                    yield self._explain_unreferenced(found)

    def _compare_export(self, export: RecordedArchive) -> Iterator[Difference]:
        for named, size_bytes, sha256 in _list_expected(export):
            # By its name: where the directory has moved, records still name the place before.
            name = Path(named).name
            path = str(self._directory / name)
            status = None if self._descriptor is None else find_status(name, within=self._descriptor)
            if status is None:
                yield Difference(
                    kind=FindingKind.ARCHIVE_MISSING,
                    subject=str(export.id),
                    detail=f"export {export.id} of {describe(self._record)} names {named!r}, and there is no "
                    f"{path!r}; exporting the generated project again writes it",
                )
                continue
            reason = None
            digest = None
            if size_bytes is not None and status.st_size != size_bytes:
                reason = f"has {status.st_size} bytes instead of {size_bytes}"
            elif self._deep and sha256 is not None and self._descriptor is not None:
                digest = digest_file(name, within=self._descriptor, kind=_SHA256)
                if digest != sha256:
                    reason = f"has SHA-256 {digest!r} instead of {sha256!r}"
            if reason is not None:
                yield Difference(
                    kind=FindingKind.ARCHIVE_DAMAGED,
                    subject=str(export.id),
                    detail=f"{path!r} of export {export.id} of {describe(self._record)} {reason}; exporting the "
                    "generated project again writes it anew",
                )

    def _is_unreferenced(self, found: DiskEntry, exports: list[RecordedArchive]) -> bool:
        if time.time() - found.status.st_mtime < self._settled_after_seconds:
            return False
        for export in exports:
            if any(found.path == Path(named).name for named, _, _ in _list_expected(export)):
                return False
            # One that is under way has its names on its record at the end.
            stem = f"{self._record.name}-{export.commit[:_COMMIT_CHARACTERS]}."
            if export.status is not ExportStatus.EXPORTED and stem in found.name:
                return False
        return True

    def _explain_unreferenced(self, found: DiskEntry) -> Difference:
        path = str(self._directory / found.path)
        is_ours = found.is_file and "/" not in found.path
        advice = "--repair removes it" if is_ours else "it is no file that an export makes, so it is left alone"
        return Difference(
            kind=FindingKind.ARCHIVE_UNREFERENCED,
            subject=path,
            detail=f"no export of {describe(self._record)} names {path!r}; {advice}",
            repair=(lambda: self._remove(found)) if is_ours else None,
        )

    def _remove(self, found: DiskEntry) -> None:
        own = self._directory.parent
        with open_below(own.parent, own.name, self._directory.name) as archives:
            status = None if archives is None else find_status(found.name, within=archives)
            if status is None:
                return
            if (status.st_ino, status.st_mtime_ns) != (found.status.st_ino, found.status.st_mtime_ns):
                raise StorageError(f"{found.name!r} has changed meanwhile")
            if not self._is_unreferenced(found, self._records.list_archives(self._record.id)):
                raise StorageError(f"an export names {found.name!r} by now")
            os.unlink(found.name, dir_fd=archives)


def _list_expected(export: RecordedArchive) -> list[tuple[str, int | None, str | None]]:
    """Return the files that an export names: path, size in bytes and SHA-256, as far as its record has them."""
    size_bytes = export.result.get("size_bytes")
    named = [
        (export.archive_path, size_bytes if isinstance(size_bytes, int) else None, export.archive_sha256),
        (export.result.get("manifest_path"), None, None),
        (export.result.get("bundle_path"), None, export.result.get("bundle_sha256")),
    ]
    return [(path, size, sha256) for path, size, sha256 in named if isinstance(path, str)]
