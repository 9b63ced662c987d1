"""Retention in the records: the rules as Postgres applies them, claims of who removes what, and what is left over."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from scaffolder.errors import RecordsUnavailableError
from scaffolder.records import retention_statements as statements
from scaffolder.records.access import RecordsAccess, as_text
from scaffolder.records.models import GeneratedProjectStatus

FOREVER: Final = -1

_CLAIM_SPACE: Final = 0x5CAF
_NOTHING: Final = UUID(int=0)
_RESTATED_ROWS: Final = 1_000  # each with an event
_ROWS: Final = 5_000  # of one statement: it holds their locks


@dataclass(frozen=True, kw_only=True)
class RetentionRule:
    """What holds for generated projects that fit: patterns with ``*``, and a status (``ready``, ``failed``) or any.

    What is None is left to later rules. `days` count from the end of the run, `FOREVER` is for ever. `keep_newest`
    ready ones of each project are kept however old, and with `keep_unexported` those that no export has.
    """

    project: str = "*"
    workflow: str = "*"
    status: str | None = None
    days: int | None = None
    keep_newest: int | None = None
    keep_unexported: bool | None = None


@dataclass(frozen=True, kw_only=True)
class RetentionRules:
    """All rules, in order: of each thing, the first that fits and says something decides."""

    rules: Sequence[RetentionRule]

    def get_least_days(self, status: str) -> int | None:
        """Return the fewest days that any rule keeps something of a status; None where it is kept for ever."""
        days = (rule.days for rule in self.rules if rule.status in (None, status) and rule.days is not None)
        return min((one for one in days if one >= 0), default=None)

    def to_columns(self) -> dict[str, Any]:
        """Return the rules as the statements take them, column by column."""
        return {
            "projects": [_to_like(rule.project) for rule in self.rules],
            "workflows": [_to_like(rule.workflow) for rule in self.rules],
            "statuses": [rule.status for rule in self.rules],
            "days": [rule.days for rule in self.rules],
            "keep_newest": [rule.keep_newest for rule in self.rules],
            "keep_unexported": [rule.keep_unexported for rule in self.rules],
        }


def keep_days(days: int) -> RetentionRules:
    """Return the rules that keep everything for `days`."""
    return RetentionRules(rules=(RetentionRule(days=days),))


@dataclass(frozen=True, kw_only=True)
class OldProject:
    """A generated project whose days have passed. `reason` says since when it is due, `kept` why it stays."""

    id: UUID
    project: str
    name: str
    workflow: str
    dag_id: str
    run_id: str
    status: GeneratedProjectStatus
    ended_at: datetime
    file_count: int
    size_bytes: int
    reason: str | None
    kept: str | None


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Who these records are; `has_directory` says that a directory was marked as theirs."""

    id: UUID
    has_directory: bool


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """A record of what a run was doing when it was last changed, at `updated_at`: `subject` says of which kind."""

    id: UUID
    subject: str
    generated_project_id: UUID
    dag_id: str
    run_id: str
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class ArchiveFiles:
    """The paths of archive files that exports of one generated project have; `is_open` while one is being made."""

    id: UUID
    is_open: bool
    paths: list[str]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """How much was removed: generated projects, their files and bytes, as recorded."""

    projects: int
    files: int
    size_bytes: int


