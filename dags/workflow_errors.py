"""Shows broken workflows, and quotas that cannot be read, as an import error in Airflow's UI.

It has no DAG of its own: Airflow takes down every DAG of a file with an import error, so this one stands apart.
"""

from scaffolder.config import get_settings
from scaffolder.errors import WorkflowDefinitionError
from scaffolder.records.quotas import load_quotas
from scaffolder.workflows.definition import load_definitions

_settings = get_settings()
load_quotas(_settings.quotas)
_problems = load_definitions(_settings)[1]
if _problems:
    raise WorkflowDefinitionError(_problems)
