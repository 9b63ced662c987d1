from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scaffolder.api.problems import describe_error
from scaffolder.config import GIB, Settings
from scaffolder.errors import DiskSpaceError
from scaffolder.generation.disk import check_free_space


def measure(settings: Settings) -> int:
    return shutil.disk_usage(settings.generated_projects_dir.parent).free


def test_what_fits_is_let_through_before_the_directory_is_made(settings: Settings) -> None:
    settings.generated_projects_dir.rmdir()
    check_free_space(settings)
    check_free_space(replace(settings, min_free_disk_size=1), needed_bytes=1)
    check_free_space(replace(settings, generated_projects_dir=Path("not/there/yet"), min_free_disk_size=1))


def test_too_little_space_is_refused_with_what_to_do(settings: Settings) -> None:
    settings = replace(settings, min_free_disk_size=measure(settings) + 10 * GIB)
    with pytest.raises(DiskSpaceError) as caught:
        check_free_space(settings, needed_bytes=7)
    message = str(caught.value)
    assert message.startswith(f"the disk of {str(settings.generated_projects_dir)!r} has ")
    assert " bytes free and 7 bytes would be written; accepted is that " in message
    assert f"{settings.min_free_disk_size} bytes stay free (SCAFFOLDER_MIN_FREE_DISK_SIZE)" in message
    assert "run the DAG cleanup_generated_projects with its parameter free_size" in message


def test_what_will_be_written_counts(settings: Settings) -> None:
    check_free_space(replace(settings, min_free_disk_size=1))
    with pytest.raises(DiskSpaceError):
        check_free_space(replace(settings, min_free_disk_size=1), needed_bytes=measure(settings) + 10 * GIB)


def test_it_can_be_switched_off(settings: Settings) -> None:
    check_free_space(replace(settings, min_free_disk_size=0), needed_bytes=measure(settings) + 10 * GIB)


def test_the_api_answers_507_and_keeps_paths_to_itself() -> None:
    status, title, detail = describe_error(DiskSpaceError("the disk of '/srv/projects' has 3 bytes free"))
    assert (status, title) == (507, "Disk space")
    assert detail == ("Too little space is free on the disk of the projects directory. The API server's log says more")
