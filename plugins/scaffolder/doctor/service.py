"""`Doctor`: goes through records, disk and remotes piece by piece, tells what differs, and repairs what it may."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from scaffolder.config import Settings
from scaffolder.doctor.findings import Difference, Finding
from scaffolder.doctor.objects import make_bare_repository
from scaffolder.doctor.project_check import ProjectExamination
from scaffolder.doctor.record_checks import compare_export_runs, compare_runs, explain_miscounted, explain_unfinished
from scaffolder.doctor.remotes import TARGETS, Connect, RemoteExamination
from scaffolder.doctor.root import RootExamination
from scaffolder.errors import RecordsUnavailableError, ScaffolderError
from scaffolder.records.doctor_models import ExaminedProject
from scaffolder.records.models import GeneratedProjectStatus
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.runs import Runs

_GRACE_SECONDS: Final = 3_600
_PAGE: Final = 200

Progress = Callable[[str, int], None]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What is looked at, and whether it is repaired.

    `project` is the slug of the only project looked at. `deep` reads every object and archive, `remotes` asks hosts.
    `all_directories` lets `repair` remove directories without a record however many there are.
    """

    project: str | None = None
    deep: bool = False
    remotes: bool = False
    repair: bool = False
    all_directories: bool = False


class Doctor:
    """Compares what there is. `progress` is told what was looked at, and how many of them by now."""

    def __init__(
        self,
        records: ProjectRecords,
        *,
        settings: Settings,
        runs: Runs,
        scope: Scope,
        connect: Connect | None = None,
        progress: Progress = lambda _what, _count: None,
    ) -> None:
        self._records = records
        self._settings = settings
        self._runs = runs
        self._scope = scope
        self._connect = connect
        self._progress = progress

    def examine(self) -> Iterator[Finding]:
        """Yield every finding, repaired where that was asked for.

        Raises RecordNotFoundError (no such project), StorageError, RecordsUnavailableError, AirflowUnavailableError.
        """
        if self._scope.project is not None:
            self._records.projects.get(self._scope.project)
        with make_bare_repository() as bare:
            for difference in self._compare(bare):
                yield self._settle(difference)

    def _compare(self, bare: Path) -> Iterator[Difference]:
        yield from RootExamination(
            self._records,
            settings=self._settings,
            project=self._scope.project,
            all_directories=self._scope.all_directories,
        ).compare()
        # Before their generated projects, which fail what they have open.
        yield from self._compare_open_exports()
        yield from self._compare_projects(bare)
        yield from self._compare_project_counts()
        if self._scope.remotes:
            yield from self._compare_remotes(bare)

    def _compare_open_exports(self) -> Iterator[Difference]:
        pages = self._records.doctor.page_open_exports(
            project=self._scope.project, grace_seconds=_GRACE_SECONDS, limit=_PAGE
        )
        for page in pages:
            yield from compare_export_runs(page, runs=self._runs, records=self._records)

    def _compare_projects(self, bare: Path) -> Iterator[Difference]:
        examination = ProjectExamination(
            self._records,
            settings=self._settings,
            bare=bare,
            deep=self._scope.deep,
            grace_seconds=_GRACE_SECONDS,
        )
        count = 0
        expired: list[ExaminedProject] = []
        after: UUID | None = None
        while page := self._records.doctor.list_examined(
            after=after, project=self._scope.project, grace_seconds=_GRACE_SECONDS, limit=_PAGE
        ):
            yield from compare_runs(page, runs=self._runs, records=self._records, settings=self._settings)
            for record in page:
                yield from examination.compare(record)
                count += 1
                self._progress("generated projects", count)
            expired += [one for one in page if one.status is GeneratedProjectStatus.EXPIRED]
            after = page[-1].id
            if len(expired) > _PAGE:
                yield from self._compare_removals(expired)
                expired.clear()
        yield from self._compare_removals(expired)

    def _compare_removals(self, expired: Sequence[ExaminedProject]) -> Iterator[Difference]:
        """Yield the removals that have not ended. A removal takes a moment: most that were under way are over now."""
        for one in expired:
            newest = self._records.doctor.find_examined(one.id, grace_seconds=_GRACE_SECONDS)
            if newest is not None and newest.status is GeneratedProjectStatus.EXPIRED:
                yield explain_unfinished(newest, records=self._records, settings=self._settings)

    def _compare_project_counts(self) -> Iterator[Difference]:
        after = ""
        while page := self._records.doctor.list_miscounted(after=after, project=self._scope.project, limit=_PAGE):
            for project in page:
                yield explain_miscounted(project, records=self._records)
            after = page[-1].slug

    def _compare_remotes(self, bare: Path) -> Iterator[Difference]:
        examination = RemoteExamination(settings=self._settings, bare=bare, connect=self._connect)
        count = 0
        for page in self._records.doctor.page_remote_exports(project=self._scope.project, targets=TARGETS, limit=_PAGE):
            for export in page:
                difference = examination.compare(export)
                count += 1
                self._progress("exports at hosts", count)
                if difference is not None:
                    yield difference

    def _settle(self, difference: Difference) -> Finding:
        repaired, detail = False, difference.detail
        if self._scope.repair and difference.repair is not None:
            try:
                difference.repair()
                repaired = True
            except RecordsUnavailableError:
                raise
            except (ScaffolderError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                detail = f"{detail}. It was not repaired: {reason}"
        return Finding(
            kind=difference.kind,
            subject=difference.subject,
            detail=detail,
            is_repairable=difference.repair is not None,
            repaired=repaired,
        )
