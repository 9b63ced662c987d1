"""What tasks import, imported once by the process that forks them: for Celery's workers, whose tasks do it else.

Import it there by ``[celery] extra_celery_config = {"imports": ["scaffolder.preload"]}``. It also loads all plugins,
others' too, which every task would load anew.
"""

# The names are not used: the modules are to be there, with the libraries that they import only when a step runs.
import airflow.dag_processing.dagbag
import git
import httpcore2
from airflow.sdk.listener import get_listener_manager
from airflow.sdk.plugins_manager import integrate_macros_plugins

import scaffolder.agents.hook
import scaffolder.agents.rest.agent
import scaffolder.agents.service
import scaffolder.dag_bundle
import scaffolder.exports.archive
import scaffolder.exports.git
import scaffolder.exports.service
import scaffolder.generation.file_generation
import scaffolder.generation.templates.foreign.template
import scaffolder.generation.templates.native.rendering
import scaffolder.generation.templates.sources
import scaffolder.operators.agent_api_call
import scaffolder.operators.file_generation
import scaffolder.operators.repo_creation
import scaffolder.records.hook
import scaffolder.workflows.builder

get_listener_manager()
integrate_macros_plugins()
