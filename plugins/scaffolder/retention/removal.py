"""Removes one generated project: its directory and the rows of its files; what it was, and its exports, stay known."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from scaffolder.config import Settings
from scaffolder.errors import StorageError
from scaffolder.generation.step_commit import get_project_directory
from scaffolder.records.models import GeneratedProjectStatus
from scaffolder.records.store import ProjectRecords

TRASH: Final = ".trash"


def remove_generated_project(records: ProjectRecords, generated_project_id: UUID, *, settings: Settings) -> None:
    """Remove a generated project that is over, not held and not being exported. Done again, it goes on.

    First it becomes ``expired``, from when on nothing begins on it; then its directory moves aside and goes; then its
    rows go and it becomes ``deleted``. Raises RecordNotFoundError, StatusTransitionError (live, held, being exported)
    and StorageError.
    """
    if records.get_generated_project(generated_project_id).status is GeneratedProjectStatus.DELETED:
        return
    records.mark_expired(generated_project_id)
    _remove_directory(get_project_directory(generated_project_id, settings=settings))
    records.mark_deleted(generated_project_id)


def _remove_directory(directory: Path) -> None:
    if not shutil.rmtree.avoids_symlink_attacks:
        raise StorageError(f"{str(directory)!r} stays: this system cannot remove directories safely")
    trash = directory.parent / TRASH
    aside = trash / f"{directory.name}-{uuid4().hex}"
    try:
        trash.mkdir(exist_ok=True)
        # In one step it is whole or not there, whatever happens to the removal.
        directory.rename(aside)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"the directory {str(directory)!r} cannot be removed: {error.strerror}") from error
    for left in trash.glob(f"{directory.name}-*"):
        try:
            shutil.rmtree(left)
        except FileNotFoundError:
            # Somebody else removes it, too.
            continue
        except OSError as error:
            raise StorageError(f"the directory {str(left)!r} cannot be removed: {error.strerror}") from error
