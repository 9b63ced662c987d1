"""Compiled templates, kept between runs: what one process compiled, the next one of the same sources reads.

A cache entry is the frames that a process sent, in order, and a checksum. Nothing here understands the code in it;
only the process that renders does, and it gets what a process with the same sources made. Entries can be lost or
damaged at any time: the sources are compiled again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import struct
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Final

log = logging.getLogger(__name__)

MAX_ENTRIES: Final = 500
MAX_CACHE_BYTES: Final = 536_870_912

_MAGIC: Final = b"scaffolder compiled templates\n"
_TRAILER: Final = struct.Struct("<II")
_CHUNK_BYTES: Final = 262_144
_UNFINISHED_SECONDS: Final = 86_400
# All that has a say in what a source is compiled to, beside Python and Jinja.
_OWN_SOURCES: Final = ("child.py", "environment.py", "filters.py", "frames.py", "../../../sandbox.py")


def make_key(sources: Iterable[tuple[str, bytes]], *, stand_in: str) -> str:
    """Return the key of the compiled form of `sources` (name and content, in order)."""
    digest = hashlib.blake2b(_own_digest() + stand_in.encode(), digest_size=32)
    for name, content in sources:
        encoded = name.encode("utf-8", "surrogatepass")
        digest.update(b"%d %d " % (len(encoded), len(content)) + encoded)
        digest.update(content)
    return digest.hexdigest()


@cache
def _own_digest() -> bytes:
    from importlib.metadata import version

    digest = hashlib.blake2b(f"{sys.implementation.cache_tag} {sys.hexversion} {version('jinja2')}".encode())
    for name in _OWN_SOURCES:
        digest.update(Path(__file__).with_name("x").parent.joinpath(name).read_bytes())
    return digest.digest()


class CompiledTemplates:
    """The cache below `directory`, which is made where it is not there, for this user alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, key: str, *, count: int) -> CompiledEntry | None:
        """Return the entry `key` of `count` frames, or None where there is none that is whole."""
        try:
            file = (self._directory / key).open("rb")
        except OSError:
            return None
        entry = CompiledEntry(file)
        if entry.is_whole(count):
            with suppress(OSError):
                os.utime(self._directory / key)  # the oldest go first
            return entry
        log.warning("The compiled templates in %s are damaged; they are made again", self._directory / key)
        entry.close()
        return None

    def create(self, key: str) -> CompiledWriter | None:
        """Return a writer of the entry `key`, or None where the directory cannot be written."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return CompiledWriter(self._directory, key)
        except OSError as error:
            log.warning("Compiled templates are not kept: %s cannot be written: %s", self._directory, error.strerror)
            return None


class CompiledSources:
    """The compiled form of one list of sources: read from the cache, or made now and kept for the next run."""

    def __init__(self, cache: CompiledTemplates, key: str, *, count: int) -> None:
        self.count = count
        self.taken = 0
        self._entry = cache.open(key, count=count) if count else None
        self._writer = cache.create(key) if count and self._entry is None else None

    @property
    def are_there(self) -> bool:
        """Whether `read` gives them."""
        return self._entry is not None

    @property
    def are_wanted(self) -> bool:
        """Whether `add` keeps them."""
        return self._writer is not None

    def read(self) -> Iterator[bytes]:
        """Yield the frames that were kept, in chunks of any size."""
        if self._entry is not None:
            yield from self._entry.read()

    def add(self, frame: bytes) -> None:
        """Take the next frame; with the last one the entry appears in the cache."""
        self.taken += 1
        if self._writer is not None:
            self._writer.add(frame)
            if self.taken == self.count:
                self._writer.finish()

    def close(self) -> None:
        """Let go of the cache; what is not whole is not kept."""
        if self._entry is not None:
            self._entry.close()
        if self._writer is not None:
            self._writer.give_up()


class CompiledEntry:
    """A whole cache entry, opened for reading."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = 0

    def is_whole(self, count: int) -> bool:
        """Check it, from the first byte to the last."""
        self._size = os.fstat(self._file.fileno()).st_size - len(_MAGIC) - _TRAILER.size
        if self._size < 0 or self._file.read(len(_MAGIC)) != _MAGIC:
            return False
        checksum = 0
        for chunk in self._chunks():
            checksum = zlib.crc32(chunk, checksum)
        return self._file.read(_TRAILER.size) == _TRAILER.pack(count, checksum)

    def _chunks(self) -> Iterator[bytes]:
        self._file.seek(len(_MAGIC))
        remaining = self._size
        while remaining > 0:
            chunk = self._file.read(min(remaining, _CHUNK_BYTES))
            if not chunk:
                return
            remaining -= len(chunk)
            yield chunk

    def read(self) -> Iterator[bytes]:
        """Yield its frames, in chunks of any size."""
        yield from self._chunks()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class CompiledWriter:
    """A cache entry that is being written: it appears whole, by `finish`, or not at all."""

    def __init__(self, directory: Path, key: str) -> None:
        self._path = directory / key
        self._unfinished = directory / f"{key}.{secrets.token_hex(8)}.unfinished"
        self._file: IO[bytes] | None = self._unfinished.open("xb")
        self._count = 0
        self._checksum = 0
        self._write(_MAGIC)

    def add(self, frame: bytes) -> None:
        """Add one frame."""
        self._count += 1
        self._checksum = zlib.crc32(frame, self._checksum)
        self._write(frame)

    def finish(self) -> None:
        """Let the entry appear, and the oldest go where there are too many."""
        self._write(_TRAILER.pack(self._count, self._checksum))
        if self._file is None:
            return
        try:
            self._file.close()
            self._unfinished.replace(self._path)
            self._file = None
            _remove_oldest(self._path.parent)
        except OSError as error:
            self._complain(error)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self._complain(error)
            self.give_up()

    def give_up(self) -> None:
        """Leave nothing of it, where it is not finished."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):
                file.close()
            self._unfinished.unlink(missing_ok=True)

    def _complain(self, error: OSError) -> None:
        # The rendering goes on: the cache only saves time.
        log.warning("Compiled templates are not kept: %s cannot be written: %s", self._unfinished, error.strerror)


def _remove_oldest(directory: Path) -> None:
    """Keep the newest entries up to the cache's limits, and no file that a killed writer left."""
    entries = []
    with os.scandir(directory) as found:
        for entry in found:
            with suppress(FileNotFoundError):  # another process may clean up as well
                status = entry.stat(follow_symlinks=False)
                entries.append((status.st_mtime, status.st_size, Path(entry.path)))
    count = size = 0
    for modified, size_bytes, path in sorted(entries, reverse=True):
        if path.suffix == ".unfinished":
            if modified < time.time() - _UNFINISHED_SECONDS:
                path.unlink(missing_ok=True)
            continue
        count, size = count + 1, size + size_bytes
        if count > MAX_ENTRIES or size > MAX_CACHE_BYTES:
            path.unlink(missing_ok=True)
