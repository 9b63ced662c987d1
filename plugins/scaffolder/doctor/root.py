"""The directory of all generated projects against the records: what is there that should not be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from typing import Final
from uuid import UUID

from scaffolder.config import Settings
from scaffolder.doctor.disk import find_status, open_directory
from scaffolder.doctor.findings import Difference, FindingKind
from scaffolder.errors import StorageError
from scaffolder.records.doctor_models import KnownStatus
from scaffolder.records.models import GeneratedProjectStatus
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.directory import MARKER, TRASH, parse_id
from scaffolder.retention.installation import open_projects_directory

MAX_REMOVED: Final = 100
MAX_REMOVED_OF_STRANGERS: Final = 10
_ENTRIES_PER_LOOK: Final = 500
_ID_CHARACTERS: Final = 36


class RootExamination:
    """One look at the directory of generated projects. With `project`, only at the directories of that project.

    More than `MAX_REMOVED` directories without a record, or more than `MAX_REMOVED_OF_STRANGERS` where no other
    directory has one, may mean that the records are those of another installation: none is removed then, but where
    `all_directories` says so.
    """

    def __init__(
        self, records: ProjectRecords, *, settings: Settings, project: str | None, all_directories: bool
    ) -> None:
        self._root = settings.generated_projects_dir
        self._settings = settings
        self._all_records = records
        self._records = records.doctor
        self._project = project
        self._all_directories = all_directories
        self._known_count = 0
        # The records were asked after the directory was read: what has come meanwhile has its record already.
        self._without_record: list[str] = []
        self._refuses = False

    def compare(self) -> Iterator[Difference]:
        """Yield what differs. Raises StorageError."""
        try:
            with open_directory(self._root) as top:
                if top is None:
                    return
                with os.scandir(top) as entries:
                    while names := [one.name for one in islice(entries, _ENTRIES_PER_LOOK)]:
                        yield from self._compare_entries(names, top=top)
                yield from self._compare_trash(top)
        except OSError as error:
            raise StorageError(f"the directory {str(self._root)!r} cannot be read: {error.strerror}") from error
        yield from self._conclude()

    def _compare_entries(self, names: list[str], *, top: int) -> Iterator[Difference]:
        directories: dict[UUID, str] = {}
        for name in names:
            status = find_status(name, within=top)
            if status is None:
                continue
            key = parse_id(name)
            is_directory = stat.S_ISDIR(status.st_mode)
            if is_directory and key is not None:
                directories[key] = name
            elif not ((is_directory and name == TRASH) or name == MARKER) and self._project is None:
                yield self._explain_foreign(name, status)
        known = self._records.find_statuses(directories.keys())
        self._known_count += len(known)
        for key, name in directories.items():
            record = known.get(key)
            if record is None:
                yield from self._note_without_record(name)
            elif record.status is GeneratedProjectStatus.DELETED and self._project in {None, record.project}:
                # Its removal may have ended between the two looks.
                if find_status(name, within=top) is not None:
                    yield self._explain_deleted(name, record)

    def _explain_foreign(self, name: str, status: os.stat_result) -> Difference:
        kind = {stat.S_IFLNK: "symlink", stat.S_IFDIR: "directory", stat.S_IFREG: "file"}
        what = kind.get(stat.S_IFMT(status.st_mode), "special file")
        return Difference(
            kind=FindingKind.FOREIGN_ENTRY,
            subject=str(self._root / name),
            detail=f"the {what} {name!r} in {str(self._root)!r} is none of ours: directories named by a UUID are; it "
            "is left alone, so move it elsewhere if nobody needs it there",
        )

    def _explain_deleted(self, name: str, record: KnownStatus) -> Difference:
        def repair() -> None:
            found = self._records.find_statuses([record.id]).get(record.id)
            if found is None or found.status is not GeneratedProjectStatus.DELETED:
                raise StorageError(f"the record of {name!r} has changed meanwhile")
            self._remove(name)

        return Difference(
            kind=FindingKind.DIRECTORY_OF_DELETED,
            subject=str(self._root / name),
            detail=f"the directory {str(self._root / name)!r} is there although generated project {name} of project "
            f"{record.project!r} is 'deleted'; --repair removes it",
            repair=repair,
        )

    # Without a record

    def _note_without_record(self, name: str) -> Iterator[Difference]:
        if self._project is not None:
            return
        if self._all_directories:
            yield self._explain_without_record(name, "--repair --all-directories removes it", is_removed=True)
        elif self._refuses:
            yield self._refuse(name)
        else:
            self._without_record.append(name)
            if len(self._without_record) > MAX_REMOVED:
                self._refuses = True
                yield from map(self._refuse, self._without_record)
                self._without_record.clear()

    def _conclude(self) -> Iterator[Difference]:
        """Yield what was held back until all directories were counted."""
        if self._known_count == 0 and len(self._without_record) > MAX_REMOVED_OF_STRANGERS:
            yield from map(self._refuse, self._without_record)
            return
        for name in self._without_record:
            yield self._explain_without_record(name, "--repair removes it", is_removed=True)

    def _refuse(self, name: str) -> Difference:
        what = (
            f"more than {MAX_REMOVED} directories have no record"
            if self._refuses
            else f"{len(self._without_record)} directories have no record and none has one"
        )
        return self._explain_without_record(
            name,
            f"it stays, as {what}: the records may be those of another installation. If they are the right ones, "
            "--repair --all-directories removes all of them",
            is_removed=False,
        )

    def _explain_without_record(self, name: str, advice: str, *, is_removed: bool) -> Difference:
        def repair() -> None:
            if self._records.find_statuses([UUID(name)]):
                raise StorageError(f"{name!r} has a record by now")
            self._remove(name)

        return Difference(
            kind=FindingKind.DIRECTORY_WITHOUT_RECORD,
            subject=str(self._root / name),
            detail=f"the directory {str(self._root / name)!r} has no record; {advice}",
            repair=repair if is_removed else None,
        )

    # Trash

    def _compare_trash(self, top: int) -> Iterator[Difference]:
        if self._project is not None:
            return
        with open_directory(TRASH, within=top) as trash:
            if trash is None:
                return
            with os.scandir(trash) as entries:
                while names := [one.name for one in islice(entries, _ENTRIES_PER_LOOK)]:
                    ids = {name: parse_id(name[:_ID_CHARACTERS]) for name in names}
                    known = self._records.find_statuses([one for one in ids.values() if one is not None])
                    for name, key in ids.items():
                        record = known.get(key) if key is not None else None
                        if record is not None and record.status is GeneratedProjectStatus.EXPIRED:
                            continue  # a removal that is under way, or unfinished, which is said of the record
                        if find_status(name, within=trash) is not None:
                            yield self._explain_stale(name)

    def _explain_stale(self, name: str) -> Difference:
        path = str(self._root / TRASH / name)
        return Difference(
            kind=FindingKind.STALE_TRASH,
            subject=path,
            detail=f"{path!r} was left by a removal that did not end; --repair removes it",
            repair=lambda: self._remove_trash(name),
        )

    # What is removed goes as everything does: where the directory is that of these records, reached from there alone.

    def _remove(self, name: str) -> None:
        with open_projects_directory(self._all_records, settings=self._settings) as directory:
            aside = directory.set_aside(name)
            if aside is not None:
                directory.remove(aside)

    def _remove_trash(self, name: str) -> None:
        with open_projects_directory(self._all_records, settings=self._settings) as directory:
            directory.remove(name)
