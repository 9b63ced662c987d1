"""Export to an archive: one commit's tree, with its manifest and, if wanted, its history as a git bundle.

Equal commits give equal bytes. `manifest` holds what goes in against the records.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Final, Literal, NoReturn, Self

from scaffolder.errors import ExportTargetError, StorageError
from scaffolder.exports.contract import ExportOptions, ExportRequest, ExportResult, read_options
from scaffolder.exports.manifest import Member, VerifiedTar, WrittenFile, write_manifest
from scaffolder.generation.disk import check_free_space
from scaffolder.generation.repository import ByteSink
from scaffolder.records.models import ExportStatus, ProjectFile, RepositoryExport

_UNFINISHED: Final = ".unfinished-"
_ZSTD_LEVEL: Final = 3
# What the dates of a zip can say (APPNOTE.TXT, 4.4.6).
_FIRST_ZIP_DATE: Final = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())
_LAST_ZIP_DATE: Final = int(datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC).timestamp())
# Info-ZIP's extended timestamp: its tag, size, what it holds, Unix time.
_TIMESTAMP: Final = struct.Struct("<HHBi")
_LAST_TIMESTAMP: Final = 2**31 - 1
_UNIX: Final = 3


class ArchiveOptions(ExportOptions):
    """The options of the target ``archive``; `bundle` also writes the whole history of the commit as a git bundle."""

    format: Literal["zip", "tar.gz", "tar.zst"] = "zip"
    bundle: bool = False


class ArchiveExporter:
    """Files on this machine: ``<name>-<commit>.<format>``, its ``.manifest.json`` and ``<name>-<commit>.bundle``.

    All are of the generated project's own commit, also where the request has a commit identity: a tree has no author,
    and the bundle's history is that of the records.
    """

    target = "archive"
    needs_connection = False
    author_options: frozenset[str] = frozenset()

    def check_options(self, options: Mapping[str, Any]) -> None:
        """See `Exporter`."""
        read_options(ArchiveOptions, options, target=self.target)

    def connect(self, conn_id: str) -> NoReturn:
        """Raise ExportTargetError: there is nothing to connect to."""
        raise ExportTargetError(f"target {self.target!r} takes no connection, and it was given {conn_id!r}")

    def locate(self, connection: Any) -> str | None:
        """Return None: there is no host."""
        return None

    def export(self, request: ExportRequest) -> ExportResult:
        """Write the files beside the repository: each appears whole, and none before all are written.

        Raises StorageError, also where a file in the archive isn't what the records say, and DiskSpaceError where the
        files would not fit, even if they cannot be compressed.
        """
        options = read_options(ArchiveOptions, request.options, target=self.target)
        files = request.read_files()
        size_bytes = sum(file.size_bytes for file in files)
        check_free_space(request.settings, needed_bytes=2 * size_bytes if options.bundle else size_bytes)
        stem = f"{request.name}-{request.commit[:12]}"
        path = request.directory / f"{stem}.{options.format}"
        with _Staging(stem, settled_after_seconds=2 * request.settings.git_timeout_seconds) as staging:
            archive = staging.write(
                path, what="archive", fill=lambda output: _write_archive(output, request, files, kind=options.format)
            )
            bundle = None
            if options.bundle:
                bundle = staging.write(
                    request.directory / f"{stem}.bundle",
                    what="bundle",
                    fill=lambda output: request.repository.write_bundle(request.commit, output=output),
                )
            manifest = staging.write(
                path.with_name(f"{path.name}.manifest.json"),
                what="manifest",
                fill=lambda output: write_manifest(
                    output, name=request.name, commit=request.commit, archive=archive, bundle=bundle, files=files
                ),
            )
            staging.publish()
        return ExportResult(
            url=path.as_uri(),
            archive_path=path,
            archive_sha256=archive.sha256,
            result={
                "format": options.format,
                "size_bytes": archive.size_bytes,
                "manifest_path": str(manifest.path),
                "bundle_path": str(bundle.path) if bundle else None,
                "bundle_sha256": bundle.sha256 if bundle else None,
            },
        )

    def roll_back(self, request: ExportRequest) -> str | None:
        """Remove the files that the export's record names and no other export has made as well.

        Nothing outside the archives' directory is touched. Raises StorageError.
        """
        others = request.ledger.records.list(request.generated_project.id)
        kept = {
            path.name
            for one in others
            if one.id != request.export.id and one.status is ExportStatus.EXPORTED
            for path in _list_paths(one)
        }
        for named in _list_paths(request.export):
            # By its name: where the directory has moved, the record still names the place before.
            path = request.directory / named.name
            if named.name in kept or path.is_dir():
                continue
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{str(path)!r} cannot be removed: {error.strerror}") from error
        return None


def _list_paths(export: RepositoryExport) -> list[Path]:
    named = (export.archive_path, export.result.get("manifest_path"), export.result.get("bundle_path"))
    return [Path(path) for path in named if isinstance(path, str)]


class _Staging:
    """The files of one export, under other names until all are written. All their names begin with `stem`."""

    def __init__(self, stem: str, *, settled_after_seconds: int) -> None:
        self._prefix = f"{_UNFINISHED}{stem}"
        self._settled_after_seconds = settled_after_seconds
        self._staged: list[tuple[Path, Path]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for unfinished, _ in self._staged:
            unfinished.unlink(missing_ok=True)

    def write(self, path: Path, *, what: str, fill: Callable[[BinaryIO], None]) -> WrittenFile:
        """Let `fill` write what is to be the file `path`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sweep(path.parent)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{_UNFINISHED}{path.name}-")
            unfinished = Path(name)
            self._staged.append((unfinished, path))
            with os.fdopen(descriptor, "wb") as output:
                fill(output)
                output.flush()
                os.fsync(output.fileno())
            unfinished.chmod(0o644)
            with unfinished.open("rb") as written:
                digest = hashlib.file_digest(written, "sha256").hexdigest()
                return WrittenFile(path=path, size_bytes=written.tell(), sha256=digest)
        except OSError as error:
            raise StorageError(f"the {what} {str(path)!r} cannot be written: {error.strerror}") from error

    def publish(self) -> None:
        """Give all files their names."""
        for unfinished, path in self._staged:
            try:
                unfinished.replace(path)
            except OSError as error:
                raise StorageError(f"{str(path)!r} cannot be written: {error.strerror}") from error

    def _sweep(self, directory: Path) -> None:
        """Remove what killed tries have left; a younger file may be that of a try that still runs."""
        oldest = time.time() - self._settled_after_seconds
        for leftover in directory.glob(f"{self._prefix}*"):
            with suppress(FileNotFoundError):  # that try has just finished
                if leftover.stat().st_mtime < oldest:
                    leftover.unlink()


