"""The directory of all generated projects, held open: what is removed is reached from there, and nothing else is.

No path is followed twice, so no symbolic link and no directory that is swapped meanwhile leads anywhere else.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from scaffolder.errors import StorageError

TRASH: Final = ".trash"
MARKER: Final = ".scaffolder"
"""The file that says which records the directory belongs to."""

_MARKER_BYTES: Final = 200
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES: Final = 512  # st_blocks counts in these, whatever the file system's own are (stat(2))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A name in a directory. `changed_at` (seconds since 1970) is when it was last changed or renamed."""

    name: str
    is_directory: bool
    changed_at: float

    @property
    def id(self) -> UUID | None:
        """The generated project whose directory has this name, None where none can."""
        return parse_id(self.name)


def parse_id(name: str) -> UUID | None:
    """Return the id that is a directory's name, None where it is written in another way than ours."""
    try:
        found = UUID(name)
    except ValueError:
        return None
    return found if str(found) == name else None


class ProjectsDirectory:
    """The open directory `path`. Its `.trash` holds what is being removed."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[ProjectsDirectory]:
        """Yield it. Raises StorageError where it is not there, or cannot be cleaned safely on this system."""
        if not shutil.rmtree.avoids_symlink_attacks:
            raise StorageError(f"nothing is removed in {str(path)!r}: this system cannot remove directories safely")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(
                f"the directory {str(path)!r} cannot be opened: {error.strerror}. Check "
                "SCAFFOLDER_GENERATED_PROJECTS_DIR, and that what it is on is mounted"
            ) from error
        try:
            yield cls(path, descriptor)
        finally:
            os.close(descriptor)

    def read_marker(self) -> str | None:
        """Return what the marker says; None without one."""
        try:
            descriptor = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{str(self.path / MARKER)!r} cannot be read: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            return file.read(_MARKER_BYTES).decode("utf-8", "backslashreplace").strip()

    def write_marker(self, text: str) -> None:
        """Write the marker; it appears whole. Raises StorageError."""
        unfinished = f"{MARKER}-{uuid4().hex}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(unfinished, flags, 0o644, dir_fd=self._descriptor), "w") as file:
                file.write(f"{text}\n")
            os.rename(unfinished, MARKER, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except OSError as error:
            raise StorageError(f"{str(self.path / MARKER)!r} cannot be written: {error.strerror}") from error

    def check_writable(self) -> None:
        """Raise StorageError where nothing could be removed: before anything is claimed for that."""
        probe = f"{uuid4()}-probe"
        with self._open_trash() as trash, self._saying(f"{TRASH}/{probe}"):
            os.mkdir(probe, dir_fd=trash)
            os.rename(probe, f"{MARKER}-{probe}", src_dir_fd=trash, dst_dir_fd=self._descriptor)
            os.rmdir(f"{MARKER}-{probe}", dir_fd=self._descriptor)

    def list_entries(self) -> Iterator[Entry]:
        """Yield all that lies in it, but for our own: the trash and the marker."""
        yield from (
            entry for entry in _list(self._descriptor) if entry.name != TRASH and not entry.name.startswith(MARKER)
        )

    def list_trash(self) -> list[Entry]:
        """Return what lies in the trash."""
        try:
            os.stat(TRASH, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return []
        with self._open_trash() as trash:
            return list(_list(trash))

    def has(self, generated_project_id: UUID) -> bool:
        """Say whether the directory of a generated project is there."""
        try:
            status = os.stat(str(generated_project_id), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(status.st_mode)

    def set_aside(self, name: str) -> str | None:
        """Move what has this name into the trash, in one step, and return its name there; None where it is not there.

        Raises StorageError.
        """
        with self._saying(name):
            if not _is_there(_check(name), directory=self._descriptor):
                return None
            self._check_no_mounts(name)
        aside = f"{name}-{uuid4().hex}"
        with self._open_trash() as trash, self._saying(name):
            try:
                os.rename(name, aside, src_dir_fd=self._descriptor, dst_dir_fd=trash)
            except FileNotFoundError:
                return None
        return aside

    def put_back(self, aside: str, name: str) -> None:
        """Move what was set aside where it was, where nothing has come there since. Raises StorageError."""
        with self._open_trash() as trash, self._saying(name):
            os.rename(_check(aside), _check(name), src_dir_fd=trash, dst_dir_fd=self._descriptor)

    def remove(self, aside: str) -> int:
        """Remove something from the trash and return the bytes that it took on the disk.

        Several may remove the same at once. Raises StorageError.
        """
        with self._open_trash() as trash, self._saying(f"{TRASH}/{aside}"):
            return _remove(_check(aside), directory=trash)

    def list_archives(self, generated_project_id: UUID) -> list[Entry]:
        """Return the files in the directory of its archives."""
        with self._open_archives(generated_project_id) as archives:
            return [] if archives is None else [one for one in _list(archives) if not one.is_directory]

    def set_archive_aside(self, generated_project_id: UUID, name: str) -> str | None:
        """Move a file of its archives into the trash and return its name there. Raises StorageError."""
        aside = f"{generated_project_id}-{uuid4().hex}"
        with (
            self._open_archives(generated_project_id) as archives,
            self._open_trash() as trash,
            self._saying(f"{generated_project_id}/{name}"),
        ):
            if archives is None:
                return None
            try:
                os.rename(_check(name), aside, src_dir_fd=archives, dst_dir_fd=trash)
            except FileNotFoundError:
                return None
        return aside

    def _check_no_mounts(self, name: str) -> None:
        """Raise StorageError where something is mounted below: a removal would go through it."""
        place = os.path.realpath(self.path / name) + "/"
        for point in _list_mount_points():
            if f"{point}/".startswith(place):
                raise StorageError(f"{str(self.path / name)!r} stays: something is mounted at {point!r}")

    @contextmanager
    def _open_archives(self, generated_project_id: UUID) -> Iterator[int | None]:
        with ExitStack() as stack:
            inner: int | None = self._descriptor
            for name in (str(generated_project_id), "archives"):
                inner = None if inner is None else stack.enter_context(_open_if_there(name, directory=inner))
            yield inner

    @contextmanager
    def _open_trash(self) -> Iterator[int]:
        with self._saying(TRASH):
            with suppress(FileExistsError):
                os.mkdir(TRASH, mode=0o700, dir_fd=self._descriptor)
            descriptor = os.open(TRASH, _OPEN, dir_fd=self._descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _saying(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{str(self.path / name)!r} cannot be removed: {error.strerror}") from error


def _list_mount_points() -> list[str]:
    """Return where something is mounted (proc_pid_mountinfo(5)); nothing on systems that do not say it so."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    points = [line.split()[4] for line in lines]
    # Spaces, tabs, line ends and backslashes are in octal.
    return [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point) for point in points]


