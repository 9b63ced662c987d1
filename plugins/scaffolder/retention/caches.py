"""What can be made again and nobody has used for long: templates from git, compiled ones, renderings cut off."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

from scaffolder.errors import StorageError
from scaffolder.generation.templates.locks import hold_lock
from scaffolder.generation.templates.mirrors import USED
from scaffolder.retention.directory import measure

_REMOVING: Final = ".removing-"
# Digests, as those who use the caches name them; what has another name is somebody else's.
_OURS: Final = re.compile(r"[0-9a-f]{32,128}(\.[0-9a-f]{16}\.unfinished)?|\.removing-[0-9a-f]{32}")

# What lies below each is removed under the lock of those who use it.
_CACHES: Final[dict[str, Callable[[Path], AbstractContextManager[None]]]] = {
    "templates": lambda path: hold_lock(path / "lock"),
    "renderings": lambda path: hold_lock(path.with_suffix(".lock")),
    "compiled": lambda _: nullcontext(),
}


def sweep_caches(cache_dir: Path, *, unused_since: float, dry_run: bool) -> Iterator[tuple[str, int]]:
    """Yield the name and bytes of what was not used since `unused_since` (seconds since 1970), removed by then.

    Nothing is removed that somebody uses. Raises StorageError.
    """
    for name, lock in _CACHES.items():
        for path in _list(cache_dir / name):
            try:
                if not _OURS.fullmatch(path.name) or _get_used_at(path) > unused_since:
                    continue
                size = _measure(path)
                if dry_run or _remove(path, lock=lock, unused_since=unused_since):
                    yield f"{name}/{path.name}", size
            except FileNotFoundError:
                # Somebody else removes it, too.
                continue
            except OSError as error:
                raise StorageError(f"{str(path)!r} cannot be removed: {error.strerror}") from error


def _list(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []


def _remove(path: Path, *, lock: Callable[[Path], AbstractContextManager[None]], unused_since: float) -> bool:
    if not stat.S_ISDIR(path.lstat().st_mode):
        path.unlink()
        return True
    if path.name.startswith(_REMOVING):
        shutil.rmtree(path)
        return True
    aside = path.with_name(f"{_REMOVING}{uuid4().hex}")
    with lock(path):
        with suppress(FileNotFoundError):
            if (path / USED).stat().st_mtime > unused_since:
                return False
        path.rename(aside)
    shutil.rmtree(aside)
    return True


def _get_used_at(path: Path) -> float:
    try:
        return (path / USED).stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return path.lstat().st_mtime


def _measure(path: Path) -> int:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return measure(path.name, directory=descriptor)
    finally:
        os.close(descriptor)
