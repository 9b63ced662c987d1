"""Writes small files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, *, text: str, mode: int = 0o600) -> None:
    """Replace `path` by a file of `text`; it is there completely or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def digest_of_files(paths: Iterable[Path]) -> str:
    """Return one SHA-256 over names and contents of all files at or below `paths`, which may be absent."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(_files_below(path)):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(path.parent)}\0{content}\n".encode())
    return digest.hexdigest()


def _files_below(path: Path) -> Iterable[Path]:
    if path.is_file():
        yield path
    for directory, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(directory, name) for name in names)
