"""What `scaffolder doctor` reads of the records, piece by piece, and the counts that it puts right."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from scaffolder.records import doctor_statements as statements
from scaffolder.records.access import RecordsAccess
from scaffolder.records.doctor_models import (
    ExaminedProject,
    KnownStatus,
    MiscountedProject,
    OpenExport,
    RecordedArchive,
    RecordedCommit,
    RecordedFile,
    RemoteExport,
)

_FIRST: Final = UUID(int=0)
_FILES_PER_PAGE: Final = 2_000


class _Identified(Protocol):
    @property
    def id(self) -> UUID: ...


_Row = TypeVar("_Row", bound=_Identified)


class DoctorRecords(RecordsAccess):
    """Records in pages, over one open connection in autocommit mode: no transaction is open between two of them."""

    def list_examined(
        self, *, after: UUID | None, project: str | None, grace_seconds: int, limit: int
    ) -> list[ExaminedProject]:
        """Return up to `limit` generated projects, of all projects or of one, that come after the id `after`."""
        values = {"after": after or _FIRST, "project": project, "grace_seconds": grace_seconds, "limit": limit}
        return self._rows(ExaminedProject, statements.SELECT_EXAMINED, values)

    def find_examined(self, generated_project_id: UUID, *, grace_seconds: int) -> ExaminedProject | None:
        """Return one generated project as it is now."""
        values = {"id": generated_project_id, "grace_seconds": grace_seconds}
        found = self._rows(ExaminedProject, statements.SELECT_EXAMINED_ONE, values)
        return found[0] if found else None

    def find_statuses(self, ids: Collection[UUID]) -> dict[UUID, KnownStatus]:
        """Return the statuses of those that have a record."""
        return {one.id: one for one in self._rows(KnownStatus, statements.SELECT_STATUSES, {"ids": list(ids)})}

    def list_commits(self, generated_project_id: UUID) -> list[RecordedCommit]:
        """Return the commits that have an id, oldest first."""
        return self._rows(RecordedCommit, statements.SELECT_COMMITS, {"id": generated_project_id})

    def iterate_files(self, generated_project_id: UUID) -> Iterator[RecordedFile]:
        """Yield the files at the head by path in byte order."""
        after = ""
        while True:
            values = {"id": generated_project_id, "after": after, "limit": _FILES_PER_PAGE}
            page = self._rows(RecordedFile, statements.SELECT_FILES, values)
            yield from page
            if len(page) < _FILES_PER_PAGE:
                return
            after = page[-1].path

    def list_archives(self, generated_project_id: UUID) -> list[RecordedArchive]:
        """Return the exports that have arrived or are under way, oldest first."""
        return self._rows(RecordedArchive, statements.SELECT_ARCHIVES, {"id": generated_project_id})

    def page_open_exports(self, *, project: str | None, grace_seconds: int, limit: int) -> Iterator[list[OpenExport]]:
        """Yield pages of the exports that have been under way for longer than the grace."""
        values = {"project": project, "grace_seconds": grace_seconds, "limit": limit}
        return _page(
            lambda after: self._rows(OpenExport, statements.SELECT_OPEN_EXPORTS, values | {"after": after}), limit=limit
        )

    def page_remote_exports(
        self, *, project: str | None, targets: Collection[str], limit: int
    ) -> Iterator[list[RemoteExport]]:
        """Yield pages of the exports that have arrived at a host."""
        values: Mapping[str, Any] = {"project": project, "targets": list(targets), "limit": limit}
        return _page(
            lambda after: self._rows(RemoteExport, statements.SELECT_REMOTE_EXPORTS, {**values, "after": after}),
            limit=limit,
        )

    def list_miscounted(self, *, after: str, project: str | None, limit: int) -> list[MiscountedProject]:
        """Return up to `limit` projects with a wrong count that come after the slug `after`."""
        values = {"after": after, "project": project, "limit": limit}
        return self._rows(MiscountedProject, statements.SELECT_MISCOUNTED_PROJECTS, values)

    # Repairs

    def recount(self, generated_project_id: UUID) -> None:
        """Set a generated project's totals to what its rows come to."""
        values = {"id": generated_project_id}
        with self.transaction():
            self._execute(statements.LOCK_GENERATED_PROJECT, values)
            self._execute(statements.RECOUNT_FILES, values)
            self._execute(statements.RECOUNT_EXPORTS, values)

    def recount_generated(self, slug: str) -> None:
        """Set a project's count to what its rows come to."""
        with self.transaction():
            self._execute(statements.LOCK_PROJECT, {"slug": slug})
            self._execute(statements.RECOUNT_GENERATED, {"slug": slug})

    def forget_answers(self, generated_project_id: UUID) -> None:
        """Drop what agents have answered for a generated project that is deleted."""
        self._execute(statements.FORGET_KEPT_ANSWERS, {"id": generated_project_id})


def _page(read: Callable[[UUID], list[_Row]], *, limit: int) -> Iterator[list[_Row]]:
    after = _FIRST
    while page := read(after):
        yield page
        if len(page) < limit:
            return
        after = page[-1].id