def measure(name: str, *, directory: int) -> int:
    """Return the bytes that a name in the open `directory` takes on the disk, with all below it."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    size = status.st_blocks * _BLOCK_BYTES
    if stat.S_ISDIR(status.st_mode):
        for _, directories, files, descriptor in os.fwalk(name, dir_fd=directory, onerror=None):
            for one in (*directories, *files):
                with suppress(FileNotFoundError):
                    size += os.stat(one, dir_fd=descriptor, follow_symlinks=False).st_blocks * _BLOCK_BYTES
    return size


def _remove(name: str, *, directory: int) -> int:
    try:
        size = measure(name, directory=directory)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        # Somebody else removes it, too; one of the two comes to its end.
        return _remove(name, directory=directory) if _is_there(name, directory=directory) else 0
    return size


def _is_there(name: str, *, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _list(directory: int) -> Iterator[Entry]:
    with os.scandir(directory) as found:
        for entry in found:
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                yield Entry(name=entry.name, is_directory=stat.S_ISDIR(status.st_mode), changed_at=status.st_ctime)


@contextmanager
def _open_if_there(name: str, *, directory: int) -> Iterator[int | None]:
    try:
        descriptor = os.open(name, _OPEN, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check(name: str) -> str:
    if not name or name in {".", ".."} or "/" in name or "\0" in name:
        raise StorageError(f"{name!r} is not removed: accepted is the name of something in the directory")
    return name