class RetentionRecords(RecordsAccess):
    """What retention asks and does, over one open connection. Times are the database's."""

    def read_clock(self) -> datetime:
        """Return what time it is."""
        row = self._fetch_one(statements.SELECT_NOW, {}) or {}
        now: datetime = row["now"]
        return now

    def read_installation(self) -> Installation:
        """Return who these records are."""
        return self._rows(Installation, statements.SELECT_INSTALLATION, {})[0]

    def note_directory(self) -> None:
        """Note that a directory was marked as that of these records."""
        self._execute(statements.NOTE_DIRECTORY, {})

    def has_files(self) -> bool:
        """Say whether any generated project must have files on the disk."""
        row = self._fetch_one(statements.SELECT_HAS_FILES, {})
        return bool(row and row["has_files"])

    # What is due

    def list_old(
        self, rules: RetentionRules, *, as_of: datetime, project: str | None, after: OldProject | None, limit: int
    ) -> list[OldProject]:
        """Return those whose days have passed, oldest end first, after `after`; also those that are kept."""
        values = {
            "after_at": after.ended_at if after else "-infinity",
            "after_id": after.id if after else _NOTHING,
            "limit": limit,
        }
        return self._rows(OldProject, statements.SELECT_OLD, values | self._describe(rules, as_of, project))

    def count_due(
        self, rules: RetentionRules, *, as_of: datetime, project: str | None = None
    ) -> tuple[int, float | None]:
        """Return how many are due or were begun to be removed, and the seconds since the oldest due one ended.

        The seconds are None without any.
        """
        row = self._fetch_one(statements.COUNT_OLD, self._describe(rules, as_of, project)) or {}
        begun = self._fetch_one(statements.COUNT_UNFINISHED, {"project": project}) or {}
        return int(row["projects"]) + int(begun["projects"]), row["oldest_seconds"]

    def find_due(self, ids: Sequence[UUID], rules: RetentionRules, *, as_of: datetime) -> set[UUID]:
        """Return those of `ids` that are due."""
        values = {"ids": list(ids)} | self._describe(rules, as_of, None)
        return set(self._list_ids(statements.SELECT_DUE, values))

    def set_expiry(self, generated_project_id: UUID, rules: RetentionRules) -> None:
        """Let `expires_at` of one that has just ended say what the rules say."""
        self._execute(statements.SET_EXPIRY, {"id": generated_project_id} | rules.to_columns())

    def restate_expiries(self, rules: RetentionRules) -> Iterator[int]:
        """Let `expires_at` say what the rules say now; yield, page by page, how many said something else."""
        after = _NOTHING
        while True:
            values = rules.to_columns() | {"after": after, "limit": _RESTATED_ROWS}
            row = self._fetch_one(statements.RESTATE_EXPIRIES, values)
            if row is None or row["last"] is None:
                return
            yield int(row["restated"])
            after = row["last"]

    # Claims

    @contextmanager
    def claiming(self) -> Iterator[int]:
        """Yield the number by which others know that this connection removes something; it is let go of at the end.

        It is also let go of when the connection ends, however that comes: what it has claimed is anybody's then.
        """
        while True:
            values = {"space": _CLAIM_SPACE, "claim": secrets.randbelow(2**31)}
            row = self._fetch_one(statements.TRY_CLAIM, values)
            if row and row["got"]:
                break
        try:
            yield values["claim"]
        finally:
            # With the connection the lock is gone, too.
            with suppress(RecordsUnavailableError):
                self._execute(statements.RELEASE_CLAIM, values)

    def claim_due(
        self, ids: Sequence[UUID], rules: RetentionRules, *, as_of: datetime, claim: int, run: str
    ) -> list[OldProject]:
        """Set those of `ids` that are still due ``expired``, and return them; nobody else gets them.

        Those that somebody works on at this moment are left for another time.
        """
        with self.transaction():
            locked = self._list_ids(statements.LOCK_CANDIDATES, {"ids": list(ids)})
            values = {"ids": locked, "claim": claim, "run": run}
            found = self._rows(OldProject, statements.CLAIM_DUE, values | self._describe(rules, as_of, None))
        return sorted(found, key=lambda one: (one.ended_at, one.id))

    def take_over(
        self, *, claim: int, run: str, project: str | None, after: UUID | None, limit: int
    ) -> list[OldProject]:
        """Claim, by id, what others have begun to remove and do not remove any more."""
        values = {
            "dead": self._list_dead_claims(own=claim),
            "claim": claim,
            "run": run,
            "project": project,
            "after": after or _NOTHING,
            "limit": limit,
        }
        return self._rows(OldProject, statements.TAKE_OVER, values)

    def list_unfinished(self, *, project: str | None, after: UUID | None, limit: int) -> list[OldProject]:
        """Return by id what somebody has begun to remove."""
        values = {"project": project, "after": after or _NOTHING, "limit": limit}
        return self._rows(OldProject, statements.SELECT_UNFINISHED, values)

    def _list_dead_claims(self, *, own: int) -> list[int]:
        dead = []
        for row in self._list(statements.SELECT_CLAIMS, {"own": own}):
            values = {"space": _CLAIM_SPACE, "claim": row["claim"]}
            got = self._fetch_one(statements.TRY_CLAIM, values)
            if got and got["got"]:
                self._execute(statements.RELEASE_CLAIM, values)
                dead.append(row["claim"])
        return dead

    # Removal

    def expire(self, generated_project_id: UUID, *, reason: str) -> None:
        """Set ``expired``: nothing begins on it any more. Raises StatusTransitionError (held, live, exporting)."""
        self._execute(statements.EXPIRE, {"id": generated_project_id, "reason": as_text(reason)})

    def delete(self, ids: Sequence[UUID]) -> int:
        """Drop the rows of files and what agents have answered, and set ``deleted``; the rest of the records stays.

        Return how many were ``expired`` until now. In statements of bounded size; done again, it goes on.
        """
        values = {"ids": list(ids), "limit": _ROWS}
        while True:
            with self.transaction():
                if self._execute(statements.DELETE_FILE_CHANGES, values) == _ROWS:
                    continue
                self._execute(statements.DELETE_COMMITS, values)
                self._execute(statements.FORGET_ANSWERS, values)
                return self._execute(statements.MARK_DELETED, values)

    def list_removed(self, run: str, *, limit: int) -> list[OldProject]:
        """Return what a run has removed, oldest first, its killed tries included."""
        return self._rows(OldProject, statements.SELECT_REMOVED, {"run": run, "limit": limit})

    def count_removed(self, run: str) -> Totals:
        """Return how much a run has removed, its killed tries included."""
        return self._rows(Totals, statements.COUNT_REMOVED, {"run": run})[0]

    # What is swept. `grace_seconds` is how long something must have been so.

    def list_under_way(self, *, as_of: datetime, grace_seconds: int) -> Iterator[UnderWay]:
        """Yield generated projects and exports that a run has under way, or had."""
        for statement in (statements.SELECT_UNDER_WAY, statements.SELECT_OPEN_EXPORTS):
            values = {"as_of": as_of, "grace_seconds": grace_seconds}
            yield from self._page(UnderWay, statement, values)

    def lock_under_way(self, record: UnderWay) -> bool:
        """Lock a generated project in the transaction that is open, where it has not changed since it was listed.

        What it has open is locked first, as everywhere.
        """
        self._list_ids(statements.LOCK_OPEN_EXPORTS, {"id": record.id})
        return bool(self._list_ids(statements.LOCK_UNDER_WAY, vars(record)))

    def fail_export(self, record: UnderWay, *, error: str) -> bool:
        """Fail an export that has not changed since it was listed. Return whether it was so."""
        values = {"id": record.id, "updated_at": record.updated_at, "error": as_text(error)}
        return self._execute(statements.FAIL_ABANDONED_EXPORT, values) > 0

    def find_without_record(self, ids: Sequence[UUID]) -> set[UUID]:
        """Return those of `ids` that no generated project has, or one that is deleted."""
        return set(self._list_ids(statements.SELECT_WITHOUT_RECORD, {"ids": list(ids)}))

    def list_with_files(self, *, as_of: datetime, grace_seconds: int) -> Iterator[UUID]:
        """Yield the ids of those that must have a directory."""
        after, ids = _NOTHING, [_NOTHING]
        while ids:
            values = {"as_of": as_of, "grace_seconds": grace_seconds, "after": after, "limit": _ROWS}
            ids = self._list_ids(statements.SELECT_WITH_FILES, values)
            yield from ids
            after = ids[-1] if ids else after

    def list_archive_files(self, ids: Sequence[UUID]) -> dict[UUID, ArchiveFiles]:
        """Return which archive files exports have made, by generated project; those without exports are missing."""
        found = self._rows(ArchiveFiles, statements.SELECT_ARCHIVE_FILES, {"ids": list(ids)})
        return {one.id: one for one in found}

    def sweep(self, kind: str, *, dry_run: bool, **limits: Any) -> int:
        """Drop what is left over of a `kind` of `statements.SWEEPABLE`, or count it; return how many rows.

        `limits` are ``as_of``, ``grace_seconds``, ``audit_days`` and ``cache_days``.
        """
        count, drop = statements.SWEEPABLE[kind]
        if not dry_run:
            return self._repeat(drop, limits)
        row = self._fetch_one(count, limits)
        return int(row["rows"]) if row else 0

    def _repeat(self, statement: LiteralString, values: dict[str, Any]) -> int:
        """Execute a statement that takes so many rows until there are no more; return how many there were."""
        count = 0
        while True:
            done = self._execute(statement, values | {"limit": _ROWS})
            count += done
            if done < _ROWS:
                return count

    def _page(self, kind: Callable[..., Any], statement: LiteralString, values: dict[str, Any]) -> Iterator[Any]:
        after = _NOTHING
        while rows := self._list(statement, values | {"after": after, "limit": _ROWS}):
            yield from (kind(**row) for row in rows)
            after = rows[-1]["id"]

    def _list(self, statement: LiteralString, values: dict[str, Any]) -> list[dict[str, Any]]:
        return self._rows(dict, statement, values)

    def _list_ids(self, statement: LiteralString, values: dict[str, Any]) -> list[UUID]:
        return [row["id"] for row in self._list(statement, values)]

    @staticmethod
    def _describe(rules: RetentionRules, as_of: datetime, project: str | None) -> dict[str, Any]:
        least = {f"least_{status}_days": rules.get_least_days(status) for status in ("ready", "failed")}
        return rules.to_columns() | {"as_of": as_of, "project": project} | least


def _to_like(pattern: str) -> str:
    for character in ("\\", "%", "_"):
        pattern = pattern.replace(character, f"\\{character}")
    return pattern.replace("*", "%")
