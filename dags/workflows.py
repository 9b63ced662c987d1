"""One Airflow DAG for each workflow, one's own and those that ship. Broken ones are shown by workflow_errors.py."""

from airflow.sdk import get_parsing_context

from scaffolder.config import get_settings
from scaffolder.workflows.builder import build_dag
from scaffolder.workflows.definition import load_definitions

_settings = get_settings()
_wanted = get_parsing_context().dag_id
for _definition in load_definitions(_settings)[0]:
    if _wanted in (None, _definition.id):
        globals()[_definition.id] = build_dag(_definition, settings=_settings)
