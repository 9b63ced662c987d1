"""Looking at directories that anybody may have written into: no symlink is ever followed on the way."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PIECE_BYTES: Final = 1_048_576


@dataclass(frozen=True, kw_only=True)
class DiskEntry:
    """Something that is no directory. `path` is relative to where the walk began, with ``/``.

    `parent` is a file descriptor of its directory, open until the walk goes on. `target` is where a symlink leads.
    """

    path: str
    name: str
    parent: int
    status: os.stat_result
    target: str | None

    @property
    def is_file(self) -> bool:
        """Say whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)


@contextmanager
def open_directory(path: str | Path, *, within: int | None = None) -> Iterator[int | None]:
    """Yield a descriptor of a directory, None where there is none; a symlink is none.

    `path` is one name where it is `within` another directory.
    """
    try:
        descriptor = os.open(path, _DIRECTORY | (0 if within is None else os.O_NOFOLLOW), dir_fd=within)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_below(root: Path, *names: str) -> Iterator[int | None]:
    """Yield a descriptor of the directory ``root/name/...``, None where one of them is not there, or a symlink."""
    with ExitStack() as stack:
        found = stack.enter_context(open_directory(root))
        for name in names:
            if found is not None:
                found = stack.enter_context(open_directory(name, within=found))
        yield found


def find_status(name: str, *, within: int) -> os.stat_result | None:
    """Return what `name` is itself, None where it is not there."""
    try:
        return os.stat(name, dir_fd=within, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def walk(directory: int, *, skip: frozenset[str] = frozenset()) -> Iterator[DiskEntry]:
    """Yield all that is below and is no directory, by path in byte order, as git sorts its trees.

    `skip` are names at the top. What goes away meanwhile is left out. Raises OSError for what cannot be read.
    """
    levels = [(os.dup(directory), "", iter(_list_names(directory, skip=skip)))]
    try:
        while levels:
            parent, prefix, names = levels[-1]
            name = next(names, None)
            if name is None:
                os.close(levels.pop()[0])
            elif name.endswith("/"):
                with suppress(FileNotFoundError, NotADirectoryError):
                    child = os.open(name[:-1], _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
                    # Listed once it is among those that are closed, whatever happens.
                    levels.append((child, prefix + name, iter(())))
                    levels[-1] = (child, prefix + name, iter(_list_names(child)))
            elif (status := find_status(name, within=parent)) is not None:
                target = _read_target(name, within=parent) if stat.S_ISLNK(status.st_mode) else None
                yield DiskEntry(path=prefix + name, name=name, parent=parent, status=status, target=target)
    finally:
        for descriptor, _, _ in levels:
            os.close(descriptor)


def _list_names(directory: int, *, skip: frozenset[str] = frozenset()) -> list[str]:
    """Return the names, those of directories with a ``/`` at the end, which decides their place."""
    with os.scandir(directory) as entries:
        names = [
            one.name + "/" if one.is_dir(follow_symlinks=False) else one.name for one in entries if one.name not in skip
        ]
    return sorted(names, key=os.fsencode)


def _read_target(name: str, *, within: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=within)
    except OSError:
        return None


def leads_outside(link: DiskEntry) -> bool:
    """Say whether a symlink may lead out of where the walk began.

    One that does not begin with its ``..`` counts, too: where that leads depends on other links.
    """
    if link.target is None:
        return False
    if link.target.startswith("/"):
        return True
    depth = link.path.count("/")
    parts = [part for part in link.target.split("/") if part not in ("", ".")]
    ups = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    return ups > depth or ".." in parts[ups:]


def digest_file(name: str, *, within: int, kind: str, prefix: bytes = b"") -> str | None:
    """Return the digest of `prefix` and the content of a regular file, None where it is not there or is none."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=within)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        digest = hashlib.new(kind, prefix, usedforsecurity=False)
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
