"""Ends the record of a run that ended without its finaliser: killed, marked in the UI, or of somebody's own DAG.

Airflow calls these in the scheduler and in the API server. They touch DAGs with our operators only, and never raise.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from scaffolder.operators.names import FINISHING_TASK, SHARED_FIELDS

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

    from scaffolder.records.models import GeneratedProject

log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Set a generated project that is under way ``ready``."""
    _finish(dag_run, msg, succeeded=True)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Set a generated project that is under way ``failed`` with the reason."""
    _finish(dag_run, msg, succeeded=False)


def _finish(dag_run: DagRun, msg: str, *, succeeded: bool) -> None:
    if not _has_our_tasks(dag_run):
        return
    from scaffolder.observability import logs
    from scaffolder.observability.hook import send_from_server

    send_from_server()
    with logs.bound():
        try:
            _end_record(dag_run, msg, succeeded=succeeded)
        except Exception:
            log.exception("The generated project of run %r of %r could not be finished", dag_run.run_id, dag_run.dag_id)


def _end_record(dag_run: DagRun, msg: str, *, succeeded: bool) -> None:
    from scaffolder.config import get_settings
    from scaffolder.observability import logs
    from scaffolder.records.hook import ProjectRecordsHook
    from scaffolder.records.models import GeneratedProjectStatus
    from scaffolder.retention.rules import find_rules

    with ProjectRecordsHook().open() as records:
        # Those of generated projects of other runs, too; what is being exported can neither go nor be tried again.
        records.exports.fail_open_of_run(dag_run.dag_id, dag_run.run_id)
        found = records.find_generated_project(dag_run.dag_id, dag_run.run_id)
        if found is None or found.status not in {GeneratedProjectStatus.PENDING, GeneratedProjectStatus.GENERATING}:
            return
        logs.bind(project=found.project, generated_project_id=found.id)
        rules = find_rules(get_settings())
        if succeeded and _is_complete(dag_run, found):
            records.mark_ready(found.id, rules=rules)
        else:
            records.mark_failed(found.id, error=f"the run ended: {msg or 'failed'}", rules=rules)
            records.exports.mark_left_behind(found.id)


def _is_complete(dag_run: DagRun, found: GeneratedProject) -> bool:
    """Say whether a successful run has done its work; a run may be marked successful long before.

    In a workflow's DAG the finaliser says so. Elsewhere there must be a commit and no step's error.
    """
    dag: Any = getattr(dag_run, "dag", None)
    if dag is not None and FINISHING_TASK in dag.task_dict:
        return False
    return found.head_commit is not None and found.error is None


def _has_our_tasks(dag_run: DagRun) -> bool:
    dag: Any = getattr(dag_run, "dag", None)
    if dag is None:
        return True
    # Known by what all our operators template: somebody's subclass of them has a module of its own.
    return any(set(SHARED_FIELDS) <= set(task.template_fields) for task in dag.task_dict.values())
