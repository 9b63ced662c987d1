"""The clean-up: what is due by the rules goes, oldest first, in batches that several clean-ups share."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from scaffolder.config import Settings
from scaffolder.errors import InvalidParametersError
from scaffolder.records.retention import OldProject, RetentionRules
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.directory import ProjectsDirectory
from scaffolder.retention.installation import open_projects_directory
from scaffolder.retention.removal import remove_expired
from scaffolder.retention.report import Listing, Report, Swept
from scaffolder.retention.rules import MAX_DAYS, load_rules
from scaffolder.retention.runs import Runs
from scaffolder.retention.sweep import Sweep

_LIVE = "its run is live"
_CHANGED = "somebody was at work on it"
# With a target for the disk, it is looked at more often.
_BATCH_WITH_TARGET = 20
# So many that cannot be removed, and nothing else, are the disk's fault.
_HOPELESS = 20


@dataclass(frozen=True, kw_only=True)
class CleanUpRequest:
    """What is asked of one clean-up, checked: see `check_request`. `free_size` (bytes) is where it may stop."""

    retention_days: int
    dry_run: bool
    project: str | None
    batch_size: int
    max_runtime_minutes: int
    free_size: int | None


def check_request(
    *,
    retention_days: object,
    dry_run: object,
    project: object,
    batch_size: object,
    max_runtime_minutes: object,
    free_size: object,
) -> CleanUpRequest:
    """Return the request. Raises InvalidParametersError, so that nothing is deleted, for what cannot be meant."""
    if not isinstance(dry_run, bool):
        raise InvalidParametersError(f"dry_run is {dry_run!r}, so nothing was deleted; accepted is true or false")
    if project is not None and (not isinstance(project, str) or not project):
        raise InvalidParametersError(f"project is {project!r}, so nothing was deleted; accepted is a slug or none")
    return CleanUpRequest(
        retention_days=_check_number("retention_days", retention_days, low=1, high=MAX_DAYS),
        dry_run=dry_run,
        project=project,
        batch_size=_check_number("batch_size", batch_size, low=1, high=10_000),
        max_runtime_minutes=_check_number("max_runtime", max_runtime_minutes, low=1, high=10_080),
        free_size=None if free_size is None else _check_number("free_size", free_size, low=1, high=2**63),
    )


def _check_number(name: str, value: object, *, low: int, high: int) -> int:
    # True is a whole number in Python, and not here.
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidParametersError(
            f"{name} is {value!r}, so nothing was deleted; accepted is a whole number from {low} to {high}"
        )
    return value


class CleanUp:
    """One clean-up. `run` names it in the records, `progress` is told now and then how far it is."""

    def __init__(
        self,
        records: ProjectRecords,
        request: CleanUpRequest,
        *,
        run: str,
        runs: Runs,
        settings: Settings,
        progress: Callable[[str], None],
    ) -> None:
        self._records = records
        self._retention = records.retention
        self._request = request
        self._run = run
        self._runs = runs
        self._settings = settings
        self._progress = progress
        self._until = time.monotonic() + 60 * request.max_runtime_minutes
        self._rules: RetentionRules = load_rules(settings, retention_days=request.retention_days)

    def execute(self) -> Report:
        """Remove, or list, what is due and what is left over. Raises RecordNotFoundError and StorageError.

        What cannot be removed is in the report's `errors`; the rest goes all the same.
        """
        request = self._request
        if request.project is not None:
            self._records.projects.get(request.project)
        as_of = self._retention.read_clock()
        size = self._settings.cleanup_report_size
        report = Report(
            dry_run=request.dry_run,
            as_of=as_of.isoformat(timespec="seconds"),
            retention_days=request.retention_days,
            project=request.project,
            removal=Listing(limit=size),
            kept=Listing(limit=size),
        )
        with open_projects_directory(self._records, settings=self._settings, may_mark=not request.dry_run) as directory:
            due, report.oldest_due_seconds = self._retention.count_due(
                self._rules, as_of=as_of, project=request.project
            )
            self._progress(f"{due} generated project(s) are due as of {report.as_of}")
            if request.dry_run:
                self._list(report, as_of)
            else:
                self._remove(report, as_of, directory, due)
            if request.project is None and report.stopped is None:
                sweep = Sweep(
                    self._records,
                    directory=directory,
                    runs=self._runs,
                    settings=self._settings,
                    rules=self._rules,
                    as_of=as_of,
                    dry_run=request.dry_run,
                )
                for kind, swept in sweep.execute():
                    report.swept[kind] = swept
                    self._tell(kind, swept)
                    if self._is_late(report):
                        break
                for name, sentence in sweep.errors.items():
                    report.fail(name, sentence)
        return report

    def _tell(self, kind: str, swept: Swept) -> None:
        if swept.count:
            verb = "Found" if self._request.dry_run or swept.left else "Swept"
            why = f", and left them: {swept.left}" if swept.left else ""
            self._progress(f"{verb} {swept.count} {kind.replace('_', ' ')}{why}")

    # Looking

    def _list(self, report: Report, as_of: datetime) -> None:
        if self._must_stop(report):
            report.due_left, _ = self._retention.count_due(self._rules, as_of=as_of, project=self._request.project)
            return
        after = None
        while batch := self._retention.list_unfinished(
            project=self._request.project, after=after, limit=self._request.batch_size
        ):
            for one in batch:
                report.removal.add(one, one.reason or "its removal was begun")
            after = batch[-1].id
        for batch, live in self._pages(as_of):
            if self._is_late(report):
                break
            for one in batch:
                self._judge(report, one, live)
        report.due_left = report.removal.projects

    def _judge(self, report: Report, one: OldProject, live: set[tuple[str, str]]) -> bool:
        """Say whether one goes, and put it where it belongs in the report."""
        why = one.kept or (_LIVE if (one.dag_id, one.run_id) in live else None)
        if why is not None:
            report.keep(one, why)
        elif self._request.dry_run:
            report.removal.add(one, one.reason or "")
        return why is None

    def _pages(self, as_of: datetime) -> Iterator[tuple[list[OldProject], set[tuple[str, str]]]]:
        after: OldProject | None = None
        while page := self._retention.list_old(
            self._rules, as_of=as_of, project=self._request.project, after=after, limit=self._batch_size
        ):
            candidates = [(one.dag_id, one.run_id) for one in page if one.kept is None]
            yield page, self._runs.find_live(candidates)
            after = page[-1]

    @property
    def _batch_size(self) -> int:
        size = self._request.batch_size
        return size if self._request.free_size is None else min(size, _BATCH_WITH_TARGET)

    # Removing

    def _remove(self, report: Report, as_of: datetime, directory: ProjectsDirectory, due: int) -> None:
        directory.check_writable()
        done = 0
        with self._retention.claiming() as claim:
            for batch in self._batches(report, as_of, claim):
                removed = remove_expired(
                    self._records,
                    [one.id for one in batch],
                    directory=directory,
                    threads=self._settings.cleanup_threads,
                )
                done += removed.count
                report.disk_bytes += removed.disk_bytes
                for key, sentence in removed.errors.items():
                    report.fail(str(key), sentence)
                if len(removed.errors) >= _HOPELESS and not removed.count:
                    report.stopped = f"none of {len(removed.errors)} could be removed"
                self._progress(f"Removed {done} generated project(s), {due} were due: {report.disk_bytes} bytes")
        size = self._settings.cleanup_report_size
        report.removal = Listing.of(
            self._retention.count_removed(self._run),
            self._retention.list_removed(self._run, limit=size),
            limit=size,
        )
        left, _ = self._retention.count_due(self._rules, as_of=as_of, project=self._request.project)
        report.due_left = max(0, left - report.kept_because.get(_LIVE, 0))
        if self._request.project is None and (
            self._request.retention_days == self._settings.generated_projects_retention_days
        ):
            for count in self._retention.restate_expiries(self._rules):
                report.restated += count
                if self._is_late(report):
                    break

    def _batches(self, report: Report, as_of: datetime, claim: int) -> Iterator[Sequence[OldProject]]:
        """Yield what is claimed: first what others have begun and do not go on with, then what is due."""
        request = self._request
        after = None
        while not self._must_stop(report) and (
            taken := self._retention.take_over(
                claim=claim, run=self._run, project=request.project, after=after, limit=self._batch_size
            )
        ):
            yield taken
            after = taken[-1].id
        passed_over: list[OldProject] = []
        for page, live in self._pages(as_of):
            if self._must_stop(report):
                return
            going = [one for one in page if self._judge(report, one, live)]
            claimed = self._claim(going, as_of, claim)
            known = {one.id for one in claimed}
            passed_over += [one for one in going if one.id not in known]
            yield claimed
        # Whoever worked on them at that moment has been done by now; what they did may keep them.
        for start in range(0, len(passed_over), self._batch_size):
            if self._must_stop(report):
                return
            batch = passed_over[start : start + self._batch_size]
            live = self._runs.find_live([(one.dag_id, one.run_id) for one in batch])
            going = [one for one in batch if self._judge(report, one, live)]
            claimed = self._claim(going, as_of, claim)
            known = {one.id for one in claimed}
            for one in going:
                if one.id not in known:
                    report.keep(one, _CHANGED)
            yield claimed

    def _claim(self, going: Sequence[OldProject], as_of: datetime, claim: int) -> list[OldProject]:
        if not going:
            return []
        return self._retention.claim_due(
            [one.id for one in going], self._rules, as_of=as_of, claim=claim, run=self._run
        )

    def _must_stop(self, report: Report) -> bool:
        target = self._request.free_size
        if report.stopped is not None or self._is_late(report):
            return True
        if target is not None and shutil.disk_usage(self._settings.generated_projects_dir).free >= target:
            report.stopped = f"free_size: {target} bytes are free"
        return report.stopped is not None

    def _is_late(self, report: Report) -> bool:
        if time.monotonic() <= self._until:
            return False
        report.stopped = f"max_runtime: {self._request.max_runtime_minutes} minute(s) have passed"
        return True
