"""`RepoCreationOperator`: the generated project becomes a repository or an archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from scaffolder.operators.links import RepositoryLink
from scaffolder.operators.names import SHARED_FIELDS
from scaffolder.operators.step import Step, StepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scaffolder.generation.git_remote import GitRemote


class RepoCreationOperator(StepOperator):
    """Export the generated project's head commit.

    The intent is recorded before anything is made, and a retry finds what an earlier try has made. XCom gets
    ``{"export_id", "target", "url", "commit", "archive_path", "archive_sha256"}``.

    :param target: ``archive`` or ``git``. (templated)
    :param target_conn_id: for ``git``, a connection of type ``git_remote``. (templated)
    :param options: the target's options: ``format`` (``zip``, ``tar.gz``) of an archive; ``repository`` (a name,
        the generated project's by default) of ``git``. (templated)
    """

    template_fields: Sequence[str] = (
        *SHARED_FIELDS,
        "target",
        "target_conn_id",
        "options",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"options": "json"}
    operator_extra_links = (RepositoryLink(),)
    writes_files = False

    def __init__(
        self,
        *,
        target: str,
        target_conn_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.target_conn_id = target_conn_id
        self.options = options or {}

    def execute_step(self, step: Step, context: Context) -> dict[str, Any]:
        """Export. See `scaffolder.exports.service.export_generated_project` for errors and idempotency."""
        from scaffolder.exports.service import export_generated_project

        target = str(self.evaluate(self.target, step, context))
        options = {
            name: value for name, value in self.evaluate(self.options, step, context).items() if value not in (None, "")
        }
        self.log.info("Exporting to target %r", target)
        export = export_generated_project(
            step.records,
            step.generated_project.id,
            step_id=step.id,
            target=target,
            options=options,
            remote=self._get_remote(target, step, context),
            settings=step.settings,
        )
        self.log.info("Exported commit %s to %s", export.commit, export.url)
        return {
            "export_id": str(export.id),
            "target": export.target,
            "url": export.url,
            "commit": export.commit,
            "archive_path": export.archive_path,
            "archive_sha256": export.archive_sha256,
        }

    def _get_remote(self, target: str, step: Step, context: Context) -> GitRemote | None:
        from scaffolder.exports.hook import GitRemoteHook
        from scaffolder.exports.registry import get_exporter

        conn_id = self.evaluate(self.target_conn_id, step, context)
        if not conn_id or not get_exporter(target).needs_connection:
            return None
        return GitRemoteHook(str(conn_id)).get_conn()
