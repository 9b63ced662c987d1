"""The records against themselves and against Airflow's runs: counts, removals, runs that are gone, answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from scaffolder.config import Settings
from scaffolder.doctor.findings import Difference, FindingKind
from scaffolder.errors import StatusTransitionError
from scaffolder.records.doctor_models import ExaminedProject, MiscountedProject, OpenExport
from scaffolder.records.models import GeneratedProjectStatus
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.removal import remove_generated_project
from scaffolder.retention.rules import find_rules
from scaffolder.retention.runs import Runs

UNDER_WAY: Final = frozenset({GeneratedProjectStatus.PENDING, GeneratedProjectStatus.GENERATING})


def compare_counts(record: ExaminedProject, *, records: ProjectRecords) -> Iterator[Difference]:
    """Yield what the record of one generated project says of its rows that they don't."""
    totals = [
        ("export_count", record.export_count, record.counted_exports),
        ("export_status", record.export_status, record.newest_export_status),
    ]
    if record.status is not GeneratedProjectStatus.DELETED:
        totals += [
            ("file_count", record.file_count, record.counted_files),
            ("size_bytes", record.size_bytes, record.counted_bytes),
        ]
    wrong = [f"{name} {_show(said)} instead of {_show(found)}" for name, said, found in totals if said != found]
    if wrong:
        yield Difference(
            kind=FindingKind.TOTALS_DIFFER,
            subject=str(record.id),
            detail=f"{describe(record)} says {', '.join(wrong)}; --repair counts anew",
            repair=lambda: records.doctor.recount(record.id),
        )
    if record.kept_answers:
        yield Difference(
            kind=FindingKind.ANSWERS_LEFT,
            subject=str(record.id),
            detail=f"{describe(record)} is 'deleted', and {record.kept_answers} of its agent calls hold their answer "
            "or job still; --repair drops both",
            repair=lambda: records.doctor.forget_answers(record.id),
        )


def explain_unfinished(record: ExaminedProject, *, records: ProjectRecords, settings: Settings) -> Difference:
    """Return that a removal has not ended."""
    return Difference(
        kind=FindingKind.REMOVAL_UNFINISHED,
        subject=str(record.id),
        detail=f"{describe(record)} is 'expired': its removal has begun and not ended; --repair ends it",
        repair=lambda: remove_generated_project(records, record.id, settings=settings),
    )


def compare_runs(
    page: Sequence[ExaminedProject], *, runs: Runs, records: ProjectRecords, settings: Settings
) -> Iterator[Difference]:
    """Yield the generated projects that are under way although their run is not."""
    waiting = [one for one in page if one.status in UNDER_WAY and one.is_settled]
    live = runs.find_live({(one.dag_id, one.run_id) for one in waiting}) if waiting else set()
    for one in waiting:
        if (one.dag_id, one.run_id) not in live:
            yield _explain_gone(
                str(one.id),
                describe(one),
                run=(one.dag_id, one.run_id),
                status=one.status,
                runs=runs,
                fail=_failing(partial(records.mark_failed, rules=find_rules(settings)), one.id),
            )


def compare_export_runs(page: Sequence[OpenExport], *, runs: Runs, records: ProjectRecords) -> Iterator[Difference]:
    """Yield the exports that are under way although their run is not."""
    live = runs.find_live({(one.dag_id, one.run_id) for one in page})
    for one in page:
        if (one.dag_id, one.run_id) not in live:
            yield _explain_gone(
                str(one.id),
                f"export {one.id} of generated project {one.generated_project_id} to {one.target!r}",
                run=(one.dag_id, one.run_id),
                status=one.status,
                runs=runs,
                fail=_failing(records.exports.mark_failed, one.id),
            )


def _failing(mark_failed: Callable[..., object], key: UUID) -> Callable[[str], object]:
    return lambda reason: mark_failed(key, error=reason)


def _explain_gone(
    subject: str,
    what: str,
    *,
    run: tuple[str, str],
    status: str,
    runs: Runs,
    fail: Callable[[str], object],
) -> Difference:
    named = f"run {run[1]!r} of DAG {run[0]!r}"

    def repair() -> None:
        if runs.find_live([run]):
            raise StatusTransitionError(f"{named} goes on by now")
        fail(f"its run is gone: {named} is neither queued nor running in Airflow")

    return Difference(
        kind=FindingKind.RUN_GONE,
        subject=subject,
        detail=f"{what} is {str(status)!r}, and {named} is neither queued nor running in Airflow; --repair sets it "
        "'failed'",
        repair=repair,
    )


def explain_miscounted(project: MiscountedProject, *, records: ProjectRecords) -> Difference:
    """Return what a project's count says that its rows don't."""
    return Difference(
        kind=FindingKind.TOTALS_DIFFER,
        subject=project.slug,
        detail=f"project {project.slug!r} says generated_count {project.generated_count} instead of "
        f"{project.counted}; --repair counts anew",
        repair=lambda: records.doctor.recount_generated(project.slug),
    )


def describe(record: ExaminedProject) -> str:
    """Return the generated project for a sentence."""
    return f"generated project {record.id} ({record.name!r} of project {record.project!r})"


def _show(value: object) -> str:
    return "none" if value is None else str(value)
