"""Exports a generated project that is ready, again or elsewhere: to one target or several at once."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from scaffolder.config import get_settings
from scaffolder.operators import PlanExportsOperator, RepoCreationOperator
from scaffolder.operators.assets import REPOSITORY_EXPORTED

_settings = get_settings()

with DAG(
    dag_id="export_repository",
    dag_display_name="Export a generated project",
    description="An archive, a repository or a change request of a generated project that is ready.",
    schedule=None,
    params={
        "generated_project": Param(
            type="string",
            format="uuid",
            title="Generated project",
            description="The id of one that is ready; `scaffolder show` and the run's first task tell it.",
        ),
        "exports": Param(
            [{"target": "archive", "options": {"format": "zip"}}],
            type="array",
            minItems=1,
            maxItems=20,
            items={
                "type": "object",
                "required": ["target"],
                "properties": {
                    "target": {"type": "string"},
                    "connection": {"type": ["string", "null"]},
                    "options": {"type": ["object", "null"]},
                },
                "additionalProperties": False,
            },
            title="Exports",
            description_md="A list of `{target, connection, options}`: targets `archive`, `git`, `github`, `gitlab`.",
        ),
    },
    default_args={
        "retries": _settings.step_retries,
        "retry_delay": timedelta(seconds=_settings.step_retry_delay_seconds),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
    },
    tags=["scaffolder"],
):
    plan = PlanExportsOperator(task_id="plan", generated_project_id="{{ params.generated_project }}")
    RepoCreationOperator.partial(
        task_id="export",
        generated_project_id="{{ params.generated_project }}",
        outlets=[REPOSITORY_EXPORTED],  # Airflow knows no others of a mapped task
    ).expand_kwargs(plan.output)
