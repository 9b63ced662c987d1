"""Looks at what agents offer: every day, or on demand for some of them."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from scaffolder.workflows.discovery import DiscoverAgentApisOperator

with DAG(
    dag_id="discover_agent_apis",
    dag_display_name="Discover agent APIs",
    description="What agents offer: what was added, has changed, is gone, and which workflows that breaks.",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    render_template_as_native_obj=True,
    params={
        "connections": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Connections",
            description="Of type agent_api or a2a. None: all that workflows name, and all that are known already.",
        )
    },
    tags=["scaffolder"],
):
    DiscoverAgentApisOperator(
        task_id="discover",
        agent_conn_ids="{{ params.connections }}",  # rendered as a list
        retries=2,
        retry_delay=timedelta(minutes=1),
    )
