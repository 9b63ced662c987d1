"""Removes generated projects whose days have passed, and sweeps what is left over: every day, or on demand."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from scaffolder.config import get_settings
from scaffolder.operators import CleanUpGeneratedProjectsOperator
from scaffolder.retention.rules import load_rules

_settings = get_settings()
load_rules(_settings)  # rules that cannot be used are an import error

with DAG(
    dag_id="cleanup_generated_projects",
    dag_display_name="Clean up generated projects",
    description="What is old goes, by the rules of retention; what is live, held or being exported never does.",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    render_template_as_native_obj=True,
    params={
        "retention_days": Param(
            _settings.generated_projects_retention_days,
            type="integer",
            minimum=1,
            maximum=36_500,
            title="Retention days",
            description="How long a generated project is kept where no rule of SCAFFOLDER_RETENTION_RULES fits.",
        ),
        "dry_run": Param(
            default=False, type="boolean", title="Dry run", description="Report what would go, and remove nothing."
        ),
        "project": Param(
            None, type=["string", "null"], title="Project", description="Only this project's; nothing is swept then."
        ),
        "batch_size": Param(
            _settings.cleanup_batch_size,
            type="integer",
            minimum=1,
            maximum=10_000,
            title="Batch size",
            description="How many are claimed at a time.",
        ),
        "max_runtime": Param(
            _settings.cleanup_max_runtime_minutes,
            type="integer",
            minimum=1,
            maximum=10_080,
            title="Minutes at most",
            description="Nothing more is begun after so many minutes.",
        ),
        "free_size": Param(
            None,
            type=["integer", "null"],
            minimum=1,
            title="Free bytes",
            description="Stop once so many bytes are free on the disk; what ended first goes first.",
        ),
    },
    tags=["scaffolder"],
):
    # Rendered to what they are; a slug of digits stays text because of its quotes.
    CleanUpGeneratedProjectsOperator(
        task_id="clean_up",
        retention_days="{{ params.retention_days }}",
        is_dry_run="{{ params.dry_run }}",
        project="{{ params.project | pprint }}",
        batch_size="{{ params.batch_size }}",
        max_runtime="{{ params.max_runtime }}",
        free_size="{{ params.free_size }}",
        retries=2,
        retry_delay=timedelta(minutes=1),
    )
