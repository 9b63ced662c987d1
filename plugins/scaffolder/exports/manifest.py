"""What an archive holds: each file is held against the records while it passes, and a manifest lists them all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Protocol

from scaffolder.errors import StorageError
from scaffolder.generation.repository import ByteSink
from scaffolder.records.models import ProjectFile

_BLOCK_BYTES: Final = 512
# Type flags of POSIX.1-2001's pax format, the one git writes.
_FILE: Final = b"0"
_DIRECTORY: Final = b"5"
_EXTENDED: Final = b"x"
_GLOBAL: Final = b"g"
_NAMED_PATHS: Final = 20


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file or, where `mode` says so, a directory in an archive. `path` is the whole one, `modified_at` Unix time."""

    path: str
    mode: int
    size_bytes: int
    modified_at: int


class MemberSink(Protocol):
    """Takes the files and directories of an archive, one after the other, each with its content in pieces."""

    def begin(self, member: Member) -> None:
        """Take what is known of the next one."""

    def write(self, data: bytes) -> None:
        """Take a piece of the content of the one begun last."""

    def end(self) -> None:
        """Know that the one begun last is whole."""


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """A file that an export wrote."""

    path: Path
    size_bytes: int
    sha256: str


class VerifiedTar:
    """Takes a tar of `commit` as git writes it and holds every file in it, all below `prefix`, against the records.

    `members` gets what is in it, for another kind of archive. Git's own tars are all this reads: the headers of ten
    thousand files cost more in tarfile than the rest of an export. Raises StorageError at the first that differs.
    """

    def __init__(
        self, files: Sequence[ProjectFile], *, commit: str, prefix: str, members: MemberSink | None = None
    ) -> None:
        self._commit = commit
        self._prefix = f"{prefix}/"
        self._members = members
        self._awaited = {self._prefix + file.path: file for file in files}
        self._directories = {self._prefix, *_list_directories(self._awaited)}
        self._header = b""
        self._is_over = False
        self._kind = _FILE
        self._left = 0
        self._padding = 0
        self._extended = b""
        self._overrides: dict[str, str] = {}
        self._file: ProjectFile | None = None
        self._hash = hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        """Take the next piece of the tar."""
        if self._header:
            data, self._header = self._header + data, b""
        position = 0
        while position < len(data) and not self._is_over:
            if self._left:
                piece = data[position : position + self._left]
                self._left -= len(piece)
                position += len(piece)
                self._take(piece)
            elif self._padding:
                skipped = min(self._padding, len(data) - position)
                self._padding -= skipped
                position += skipped
            elif len(data) - position < _BLOCK_BYTES:
                self._header = data[position:]
                return
            else:
                self._begin(data[position : position + _BLOCK_BYTES])
                position += _BLOCK_BYTES

    def finish(self) -> None:
        """Raise StorageError where files of the records did not come."""
        if self._awaited:
            paths = [file.path for file in self._awaited.values()]
            named = ", ".join(repr(path) for path in sorted(paths)[:_NAMED_PATHS])
            self._refuse(f"{len(paths)} file(s) are in the records only: {named}")
        if not self._is_over:
            raise StorageError(f"git's archive of commit {self._commit} has no end")

    def _begin(self, header: bytes) -> None:
        if not header[0]:  # two empty blocks and what fills the last record
            self._is_over = True
            return
        self._kind = header[156:157]
        self._left = int(self._overrides.get("size", 0)) or int(header[124:135], 8)
        self._padding = -self._left % _BLOCK_BYTES
        if self._kind in {_EXTENDED, _GLOBAL}:
            self._extended = b""
            return
        path = self._overrides.get("path") or _read_path(header)
        self._overrides = {}
        member = Member(
            path=path,
            mode=int(header[100:107], 8),
            size_bytes=self._left,
            modified_at=int(header[136:147], 8),
        )
        self._check_begun(member)
        if self._members:
            self._members.begin(member)
        if not self._left:
            self._end()

    def _take(self, piece: bytes) -> None:
        if self._kind in {_EXTENDED, _GLOBAL}:
            self._extended += piece
            if not self._left and self._kind == _EXTENDED:
                self._overrides = _read_overrides(self._extended)
            return
        self._hash.update(piece)
        if self._members:
            self._members.write(piece)
        if not self._left:
            self._end()

    def _end(self) -> None:
        if self._members:
            self._members.end()
        if self._file and (found := self._hash.hexdigest()) != self._file.sha256:
            self._refuse(
                f"{self._file.path!r} has the SHA-256 {self._file.sha256} in the records, {found} in the repository"
            )

    def _check_begun(self, member: Member) -> None:
        path = member.path.removeprefix(self._prefix)
        self._file = None
        if self._kind == _DIRECTORY:
            # An empty one is a submodule.
            if member.path not in self._directories:
                self._refuse(f"the directory {path!r} is in the repository only")
            return
        if self._kind != _FILE:
            self._refuse(f"{path!r} is no regular file in the repository")
        file = self._file = self._awaited.pop(member.path, None)
        if file is None:
            self._refuse(f"{path!r} is in the repository only")
        if member.mode != file.mode & 0o7777:
            self._refuse(f"{path!r} has the mode {file.mode:o} in the records, {member.mode:o} in the repository")
        if member.size_bytes != file.size_bytes:
            self._refuse(f"{path!r} has {file.size_bytes} bytes in the records, {member.size_bytes} in the repository")
        self._hash = hashlib.sha256()

    def _refuse(self, reason: str) -> NoReturn:
        raise StorageError(
            f"the records and the repository differ, so there is no archive of commit {self._commit}: {reason}"
        )


def write_manifest(
    output: ByteSink,
    *,
    name: str,
    commit: str,
    archive: WrittenFile,
    bundle: WrittenFile | None,
    files: Sequence[ProjectFile],
) -> None:
    """Write the manifest, JSON with a line for each file, by path in byte order. Equal input gives equal bytes."""
    head = {
        "name": name,
        "commit": commit,
        "archive": _describe(archive),
        "bundle": _describe(bundle) if bundle else None,
    }
    encode = json.JSONEncoder(ensure_ascii=False).encode
    lines = [
        encode({"path": file.path, "size": file.size_bytes, "sha256": file.sha256, "origin": file.origin})
        for file in sorted(files, key=lambda file: file.path.encode())
    ]
    start = encode(head).removesuffix("}")
    output.write(f'{start}, "files": [\n'.encode() + ",\n".join(lines).encode() + b"\n]}\n")


def _describe(file: WrittenFile) -> dict[str, str | int]:
    return {"file": file.path.name, "size": file.size_bytes, "sha256": file.sha256}


def _list_directories(paths: Iterable[str]) -> set[str]:
    directories: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and f"{parent}/" not in directories:
            directories.add(f"{parent}/")
            parent = parent.rpartition("/")[0]
    return directories


def _read_path(header: bytes) -> str:
    name = header[:100].rstrip(b"\0")
    above = header[345:500].rstrip(b"\0")
    return (above + b"/" + name if above else name).decode("utf-8", "surrogateescape")


def _read_overrides(records: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    while records:
        length = int(records.partition(b" ")[0])
        _, _, record = records[: length - 1].partition(b" ")
        key, _, value = record.partition(b"=")
        found[key.decode()] = value.decode("utf-8", "surrogateescape")
        records = records[length:]
    return found
