"""Which directory belongs to which records: a file in the directory says it, and nothing is removed where it doesn't.

Without it, an empty mount point would look like a directory whose generated projects are gone, and the records of
another place as if nothing there were known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from scaffolder.config import Settings
from scaffolder.errors import StorageError
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.directory import MARKER, ProjectsDirectory

_PAGE = 1_000


@contextmanager
def open_projects_directory(
    records: ProjectRecords, *, settings: Settings, may_mark: bool = True
) -> Iterator[ProjectsDirectory]:
    """Yield the directory of generated projects, where it is that of these records. Raises StorageError otherwise.

    One that has never been marked is taken for theirs where it holds any generated project that they know, or they
    know of none with files; it is marked then, if it `may_mark`.
    """
    path = settings.generated_projects_dir
    with ProjectsDirectory.open(path) as directory:
        installation = records.retention.read_installation()
        marker = directory.read_marker()
        if marker is None and installation.has_directory:
            raise StorageError(
                f"nothing is removed: {str(path)!r} has no file {MARKER!r}, so it is not the directory that these "
                "records belong to. Check SCAFFOLDER_GENERATED_PROJECTS_DIR, and that what it is on is mounted. If it "
                f"is the right one, write {str(installation.id)!r} into that file"
            )
        if marker not in {None, str(installation.id)}:
            raise StorageError(
                f"nothing is removed: {str(path)!r} belongs to other records: its file {MARKER!r} says {marker!r}, "
                f"these are {str(installation.id)!r}. Check the connection of the records and "
                "SCAFFOLDER_GENERATED_PROJECTS_DIR"
            )
        if marker is None:
            if records.retention.has_files() and not _knows_any(records, directory):
                raise StorageError(
                    f"nothing is removed: {str(path)!r} holds none of the generated projects that the records know. "
                    "Check SCAFFOLDER_GENERATED_PROJECTS_DIR, and that what it is on is mounted"
                )
            if may_mark:
                directory.write_marker(str(installation.id))
        if may_mark and not installation.has_directory:
            records.retention.note_directory()
        yield directory


def _knows_any(records: ProjectRecords, directory: ProjectsDirectory) -> bool:
    found = (entry.id for entry in directory.list_entries() if entry.id and entry.is_directory)
    while page := list(islice(found, _PAGE)):
        if len(records.retention.find_without_record(page)) < len(page):
            return True
    return False
