"""Definition -> DAG: an opening task, one task for each step, and a finaliser that runs whatever happened."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param

from scaffolder.config import Settings
from scaffolder.operators.generated_project import (
    FinishGeneratedProjectOperator,
    OpenGeneratedProjectOperator,
)
from scaffolder.operators.names import FINISHING_TASK, OPENING_TASK
from scaffolder.workflows.definition import WorkflowDefinition
from scaffolder.workflows.step_types import get_operator

TAG = "scaffolder"


def build_dag(definition: WorkflowDefinition, *, settings: Settings) -> DAG:
    """Return the DAG of a workflow. Its id is the workflow's, its parameters are the trigger form."""
    dag = DAG(
        dag_id=definition.id,
        dag_display_name=definition.title,
        description=definition.description.strip().partition("\n")[0] or None,
        doc_md=definition.description or None,
        schedule=None,
        catchup=False,
        params={name: _build_param(schema) for name, schema in definition.params.items()},
        tags=[TAG],
        default_args={
            "retries": settings.step_retries,
            "retry_delay": timedelta(seconds=settings.step_retry_delay_seconds),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=10),
        },
    )
    opening = OpenGeneratedProjectOperator(
        task_id=OPENING_TASK,
        dag=dag,
        workflow=definition.id,
        params_schema={name: dict(schema) for name, schema in definition.params.items()},
    )
    tasks = _build_steps(definition, dag)
    finishing = FinishGeneratedProjectOperator(task_id=FINISHING_TASK, dag=dag, step_ids=[OPENING_TASK, *tasks])
    for index, step in enumerate(definition.steps):
        needs = definition.needs(index)
        tasks[step.id].set_upstream([tasks[name] for name in needs] or [opening])
        # The finaliser waits for all: behind the last step alone it would not wait for a parallel one.
        tasks[step.id].set_downstream(finishing)
    opening.set_downstream(finishing)
    return dag


def _build_steps(definition: WorkflowDefinition, dag: DAG) -> dict[str, BaseOperator]:
    tasks: dict[str, BaseOperator] = {}
    for step in definition.steps:
        options = {"retries": step.retries, "pool": step.pool, "task_display_name": step.title}
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        tasks[step.id] = get_operator(step.type)(task_id=step.id, dag=dag, **step.operator_arguments(), **given)
    return tasks


def _build_param(schema: Any) -> Param:
    arguments = dict(schema)
    description = arguments.pop("description", None)
    return Param(description=description, **arguments)
