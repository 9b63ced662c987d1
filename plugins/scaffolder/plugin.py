"""What Airflow knows of the package: its web app, listener, links and menu entries."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from scaffolder.operators.links import RepositoryLink
from scaffolder.workflows import builder, listener  # noqa: F401  # see below


class ScaffolderPlugin(AirflowPlugin):
    """Airflow's hold on the package: the web app, the listener, the extra links and what is in its menu.

    Executors fork tasks from processes that have loaded the plugins. The builder brings what all our tasks import, so
    that it is there when they start: 0.1 s less for each task.
    """

    name = "scaffolder"
    listeners = [listener]
    operator_extra_links = [RepositoryLink()]
    # Relative, as Airflow may itself be below a path.
    external_views = [
        {"name": "Projects", "href": "scaffolder/projects", "destination": "nav", "url_route": "scaffolder-projects"},
        {"name": "Agents", "href": "scaffolder/agents", "destination": "nav", "url_route": "scaffolder-agents"},
        {
            "name": "Generated project",
            "href": "scaffolder/runs?dag_id={DAG_ID}&run_id={RUN_ID}",
            "destination": "dag_run",
            "url_route": "scaffolder-generated-project",
        },
    ]

    @cached_property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]  # Airflow reads it from the instance
        """The web app, made when the API server asks: tasks load plugins, too, and need no FastAPI."""
        from scaffolder.web import create_app

        return [{"app": create_app(), "url_prefix": "/scaffolder", "name": "Scaffolder"}]
