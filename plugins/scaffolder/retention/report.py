"""What a clean-up has done, or would do: plain data, the same in both cases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from scaffolder.observability import metrics
from scaffolder.records.retention import OldProject, Totals

_NAMED: Final = 20
_ORPHANS: Final = ("directories_without_record", "records_without_directory")


@dataclass(kw_only=True)
class Listing:
    """Generated projects, counted; the first `limit` of them are named."""

    limit: int
    projects: int = 0
    files: int = 0
    size_bytes: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, one: OldProject, why: str) -> None:
        """Count one, and name it where there is room."""
        self.projects += 1
        self.files += one.file_count
        self.size_bytes += one.size_bytes
        if len(self.entries) < self.limit:
            self.entries.append(describe(one, why))

    def to_json(self) -> dict[str, Any]:
        """Return it for XCom."""
        return {
            "projects": self.projects,
            "files": self.files,
            "bytes": self.size_bytes,
            "entries": self.entries,
            "not_listed": self.projects - len(self.entries),
        }

    @classmethod
    def of(cls, totals: Totals, first: Sequence[OldProject], *, limit: int) -> Listing:
        """Return the listing of what the records say."""
        return cls(
            limit=limit,
            projects=totals.projects,
            files=totals.files,
            size_bytes=totals.size_bytes,
            entries=[describe(one, one.reason or "") for one in first],
        )


@dataclass(kw_only=True)
class Swept:
    """What was left over of one kind: how many, their bytes where they have any, and the first of them by name.

    `left` says why nothing was done about them, where that is so.
    """

    count: int = 0
    size_bytes: int = 0
    entries: list[str] = field(default_factory=list)
    left: str | None = None

    def add(self, entry: str, *, size_bytes: int = 0) -> None:
        """Count one."""
        self.count += 1
        self.size_bytes += size_bytes
        if len(self.entries) < _NAMED:
            self.entries.append(show_name(entry))

    def to_json(self) -> dict[str, Any]:
        """Return it for XCom."""
        return {"count": self.count, "bytes": self.size_bytes, "entries": self.entries, "left": self.left}


@dataclass(kw_only=True)
class Report:
    """One clean-up: what was removed, or would be, what is kept and why, and what was swept.

    `due_left` counts those that are due and still there, `stopped` says why; `errors` are sentences, by id.
    """

    dry_run: bool
    as_of: str
    retention_days: int
    project: str | None
    removal: Listing
    kept: Listing
    kept_because: dict[str, int] = field(default_factory=dict)
    due_left: int = 0
    stopped: str | None = None
    disk_bytes: int = 0
    oldest_due_seconds: float | None = None
    restated: int = 0
    swept: dict[str, Swept] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    error_count: int = 0

    def fail(self, name: str, sentence: str) -> None:
        """Count what could not be removed; the first are named."""
        self.error_count += 1
        if len(self.errors) < _NAMED:
            self.errors[show_name(name)] = show_name(sentence)

    def keep(self, one: OldProject, why: str) -> None:
        """Count one whose days have passed and that stays."""
        self.kept.add(one, why)
        kind = next((kind for kind in ("held", "it is one of the newest") if why.startswith(kind)), why)
        self.kept_because[kind] = self.kept_because.get(kind, 0) + 1

    def to_json(self) -> dict[str, Any]:
        """Return it for XCom."""
        return {
            "dry_run": self.dry_run,
            "as_of": self.as_of,
            "retention_days": self.retention_days,
            "project": self.project,
            "removal": self.removal.to_json(),
            "kept": self.kept.to_json() | {"because": self.kept_because},
            "due_left": self.due_left,
            "stopped": self.stopped,
            "disk_bytes": self.disk_bytes,
            "oldest_due_seconds": self.oldest_due_seconds,
            "expiries_restated": self.restated,
            "swept": {kind: one.to_json() for kind, one in self.swept.items()},
            "errors": self.errors,
            "error_count": self.error_count,
        }


def send_metrics(report: Report) -> None:
    """Tell how a clean-up went: gauges of what is there, counters of what has gone."""
    if report.project is None:
        # One project's are not those of all.
        metrics.gauge(metrics.CLEANUP_DUE, report.due_left)
        metrics.gauge(metrics.CLEANUP_OLDEST_DUE, report.oldest_due_seconds or 0)
        metrics.gauge(metrics.CLEANUP_KEPT, report.kept.projects)
    if set(_ORPHANS) <= set(report.swept):
        metrics.gauge(metrics.CLEANUP_ORPHANS, sum(report.swept[kind].count for kind in _ORPHANS))
    if not report.dry_run:
        metrics.count(metrics.CLEANUP_REMOVED, report.removal.projects)
        metrics.count(metrics.CLEANUP_BYTES_FREED, report.disk_bytes)
        metrics.count(metrics.CLEANUP_ERRORS, report.error_count)


def show_name(name: str) -> str:
    """Return a name as text for anybody: a file's need not be UTF-8, and may hold controls."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def describe(one: OldProject, why: str) -> dict[str, Any]:
    """Return what a report says of one generated project."""
    return {
        "id": str(one.id),
        "project": one.project,
        "name": one.name,
        "workflow": one.workflow,
        "ended_at": one.ended_at.isoformat(timespec="seconds"),
        "files": one.file_count,
        "bytes": one.size_bytes,
        "why": why,
    }
