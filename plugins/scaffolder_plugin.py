"""The only file of this folder that Airflow's plugin loader runs; the package beside it is imported as usual."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from scaffolder.api.app import create_app
from scaffolder.operators.links import RepositoryLink
from scaffolder.workflows import listener


class ScaffolderPlugin(AirflowPlugin):
    """Airflow's hold on the package: the web app, the listener and the extra links."""

    name = "scaffolder"
    listeners = [listener]
    operator_extra_links = [RepositoryLink()]
    fastapi_apps = [{"app": create_app(), "url_prefix": "/scaffolder", "name": "Scaffolder"}]
