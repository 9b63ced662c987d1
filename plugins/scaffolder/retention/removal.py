"""Removes generated projects: directories and the rows of their files; what they were and where they went stays.

In this order: the record becomes ``expired``, from when on nothing begins on it; the directory moves aside and goes;
the rows go and the record becomes ``deleted``. Cut off anywhere and done again, it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

from scaffolder.config import Settings
from scaffolder.errors import StorageError
from scaffolder.records.models import GeneratedProjectStatus
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.directory import ProjectsDirectory
from scaffolder.retention.installation import open_projects_directory


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What became of a batch: how many were deleted, the bytes that came free, and why which could not go."""

    count: int
    disk_bytes: int
    errors: dict[UUID, str] = field(default_factory=dict)


def remove_generated_project(records: ProjectRecords, generated_project_id: UUID, *, settings: Settings) -> None:
    """Remove a generated project that is over, not held and not being exported.

    Raises RecordNotFoundError, StatusTransitionError (live, held, being exported) and StorageError.
    """
    if records.get_generated_project(generated_project_id).status is GeneratedProjectStatus.DELETED:
        return
    with open_projects_directory(records, settings=settings) as directory:
        directory.check_writable()
        records.retention.expire(generated_project_id, reason="it was deleted by hand")
        removed = remove_expired(records, [generated_project_id], directory=directory, threads=1)
    if removed.errors:
        raise StorageError(removed.errors[generated_project_id])


def remove_expired(
    records: ProjectRecords, ids: Sequence[UUID], *, directory: ProjectsDirectory, threads: int
) -> Removed:
    """Remove what is ``expired``, directories first, `threads` of them at a time; also what is left in the trash."""
    errors: dict[UUID, str] = {}
    left = _list_left(directory, ids)
    # Each thread takes the next one: a task for each would cost more than many a directory.
    waiting = iter(ids)

    def remove(key: UUID) -> int:
        aside = directory.set_aside(str(key))
        return sum(directory.remove(name) for name in (*left.get(key, ()), *([aside] if aside else ())))

    def work(_: int) -> int:
        size = 0
        for key in waiting:
            try:
                size += remove(key)
            except StorageError as error:
                errors[key] = str(error)
        return size

    with ThreadPoolExecutor(threads) as pool:
        disk_bytes = sum(pool.map(work, range(threads)))
    count = records.retention.delete([key for key in ids if key not in errors])
    return Removed(count=count, disk_bytes=disk_bytes, errors=errors)


def _list_left(directory: ProjectsDirectory, ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """Return what removals that were cut off have left in the trash."""
    names = {str(key): key for key in ids}
    found: dict[UUID, list[str]] = {}
    for entry in directory.list_trash():
        key = names.get(entry.name[:36])
        if key is not None:
            found.setdefault(key, []).append(entry.name)
    return found
