"""`CleanUpGeneratedProjectsOperator`: what is old goes, and what is left over is swept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from scaffolder.config import get_settings
from scaffolder.errors import PermissionDeniedError
from scaffolder.operators.observing import observing_task
from scaffolder.operators.run import is_administrator, read_identity
from scaffolder.operators.step import failing_at_once
from scaffolder.records.hook import DEFAULT_CONN_ID, ProjectRecordsHook
from scaffolder.records.models import MemberRole, RunIdentity

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scaffolder.records.store import ProjectRecords
    from scaffolder.retention.cleanup import CleanUpRequest

_ACTOR = "cleanup_generated_projects"


class CleanUpGeneratedProjectsOperator(BaseOperator):
    """Remove generated projects whose days have passed, and what is left over of others.

    XCom gets the report: what was removed and why, what is kept and why, what was swept. A dry run's says what a real
    run at that moment would remove. Any number of these tasks may run at once: they share the work, and a killed one's
    is done by the next. The task fails, after all else is done, where something could not be removed.

    Somebody who triggers a run may ask for what the schedule does. Fewer days than the settings say are for
    administrators (the setting ``administrators``) and for owners of `project`.

    :param retention_days: days that are kept where no rule says otherwise, 1 to 36,500. (templated)
    :param is_dry_run: whether to remove nothing and only report. (templated)
    :param project: only generated projects of this project (slug); nothing is swept then. (templated)
    :param batch_size: how many are claimed at a time. (templated)
    :param max_runtime: minutes after which nothing more is begun. (templated)
    :param free_size: bytes: stop once so many are free on the disk. (templated)
    :param scaffolder_conn_id: the connection of the records' database.
    """

    template_fields: Sequence[str] = (
        "retention_days",
        "is_dry_run",
        "project",
        "batch_size",
        "max_runtime",
        "free_size",
    )
    ui_color = "#f3dcdc"

    def __init__(
        self,
        *,
        retention_days: int | str,
        is_dry_run: bool | str = False,
        project: str | None = None,
        batch_size: int | str | None = None,
        max_runtime: int | str | None = None,
        free_size: int | str | None = None,
        scaffolder_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.retention_days = retention_days
        self.is_dry_run = is_dry_run
        self.project = project
        self.batch_size = batch_size
        self.max_runtime = max_runtime
        self.free_size = free_size
        self.scaffolder_conn_id = scaffolder_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Clean up. Raises AirflowFailException (what was asked for cannot be meant, is not allowed, was not done)."""
        from scaffolder.retention.cleanup import CleanUp
        from scaffolder.retention.hook import TaskRuns
        from scaffolder.retention.report import send_metrics

        settings = get_settings()
        identity = read_identity(context)
        with observing_task(), failing_at_once():
            request = self._read_request()
            with ProjectRecordsHook(self.scaffolder_conn_id).open(actor=identity.triggered_by or _ACTOR) as records:
                _check_allowed(
                    records, request, identity, was_cleared=bool(getattr(context["dag_run"], "clear_number", 0))
                )
                clean_up = CleanUp(
                    records,
                    request,
                    run="/".join(
                        (identity.dag_id, identity.run_id, context["ti"].task_id, str(context["ti"].map_index))
                    ),
                    runs=TaskRuns(context["ti"]),
                    settings=settings,
                    progress=lambda sentence: self.log.info("%s", sentence),
                )
                report = clean_up.execute()
            send_metrics(report)
        result = report.to_json()
        if report.error_count:
            context["ti"].xcom_push(key="return_value", value=result)
            raise AirflowFailException(
                f"{report.error_count} thing(s) could not be removed, first: {'; '.join(report.errors.values())}"
            )
        self.log.info(
            "%s %s generated project(s) with %s bytes, %s kept, %s left that are due%s",
            "Would remove" if report.dry_run else "Removed",
            report.removal.projects,
            report.removal.size_bytes,
            report.kept.projects,
            report.due_left,
            f" ({report.stopped})" if report.stopped else "",
        )
        return result

    def _read_request(self) -> CleanUpRequest:
        from scaffolder.retention.cleanup import check_request

        settings = get_settings()
        return check_request(
            retention_days=self.retention_days,
            dry_run=self.is_dry_run,
            project=self.project,
            batch_size=settings.cleanup_batch_size if self.batch_size is None else self.batch_size,
            max_runtime_minutes=settings.cleanup_max_runtime_minutes if self.max_runtime is None else self.max_runtime,
            free_size=self.free_size,
        )


def _check_allowed(
    records: ProjectRecords, request: CleanUpRequest, identity: RunIdentity, *, was_cleared: bool
) -> None:
    """Raise PermissionDeniedError where a user asks for more than the schedule does and may not."""
    days = get_settings().generated_projects_retention_days
    if identity.triggered_by is None or request.retention_days >= days:
        return
    if was_cleared:
        raise PermissionDeniedError(
            f"retention_days is {request.retention_days}, so nothing was deleted: somebody has cleared this run, who "
            f"need not be {identity.triggered_by!r}; accepted is a new run"
        )
    if is_administrator(identity.triggered_by):
        return
    if request.project is not None:
        access = records.projects.get_access(request.project, username=identity.triggered_by)
        if access is not None and access.role is MemberRole.OWNER:
            return
    raise PermissionDeniedError(
        f"retention_days is {request.retention_days}, so nothing was deleted: user {identity.triggered_by!r} may have "
        f"{days} and more, fewer is for SCAFFOLDER_ADMINISTRATORS and, with project, for its owners"
    )
