"""One generated project: its record against its directory, as often as somebody changes it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scaffolder.config import Settings
from scaffolder.doctor.archives import ArchiveComparison
from scaffolder.doctor.disk import leads_outside, open_below, open_directory, walk
from scaffolder.doctor.findings import SHOWN, Difference, FindingKind
from scaffolder.doctor.record_checks import compare_counts, describe
from scaffolder.doctor.repository_check import RepositoryComparison
from scaffolder.records.doctor_models import ExaminedProject
from scaffolder.records.models import GeneratedProjectStatus
from scaffolder.records.store import ProjectRecords

_TRIES: Final = 3
_REPOSITORY: Final = "repository"
_ARCHIVES: Final = "archives"
_OVER: Final = frozenset({GeneratedProjectStatus.EXPIRED, GeneratedProjectStatus.DELETED})


class ProjectExamination:
    """Looks at generated projects; `bare` is from `make_bare_repository`. No transaction is open meanwhile."""

    def __init__(
        self, records: ProjectRecords, *, settings: Settings, bare: Path, deep: bool, grace_seconds: int
    ) -> None:
        self._records = records
        self._settings = settings
        self._root = settings.generated_projects_dir
        self._bare = bare
        self._deep = deep
        self._grace_seconds = grace_seconds

    def compare(self, record: ExaminedProject) -> list[Difference]:
        """Return what differs.

        Where the record has changed by the end, what was found may be another's work in the middle: it is looked at
        again, and nothing is said of one that changes each time.
        """
        for _ in range(_TRIES):
            differences = [*compare_counts(record, records=self._records), *self._look(record)]
            if not differences:
                return []
            newest = self._records.doctor.find_examined(record.id, grace_seconds=self._grace_seconds)
            if newest is None:
                return []
            if newest.stamp == record.stamp:
                return differences
            record = newest
        return []

    def _look(self, record: ExaminedProject) -> list[Difference]:
        if record.status in _OVER:
            return []
        try:
            return list(self._compare_directory(record))
        except OSError as error:
            path = str(self._root / str(record.id))
            return [_miss(record, f"{path!r} cannot be read: {error.strerror}. Check the rights of this user")]

    def _compare_directory(self, record: ExaminedProject) -> Iterator[Difference]:
        directory = self._root / str(record.id)
        with open_below(self._root, directory.name) as descriptor:
            if descriptor is None:
                if record.head_commit is not None:
                    yield _miss(record, f"its directory {str(directory)!r} is not there")
                return
            links = _OutsideLinks(record, directory)
            yield from links.compare(descriptor)
            if record.head_commit is not None:
                yield from self._compare_repository(record, directory, descriptor, trusts_git=not links.is_in_git)
            with open_directory(_ARCHIVES, within=descriptor) as archives:
                yield from ArchiveComparison(
                    record,
                    directory=directory / _ARCHIVES,
                    descriptor=archives,
                    records=self._records.doctor,
                    settings=self._settings,
                    deep=self._deep,
                ).compare()

    def _compare_repository(
        self, record: ExaminedProject, directory: Path, descriptor: int, *, trusts_git: bool
    ) -> Iterator[Difference]:
        path = directory / _REPOSITORY
        with open_directory(_REPOSITORY, within=descriptor) as repository:
            if repository is None:
                yield _miss(record, f"its repository {str(path)!r} is not there")
                return
            with open_directory(".git", within=repository) as git_directory:
                if git_directory is None:
                    yield _miss(record, f"its repository {str(path)!r} has no directory '.git'")
                    return
            comparison = RepositoryComparison(
                record,
                directory=path,
                descriptor=repository,
                bare=self._bare,
                records=self._records.doctor,
                settings=self._settings,
                deep=self._deep,
            )
            redirections = list(comparison.find_redirections())
            yield from redirections
            if trusts_git and not redirections:
                yield from comparison.compare()


class _OutsideLinks:
    """The symlinks of one generated project that may lead out of its directory. `is_in_git` is set by `compare`."""

    def __init__(self, record: ExaminedProject, directory: Path) -> None:
        self._record = record
        self._directory = directory
        self.is_in_git = False

    def compare(self, descriptor: int) -> Iterator[Difference]:
        count = 0
        for found in walk(descriptor):
            if not leads_outside(found):
                continue
            in_git = found.path.startswith(f"{_REPOSITORY}/.git/")
            self.is_in_git = self.is_in_git or in_git
            count += 1
            if count > SHOWN:
                continue
            path = str(self._directory / found.path)
            untouched = ", so git was not asked about it" if in_git else ""
            yield Difference(
                kind=FindingKind.OUTSIDE_LINK,
                subject=path,
                detail=f"the symlink {path!r} of {describe(self._record)} leads to {found.target!r}, which may be "
                f"outside of its directory{untouched}; it is not followed: look who has made it, and remove it",
            )
        if count > SHOWN:
            yield Difference(
                kind=FindingKind.OUTSIDE_LINK,
                subject=str(self._directory),
                detail=f"{describe(self._record)} has {count - SHOWN} more symlinks that may lead outside of its "
                f"directory {str(self._directory)!r}; look who has made them, and remove them",
            )


def _miss(record: ExaminedProject, what: str) -> Difference:
    return Difference(
        kind=FindingKind.RECORD_WITHOUT_DIRECTORY,
        subject=str(record.id),
        detail=f"{describe(record)} is {record.status.value!r}, and {what}. Its files come back with a backup, or by "
        "generating it again",
    )
