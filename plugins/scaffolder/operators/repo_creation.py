"""`RepoCreationOperator`: the generated project becomes a repository, a change request or an archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from scaffolder.errors import ExportRejectedError, HostWaitError
from scaffolder.observability import logs, metrics
from scaffolder.operators.assets import REPOSITORY_EXPORTED, add_outlet, link_archive, tell
from scaffolder.operators.links import RepositoryLink
from scaffolder.operators.names import SHARED_FIELDS
from scaffolder.operators.run import find_exportable, read_identity
from scaffolder.operators.step import Step, StepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scaffolder.exports.identity import CommitIdentity
    from scaffolder.records.models import GeneratedProject, RunIdentity
    from scaffolder.records.store import ProjectRecords


class RepoCreationOperator(StepOperator):
    """Export the generated project's head commit.

    Success updates the asset ``scaffolder_repository_exported``; a mapped task has to be given it as one of its
    ``outlets``, for Airflow asks no others of it.

    The intent is recorded before anything is made, and a retry finds what an earlier try has made. XCom gets
    ``{"export_id", "generated_project_id", "project", "target",
    "url", "commit", "exported_commit", "archive_path", "archive_sha256", "result"}``.

    :param target: ``archive``, ``git``, ``github``, ``gitlab``, or one that another package offers. (templated)
    :param target_conn_id: the target's connection: of type ``git_remote``, ``github`` or ``gitlab``. (templated)
    :param options: the target's options; see the documentation of each. (templated)
    :param identity_conn_id: a connection of type ``commit_identity``: who the author of the exported commits is, and
        with which key they are signed. The user who triggered the run by default, without a signature. (templated)
    :param rollback: whether what this task made at a host is deleted if the run fails. In a DAG of your own that
        takes a ``FinishGeneratedProjectOperator`` as the last task.
    :param generated_project_id: a generated project of another run that is ready, to be exported instead of this
        run's own; whoever triggers the run must be a member of its project. (templated)
    """

    template_fields: Sequence[str] = (
        *SHARED_FIELDS,
        "target",
        "target_conn_id",
        "options",
        "identity_conn_id",
        "generated_project_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"options": "json"}
    operator_extra_links = (RepositoryLink(),)
    writes_files = False
    step_type = "repo_creation"

    def __init__(
        self,
        *,
        target: str,
        target_conn_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        identity_conn_id: str | None = None,
        rollback: bool = False,
        generated_project_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        add_outlet(self, REPOSITORY_EXPORTED)
        self.target = target
        self.target_conn_id = target_conn_id
        self.options = options or {}
        self.identity_conn_id = identity_conn_id
        self.rollback = rollback
        self.generated_project_id = generated_project_id

    def find_generated_project(self, records: ProjectRecords, identity: RunIdentity) -> GeneratedProject:
        """See the base class."""
        if self.generated_project_id is None:
            return super().find_generated_project(records, identity)
        return find_exportable(records, self.generated_project_id, run=identity)

    def execute_step(self, step: Step, context: Context) -> dict[str, Any]:
        """Export. See `scaffolder.exports.service.export_generated_project` for errors and idempotency."""
        return self._export(step, context, waited_seconds=0.0)

    def export_again(self, context: Context, event: Any = None, *, waited_seconds: float) -> dict[str, Any]:
        """Go on after a wait that the host has asked for."""
        return self.run_step(context, lambda step: self._export(step, context, waited_seconds=waited_seconds))

    def _export(self, step: Step, context: Context, *, waited_seconds: float) -> dict[str, Any]:
        from scaffolder.exports.hook import read_secret
        from scaffolder.exports.registry import get_exporter
        from scaffolder.exports.service import export_generated_project

        target = str(self.evaluate(self.target, step, context))
        options = {
            name: value for name, value in self.evaluate(self.options, step, context).items() if value not in (None, "")
        }
        exporter = get_exporter(target)
        conn_id = self.evaluate(self.target_conn_id, step, context) or None
        self.log.info("Exporting to target %r", target)
        try:
            export = export_generated_project(
                step.records,
                step.generated_project.id,
                step_id=step.id,
                target=target,
                options=options,
                connection=exporter.connect(str(conn_id)) if conn_id and exporter.needs_connection else None,
                connection_id=str(conn_id) if conn_id else None,
                identity=self._get_identity(step, context),
                rollback=self.rollback,
                run=read_identity(context),
                read_secret=read_secret,
                settings=step.settings,
            )
        except HostWaitError as error:
            self._wait(error, step, waited_seconds=waited_seconds)
        logs.bind(export_id=export.id)
        self.log.info("Exported commit %s to %s", export.exported_commit or export.commit, export.url)
        tell(
            context,
            REPOSITORY_EXPORTED,
            export_id=str(export.id),
            generated_project_id=str(export.generated_project_id),
            project=step.generated_project.project,
            target=export.target,
            commit=export.exported_commit or export.commit,
            url=link_archive(step.generated_project.project, export.generated_project_id, export.id)
            if export.archive_path
            else export.url,
        )
        return {
            "export_id": str(export.id),
            "generated_project_id": str(export.generated_project_id),
            "project": step.generated_project.project,
            "target": export.target,
            "url": export.url,
            "commit": export.commit,
            "exported_commit": export.exported_commit,
            "archive_path": export.archive_path,
            "archive_sha256": export.archive_sha256,
            "result": export.result,
        }

    def _get_identity(self, step: Step, context: Context) -> CommitIdentity | None:
        conn_id = self.evaluate(self.identity_conn_id, step, context)
        if not conn_id:
            return None
        from scaffolder.exports.hook import CommitIdentityHook

        return CommitIdentityHook(str(conn_id)).get_conn()

    def _wait(self, error: HostWaitError, step: Step, *, waited_seconds: float) -> NoReturn:
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        seconds = error.retry_after_seconds or 0.0
        longest = step.settings.export_max_deferral_seconds
        if waited_seconds + seconds > longest:
            raise ExportRejectedError(
                f"{error}, after {waited_seconds:.0f} s of waiting; accepted are {longest} s in all "
                "(SCAFFOLDER_EXPORT_MAX_DEFERRAL_SECONDS)"
            ) from error
        self.log.warning("%s. Waiting for %.0f s without a worker", error, seconds)
        metrics.count(metrics.STEP_WAITS, step_type=self.step_type, reason="host_asked")
        self.defer(
            trigger=TimeDeltaTrigger(timedelta(seconds=seconds)),
            method_name="export_again",
            kwargs={"waited_seconds": waited_seconds + seconds},
        )
