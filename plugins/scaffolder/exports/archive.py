"""Export to an archive: zip or tar.gz of one commit's tree, with its SHA-256. Equal commits give equal bytes."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from scaffolder.errors import ExportTargetError, StorageError
from scaffolder.exports.contract import ExportRequest, ExportResult, check_known_options

FORMATS: Final = ("zip", "tar.gz")


class ArchiveExporter:
    """Options: ``format``, ``zip`` (default) or ``tar.gz``."""

    target = "archive"
    needs_connection = False

    def check_options(self, options: Mapping[str, Any]) -> None:
        """See `Exporter`."""
        check_known_options(self.target, options, {"format": " or ".join(FORMATS)})
        kind = options.get("format", "zip")
        if kind not in FORMATS:
            raise ExportTargetError(f"archive format {kind!r}; accepted are {list(FORMATS)}")

    def export(self, request: ExportRequest) -> ExportResult:
        """Write the archive beside the repository; it appears whole, or not at all."""
        kind = request.options.get("format", "zip")
        path = request.directory / f"{request.name}-{request.commit[:12]}.{kind}"
        try:
            request.directory.mkdir(parents=True, exist_ok=True)
            digest = _write(path, kind=kind, request=request)
        except OSError as error:
            raise StorageError(f"the archive {str(path)!r} cannot be written: {error.strerror}") from error
        return ExportResult(url=path.as_uri(), archive_path=path, archive_sha256=digest)


def _write(path: Path, *, kind: str, request: ExportRequest) -> str:
    _sweep(path, older_than_seconds=2 * request.settings.git_timeout_seconds)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_unfinished_prefix(path))
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as output:
            if kind == "zip":
                request.repository.write_archive(request.commit, kind="zip", prefix=request.name, output=output)
            else:
                _write_tar_gz(output, request)
            output.flush()
            os.fsync(output.fileno())
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    with path.open("rb") as archive:
        return hashlib.file_digest(archive, "sha256").hexdigest()


def _unfinished_prefix(path: Path) -> str:
    return f".unfinished-{path.name}-"


def _sweep(path: Path, *, older_than_seconds: int) -> None:
    """Remove what killed tries have left; a younger file may be that of a try that still runs."""
    oldest = time.time() - older_than_seconds
    for leftover in path.parent.glob(f"{_unfinished_prefix(path)}*"):
        if leftover.stat().st_mtime < oldest:
            leftover.unlink(missing_ok=True)


def _write_tar_gz(output: BinaryIO, request: ExportRequest) -> None:
    # Git's own tar.gz depends on the gzip that is installed; without name and time the header is constant.
    with gzip.GzipFile(filename="", fileobj=output, mode="wb", compresslevel=6, mtime=0) as compressed:
        request.repository.write_archive(request.commit, kind="tar", prefix=request.name, output=compressed)
