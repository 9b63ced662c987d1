"""A DAG of your own: an agent's code and a template become one tested project, exported as an archive."""

from airflow.sdk import DAG, Param

from scaffolder.operators import AgentApiCallOperator, FileGenerationOperator, RepoCreationOperator

with DAG(
    dag_id="own_service",
    schedule=None,
    params={
        "name": Param("bookings", type="string", pattern="^[a-z][a-z0-9-]{1,38}$"),
        "document": Param(type="string", format="multiline", description="OpenAPI 3 document"),
    },
):
    models = AgentApiCallOperator(
        task_id="models",
        project_name="{{ params.name }}",
        agent_conn_id="demo_agent",
        operation="generateModels",
        body={"document": "{{ params.document }}", "name": "{{ params.name }}"},
    )
    files = FileGenerationOperator(
        task_id="files",
        template="fastapi_service",
        values={
            "name": "{{ params.name }}",
            "package": "{{ ti.xcom_pull('models')['values']['package'] }}",
            "title": "{{ ti.xcom_pull('models')['values']['title'] }}",
        },
        files=models.output,
    )
    publish = RepoCreationOperator(task_id="publish", target="archive", options={"format": "tar.gz"})

    models >> files >> publish
