"""What a template's own tool makes in its directory: watched while it is made, then read back and judged."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scaffolder.errors import LimitExceededError, StorageError, TemplateError
from scaffolder.generation.templates.locks import hold_lock
from scaffolder.generation.tree import GeneratedFile

if TYPE_CHECKING:
    from scaffolder.config import Settings

_PAUSE_SECONDS: Final = 0.1


@contextmanager
def make_workspace(request: str, *, settings: Settings) -> Iterator[Path]:
    """Yield the empty directory of one rendering, with ``output``, ``home`` and ``tmp`` in it; nothing stays of it.

    Equal requests get the same one, one after the other: a template may write its path into files, and a rendering
    made again has the same bytes. What a killed one left is removed. Raises StorageError.
    """
    directory = settings.cache_dir / "renderings" / hashlib.sha256(request.encode()).hexdigest()[:32]
    with ExitStack() as stack:
        try:
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(hold_lock(directory.with_suffix(".lock")))
            if directory.exists():
                _remove(directory)
            for name in ("output", "home", "tmp"):
                (directory / name).mkdir(parents=True)
        except OSError as error:
            raise StorageError(
                f"the directory {str(directory)!r} cannot be written: {error.strerror}. Check SCAFFOLDER_CACHE_DIR"
            ) from error
        try:
            yield directory.resolve()
        finally:
            # What cannot be removed now is removed before the place is used again, or an error then.
            with suppress(OSError):
                _remove(directory)


def _remove(directory: Path) -> None:
    # A hook may have taken rights away from directories.
    directory.chmod(0o700)
    for path, status in _walk(directory):
        if stat.S_ISDIR(status.st_mode):
            os.chmod(path, 0o700)  # noqa: PTH101 - as in _walk
    shutil.rmtree(directory)


class OutputWatch:
    """Called again and again, it stops a rendering whose files in `directory` pass the limits of a project.

    It takes a tenth of the time at most, so many files are looked at less often.
    """

    def __init__(self, directory: Path, *, what: str, settings: Settings) -> None:
        self._directory = directory
        self._what = what
        self._settings = settings
        self._next = 0.0

    def __call__(self) -> None:
        """Raise LimitExceededError where there is too much."""
        begin = time.monotonic()
        if begin < self._next:
            return
        files = size_bytes = 0
        for path, status in _walk(self._directory):
            files += not stat.S_ISDIR(status.st_mode)
            # Blocks, as a file with holes takes no room; but it may not hold more than its length either.
            size_bytes += min(status.st_size, status.st_blocks * 512) if path else 0
        check_totals(files, size_bytes, what=self._what, settings=self._settings)
        took = time.monotonic() - begin
        self._next = begin + took + max(_PAUSE_SECONDS, 10 * took)


def check_totals(files: int, size_bytes: int, *, what: str, settings: Settings) -> None:
    """Raise LimitExceededError where a project would have too many files or bytes."""
    if files > settings.max_project_files:
        raise LimitExceededError(
            f"{what} makes more than {settings.max_project_files} files (SCAFFOLDER_MAX_PROJECT_FILES)"
        )
    if size_bytes > settings.max_project_size:
        raise LimitExceededError(
            f"{what} makes more than {settings.max_project_size} bytes (SCAFFOLDER_MAX_PROJECT_SIZE)"
        )


def read_back(directory: Path, *, what: str, origin: str, settings: Settings) -> list[GeneratedFile]:
    """Return the files below `directory`, by path. A ``.git`` at its top, which a task may have made, is left out.

    Raises TemplateError naming every link and device, and LimitExceededError.
    """
    files: list[GeneratedFile] = []
    others: list[str] = []
    size_bytes = 0
    for path, status in _walk(directory):
        relative = os.path.relpath(path, directory)
        if relative == ".git" or relative.startswith(".git/") or stat.S_ISDIR(status.st_mode):
            continue
        if not stat.S_ISREG(status.st_mode):
            others.append(relative)
            continue
        if status.st_size > settings.max_file_size:
            raise LimitExceededError(
                f"{what}: {relative!r} became {status.st_size} bytes, accepted are {settings.max_file_size} "
                "(SCAFFOLDER_MAX_FILE_SIZE)"
            )
        size_bytes += status.st_size
        check_totals(len(files) + 1, size_bytes, what=what, settings=settings)
        executable = bool(status.st_mode & stat.S_IXUSR)
        content = Path(path).read_bytes()
        files.append(GeneratedFile(path=relative, content=content, origin=origin, executable=executable))
    if others:
        raise TemplateError(f"{what} has links or devices: {sorted(others)}; accepted are files and directories")
    return sorted(files, key=lambda file: file.path)


def check_links(directory: Path, *, what: str) -> None:
    """Raise TemplateError naming every link below `directory` that leads out of it."""
    root = directory.resolve()
    outside = sorted(
        os.path.relpath(path, directory)
        for path, status in _walk(directory)
        if stat.S_ISLNK(status.st_mode) and not Path(os.path.realpath(path)).is_relative_to(root)
    )
    if outside:
        raise TemplateError(f"{what} has links that lead out of it: {outside}; accepted are links inside of it")


def _walk(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all that is below `directory`, links not followed. What goes away meanwhile is left out."""
    for parent, directories, names in os.walk(directory):
        for name in (*directories, *names):
            path = os.path.join(parent, name)  # noqa: PTH118 - a Path for each of many files takes time
            try:
                yield path, os.lstat(path)
            except FileNotFoundError:
                continue