def _write_archive(output: BinaryIO, request: ExportRequest, files: Sequence[ProjectFile], *, kind: str) -> None:
    if kind == "zip":
        with _ZipMembers(output, comment=request.commit) as members:
            tar = VerifiedTar(files, commit=request.commit, prefix=request.name, members=members)
            request.repository.write_tar(request.commit, prefix=request.name, output=tar)
            tar.finish()
        return
    tar = VerifiedTar(files, commit=request.commit, prefix=request.name)
    with _compress(output, kind=kind) as compressed:
        request.repository.write_tar(request.commit, prefix=request.name, output=_Both(tar, compressed))
    tar.finish()


def _compress(output: BinaryIO, *, kind: str) -> AbstractContextManager[ByteSink]:
    if kind == "tar.gz":
        # Git's own tar.gz depends on the gzip that is installed; without name and time the header is constant.
        return gzip.GzipFile(filename="", fileobj=output, mode="wb", compresslevel=6, mtime=0)
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    parameter = zstd.CompressionParameter
    # With workers, the bytes are others than without.
    options: dict[int, int] = {
        parameter.compression_level: _ZSTD_LEVEL,
        parameter.checksum_flag: 1,
        parameter.nb_workers: 0,
    }
    return zstd.ZstdFile(output, "wb", options=options)


class _Both:
    """Gives what it gets to two others, to `first` before `second`."""

    def __init__(self, first: ByteSink, second: ByteSink) -> None:
        self._sinks = (first, second)

    def write(self, data: bytes, /) -> None:
        for sink in self._sinks:
            sink.write(data)


class _ZipMembers:
    """Writes a zip of the members it gets. What could depend on this machine is fixed; dates are in UTC."""

    def __init__(self, output: BinaryIO, *, comment: str) -> None:
        self._zip = zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED)
        self._zip.comment = comment.encode()  # as git does
        self._member: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.end()
        finally:
            self._zip.close()

    def begin(self, member: Member) -> None:
        """See `MemberSink`."""
        is_directory = member.path.endswith("/")
        kind = stat.S_IFDIR if is_directory else stat.S_IFREG
        info = zipfile.ZipInfo(member.path, date_time=_get_zip_date(member.modified_at))
        info.create_system = _UNIX
        info.external_attr = (kind | member.mode) << 16
        info.file_size = member.size_bytes
        if 0 <= member.modified_at <= _LAST_TIMESTAMP:
            info.extra = _TIMESTAMP.pack(0x5455, 5, 1, member.modified_at)
        if is_directory:
            info.CRC = info.compress_size = 0
            self._zip.mkdir(info)
        else:
            info.compress_type = zipfile.ZIP_DEFLATED
            self._member = self._zip.open(info, "w")

    def write(self, data: bytes) -> None:
        """See `MemberSink`."""
        if self._member:
            self._member.write(data)

    def end(self) -> None:
        """See `MemberSink`."""
        if self._member:
            self._member.close()
            self._member = None


def _get_zip_date(seconds: int) -> tuple[int, int, int, int, int, int]:
    date = datetime.fromtimestamp(min(max(seconds, _FIRST_ZIP_DATE), _LAST_ZIP_DATE), UTC)
    return date.year, date.month, date.day, date.hour, date.minute, date.second
