"""What Airflow knows of the package: its web app, listener, links and menu entries."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from scaffolder.operators.links import RepositoryLink
from scaffolder.workflows import listener

if not hasattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS"):
    # Not in a task: this may be a process that tasks are forked from, as with LocalExecutor. What all of ours import is
    # there when they start then: 0.1 s less for each. A task, perhaps somebody else's, imports what it needs.
    from scaffolder.workflows import builder  # noqa: F401


class ScaffolderPlugin(AirflowPlugin):
    """Airflow's hold on the package: the web app, the listener, the extra links and what is in its menu."""

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
