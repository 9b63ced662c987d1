"""How much space is free on the disk of the generated projects, asked before something is written to it."""

from __future__ import annotations

import shutil
from pathlib import Path

from scaffolder.config import Settings, environment_variable
from scaffolder.errors import DiskSpaceError, StorageError


def check_free_space(settings: Settings, needed_bytes: int = 0) -> None:
    """Refuse to write `needed_bytes` where less than the setting ``min_free_disk_size`` would stay free.

    Raises DiskSpaceError, and StorageError where nobody can say how much is free. What others write at the same time is
    not counted, so the setting is a reserve and no guarantee.
    """
    if not settings.min_free_disk_size:
        return
    directory = settings.generated_projects_dir
    try:
        free_bytes = shutil.disk_usage(_find_existing(directory)).free
    except OSError as error:
        raise StorageError(
            f"how much is free on the disk of {str(directory)!r} cannot be found out: {error.strerror}"
        ) from error
    if free_bytes - needed_bytes < settings.min_free_disk_size:
        raise DiskSpaceError(
            f"the disk of {str(directory)!r} has {free_bytes} bytes free and {needed_bytes} bytes would be written; "
            f"accepted is that {settings.min_free_disk_size} bytes stay free "
            f"({environment_variable('min_free_disk_size')}). Free some space, run the DAG cleanup_generated_projects "
            "with its parameter free_size, or lower the setting"
        )


def _find_existing(directory: Path) -> Path:
    """Return `directory`, or the nearest one above it that is there: the first run makes it."""
    path = directory.absolute()
    return next((one for one in (path, *path.parents) if one.exists()), path)
