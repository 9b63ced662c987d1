"""The sweep: what is left over of removals, runs and exports that did not come to their end, and what has aged.

Each kind has a time of grace. What may be needed, and what is not known, is counted and left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final, TypeVar
from uuid import UUID

from scaffolder.config import Settings
from scaffolder.errors import StorageError
from scaffolder.records.retention import ArchiveFiles, OldProject, RetentionRules, UnderWay
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.caches import sweep_caches
from scaffolder.retention.directory import Entry, ProjectsDirectory
from scaffolder.retention.report import Swept
from scaffolder.retention.runs import Runs

ABANDONED: Final = "its run is not live in Airflow any more, and did not finish it"
_PAGE: Final = 1_000
_ID_CHARACTERS: Final = 36

Item = TypeVar("Item")


class Sweep:
    """One sweep, as of one moment of the database's clock."""

    def __init__(
        self,
        records: ProjectRecords,
        *,
        directory: ProjectsDirectory,
        runs: Runs,
        settings: Settings,
        rules: RetentionRules,
        as_of: datetime,
        dry_run: bool,
    ) -> None:
        self._records = records
        self._directory = directory
        self._runs = runs
        self._settings = settings
        self._rules = rules
        self._as_of = as_of
        self._dry_run = dry_run
        self.errors: dict[str, str] = {}
        """Why what could not be removed, by its name."""
        self._grace_seconds = 3_600 * settings.sweep_grace_hours
        self._settled_before = as_of.timestamp() - self._grace_seconds

    def execute(self) -> Iterator[tuple[str, Swept]]:
        """Sweep, or count, one kind after the other; yield what there was."""
        for kind, work in (
            ("directories_without_record", self._sweep_directories),
            ("records_without_directory", self._count_records_without_directory),
            ("trash", self._sweep_trash),
            ("foreign_entries", self._count_foreign_entries),
            ("abandoned_records", self._sweep_abandoned),
            ("archives", self._sweep_archives),
            ("caches", self._sweep_caches),
        ):
            yield kind, work()
        limits = {
            "as_of": self._as_of,
            "grace_seconds": self._grace_seconds,
            # Spending counts for so long.
            "audit_days": max(self._settings.audit_days, self._settings.budget_days),
            "cache_days": self._settings.cache_max_age_days,
        }
        for kind in ("answers", "tombstones", "events", "notifications", "endpoints"):
            yield kind, Swept(count=self._records.retention.sweep(kind, dry_run=self._dry_run, **limits))

    def _try(self, swept: Swept, name: str, remove: Callable[[], int | None]) -> None:
        """Remove something and count it, where it was removed; or say why it cannot be."""
        try:
            size = 0 if self._dry_run else remove()
            if size is not None:
                swept.add(name, size_bytes=size)
        except StorageError as error:
            self.errors[name] = str(error)

    # The disk

    def _settled_entries(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        return (entry for entry in entries if entry.changed_at <= self._settled_before)

    def _sweep_directories(self) -> Swept:
        swept = Swept()
        settled: list[str] = []
        orphans = known = 0
        for page in _pages(one for one in self._directory.list_entries() if one.id and one.is_directory):
            missing = self._records.retention.find_without_record([one.id for one in page if one.id])
            known += len(page) - len(missing)
            orphans += len(missing)
            settled += [one.name for one in self._settled_entries(page) if one.id in missing]
        limit = self._settings.sweep_max_directories
        if orphans > limit:
            swept.left = f"{orphans} are more than {limit} (SCAFFOLDER_SWEEP_MAX_DIRECTORIES)"
        elif orphans > known:
            swept.left = f"{orphans} are more than the {known} that have a record"
        if swept.left is not None:
            swept.left += ": the records may be those of another place or time; `scaffolder doctor` tells"
        for name in settled:
            if swept.left is None:
                self._try(swept, name, partial(self._remove_orphan, name))
            else:
                swept.add(name)
        return swept

    def _remove_orphan(self, name: str) -> int | None:
        """Remove a directory, where it has no record now and gets none while it goes: a purged run may be cleared."""
        if not self._has_no_record(name):
            return None
        aside = self._directory.set_aside(name)
        if aside is None:
            return None
        if not self._has_no_record(name):
            self._directory.put_back(aside, name)
            return None
        return self._directory.remove(aside)

    def _has_no_record(self, name: str) -> bool:
        return bool(self._records.retention.find_without_record([UUID(name)]))

    def _count_records_without_directory(self) -> Swept:
        swept = Swept(left="nothing can make them again: restore the directory, or delete them by hand")
        for page in _pages(
            self._records.retention.list_with_files(as_of=self._as_of, grace_seconds=self._grace_seconds)
        ):
            missing = [key for key in page if not self._directory.has(key)]
            going = self._find_going(missing)
            for key in missing:
                if key not in going:
                    swept.add(str(key))
        return swept

    def _find_going(self, ids: Sequence[UUID]) -> set[UUID]:
        """Return what a real run would have removed by now."""
        if not self._dry_run or not ids:
            return set()
        return self._records.retention.find_due(ids, self._rules, as_of=self._as_of)

    def _sweep_trash(self) -> Swept:
        swept = Swept()
        begun = {str(one.id) for one in self._list_begun()}
        for entry in self._settled_entries(self._directory.list_trash()):
            if entry.name[:_ID_CHARACTERS] in begun:
                continue  # whoever removes it is at it, or will be
            self._try(swept, entry.name, partial(self._directory.remove, entry.name))
        return swept

    def _list_begun(self) -> Iterator[OldProject]:
        after = None
        while page := self._records.retention.list_unfinished(project=None, after=after, limit=_PAGE):
            yield from page
            after = page[-1].id

    def _count_foreign_entries(self) -> Swept:
        swept = Swept(left="they are not ours")
        for entry in self._directory.list_entries():
            if entry.id is None or not entry.is_directory:
                swept.add(entry.name)
        return swept

    def _sweep_archives(self) -> Swept:
        """Files that no export has: of those that were rolled back or failed, or were made again elsewhere."""
        swept = Swept()
        with_archives = (
            (entry.id, files)
            for entry in self._directory.list_entries()
            if entry.id and entry.is_directory and (files := self._directory.list_archives(entry.id))
        )
        for page in _pages(with_archives):
            known = self._records.retention.list_archive_files([key for key, _ in page])
            gone = self._records.retention.find_without_record([key for key, _ in page])
            gone |= self._find_going([key for key, _ in page])
            for key, files in page:
                left = [] if key in gone else self._find_unreferenced(files, known.get(key))
                if left and not self._dry_run:
                    self._remove_archives(swept, key, left)
                else:
                    for name in left:
                        swept.add(f"{key}/{name}")
        return swept

    def _find_unreferenced(self, files: Iterable[Entry], exports: ArchiveFiles | None) -> list[str]:
        if exports is not None and exports.is_open:
            return []
        names = {path.rpartition("/")[2] for path in exports.paths} if exports else set()
        return [file.name for file in self._settled_entries(files) if file.name not in names]

    def _remove_archives(self, swept: Swept, key: UUID, names: Iterable[str]) -> None:
        """Remove files that no export has now: set aside under the lock that an export takes when it begins."""
        aside: dict[str, str] = {}
        with self._records.transaction():
            self._records.lock_generated_project(key)
            exports = self._records.retention.list_archive_files([key]).get(key)
            still = set(self._find_unreferenced(self._directory.list_archives(key), exports))
            for name in still.intersection(names):
                try:
                    moved = self._directory.set_archive_aside(key, name)
                except StorageError as error:
                    self.errors[f"{key}/{name}"] = str(error)
                    continue
                if moved is not None:
                    aside[name] = moved
        for name, moved in sorted(aside.items()):
            self._try(swept, f"{key}/{name}", partial(self._directory.remove, moved))

    def _sweep_caches(self) -> Swept:
        swept = Swept()
        unused_since = self._as_of.timestamp() - 86_400 * self._settings.cache_max_age_days
        found = sweep_caches(self._settings.cache_dir, unused_since=unused_since, dry_run=self._dry_run)
        try:
            for name, size in found:
                swept.add(name, size_bytes=size)
        except StorageError as error:
            self.errors["caches"] = str(error)
        return swept

    # Runs

    def _sweep_abandoned(self) -> Swept:
        """Fail what a run has left under way: Airflow has no such run, or it is over."""
        swept = Swept()
        under_way = self._records.retention.list_under_way(as_of=self._as_of, grace_seconds=self._grace_seconds)
        for page in _pages(under_way):
            live = self._runs.find_live([(one.dag_id, one.run_id) for one in page])
            for one in page:
                if (one.dag_id, one.run_id) not in live and (self._dry_run or self._fail(one)):
                    swept.add(f"{one.subject} {one.id}")
        return swept

    def _fail(self, record: UnderWay) -> bool:
        if record.id != record.generated_project_id:
            return self._records.retention.fail_export(record, error=ABANDONED)
        with self._records.transaction():
            return self._records.retention.lock_under_way(record) and self._records.mark_failed(
                record.id, error=ABANDONED, rules=self._rules
            )


def _pages(items: Iterable[Item]) -> Iterator[list[Item]]:
    found = iter(items)
    while page := list(islice(found, _PAGE)):
        yield page
