"""Airflow's real loaders, each in a process of its own: plugins, provider, DAG files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT


def run_python(code: str, tmp_path: Path, **environment: str) -> Any:
    """Run `code` with a fresh Airflow home and return what it prints last, as JSON."""
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {"AIRFLOW_HOME": str(tmp_path / "home"), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.strip().splitlines()[-1])


LOAD_PLUGINS = """
import json, sys
import github, git, alembic
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
import scaffolder.errors
print(json.dumps({
    "plugins": [plugin.name for plugin in plugins],
    "errors": errors,
    "github": github.__name__ + " " + str(github.__file__),
    "strays": sorted(name for name, module in sys.modules.items()
        if "plugins/scaffolder/" in str(getattr(module, "__file__", "")) and not name.startswith("scaffolder")),
    "fastapi": "scaffolder.web" in sys.modules,
    "apps": [app["url_prefix"] for plugin in plugins if plugin.name == "scaffolder" for app in plugin.fastapi_apps],
    "listeners": [len(plugin.listeners) for plugin in plugins if plugin.name == "scaffolder"],
    "views": len([view for view in plugins_manager._get_ui_plugins()[0] if "scaffolder" in view["url_route"]]),
    "source": [str(plugin.source) for plugin in plugins if plugin.name == "scaffolder"],
}))
"""
# Airflow reads by the backport, where that is installed.
NOT_INSTALLED = """
import importlib.util
for name in filter(importlib.util.find_spec, ("importlib.metadata", "importlib_metadata")):
    module = importlib.import_module(name)
    module.distributions = lambda found=module.distributions: (one for one in found() if one.name != "airflow-scaffolder")
"""


@pytest.mark.parametrize(
    ("before", "source"),
    [("", "EntryPoint(name='scaffolder'"), (NOT_INSTALLED, "scaffolder_plugin.py")],
    ids=["installed", "a folder alone"],
)
def test_the_plugin_is_there_once_and_its_loader_clobbers_no_module(tmp_path: Path, before: str, source: str) -> None:
    found = run_python(before + LOAD_PLUGINS, tmp_path)
    assert found["errors"] == {}
    assert found["plugins"].count("scaffolder") == 1
    assert "site-packages/github/" in found["github"]
    assert found["strays"] == []
    assert (found["listeners"], found["views"]) == ([1], 3)
    assert source in found["source"][0]
    # Tasks load plugins, too: the web app is made only when the API server asks for it.
    assert (found["fastapi"], found["apps"]) == (False, ["/scaffolder"])


def test_in_a_task_the_plugin_imports_little(tmp_path: Path) -> None:
    """Every task of an Airflow loads it, whoever's DAG that is; where tasks are forked from, it brings what ours need."""
    code = """
import json, sys
from airflow.sdk.execution_time import task_runner
{}
import scaffolder.plugin
print(json.dumps([name in sys.modules for name in ("scaffolder.workflows.builder", "scaffolder.records.store", "pydantic.v1")]))
"""
    assert run_python(code.format("task_runner.SUPERVISOR_COMMS = None"), tmp_path)[0] is False
    assert run_python(code.format(""), tmp_path)[0] is True


def test_a_worker_that_preloads_leaves_tasks_nothing_of_ours_to_import(tmp_path: Path) -> None:
    code = """
import json, sys
import scaffolder.preload
before = set(sys.modules)
from airflow.sdk.execution_time import task_runner
task_runner.SUPERVISOR_COMMS = None
from airflow.sdk.listener import get_listener_manager
plugins = [plugin.__name__ for plugin in get_listener_manager().pm.get_plugins()]
from scaffolder.operators import AgentApiCallOperator, FileGenerationOperator, RepoCreationOperator
import scaffolder.dag_bundle
print(json.dumps({"listeners": plugins, "imported": sorted(name for name in set(sys.modules) - before)}))
"""
    found = run_python(code, tmp_path)
    assert "scaffolder.workflows.listener" in found["listeners"]
    assert found["imported"] == []


def test_the_provider_brings_its_connection_types(tmp_path: Path) -> None:
    code = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
hooks = {name: manager.hooks[name].hook_class_name for name in ("agent_api", "git_remote") if manager.hooks[name]}
print(json.dumps({"hooks": hooks, "provider": manager.providers["airflow-scaffolder"].version}))
"""
    assert run_python(code, tmp_path) == {
        "hooks": {
            "agent_api": "scaffolder.agents.hook.AgentApiHook",
            "git_remote": "scaffolder.exports.hook.GitRemoteHook",
        },
        "provider": "0.1.0",
    }


LOAD_DAGS = """
import json
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
import os
bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
again = {dag_id: DagSerialization.from_dict(DagSerialization.to_dict(dag)) for dag_id, dag in bag.dags.items()}
print(json.dumps({
    "errors": {path.rsplit("/", 1)[-1]: error for path, error in bag.import_errors.items()},
    "dags": {dag_id: {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks} for dag_id, dag in bag.dags.items()},
    "params": {dag_id: sorted(dag.params) for dag_id, dag in again.items()},
    "warnings": {str(k): [str(one) for one in v] for k, v in bag.captured_warnings.items()},
}))
"""


def test_every_workflow_becomes_a_dag_with_an_opening_task_and_a_finaliser(tmp_path: Path) -> None:
    found = run_python(LOAD_DAGS, tmp_path)
    assert found["errors"] == {}
    assert found["warnings"] == {}
    assert found["dags"]["openapi_service"] == {
        "open_generated_project": [],
        "models": ["open_generated_project"],
        "files": ["models"],
        "publish": ["files"],
        "finish_generated_project": ["files", "models", "open_generated_project", "publish"],
    }
    assert {"name", "document", "project", "target"} <= set(found["params"]["openapi_service"])


def test_broken_workflows_are_import_errors_and_the_others_stay(tmp_path: Path) -> None:
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    (workflows / "good.yaml").write_text("id: good\nsteps:\n  - id: one\n    type: file_generation\n    delete: [x]\n")
    (workflows / "bad.yaml").write_text("id: bad\nsteps: []\n")
    own = {"SCAFFOLDER_WORKFLOWS_DIR": str(workflows), "SCAFFOLDER_INCLUDE_SHIPPED": "false"}
    found = run_python(LOAD_DAGS, tmp_path, **own)
    assert set(found["dags"]) == {"good", "discover_agent_apis", "export_repository", "cleanup_generated_projects"}
    assert list(found["errors"]) == ["workflow_errors.py"]
    assert "bad.yaml:2: steps are missing" in found["errors"]["workflow_errors.py"]


def test_a_bad_setting_is_named_at_start(tmp_path: Path) -> None:
    found = run_python(LOAD_DAGS, tmp_path, SCAFFOLDER_MAX_FILE_SIZE="0")
    assert set(found["dags"]) == {"discover_agent_apis"}
    assert "SCAFFOLDER_MAX_FILE_SIZE='0': accepted is a whole number from 1 to" in found["errors"]["workflows.py"]


def test_quotas_that_cannot_be_read_are_an_import_error(tmp_path: Path) -> None:
    found = run_python(LOAD_DAGS, tmp_path, SCAFFOLDER_QUOTAS='[{"project": "team-*"}]')
    assert list(found["errors"]) == ["workflow_errors.py"]
    assert "SCAFFOLDER_QUOTAS: entry number 1: count and size are missing" in found["errors"]["workflow_errors.py"]


def test_a_task_imports_only_what_its_own_operator_needs(tmp_path: Path) -> None:
    code = """
import json, sys
from scaffolder.operators import FileGenerationOperator
FileGenerationOperator(task_id="x", template="y")
heavy = ("git", "httpx2", "alembic", "sqlalchemy.orm", "github", "fastapi", "scaffolder.agents", "scaffolder.exports")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    loaded = run_python(code, tmp_path)
    assert [name for name in loaded if name in ("git", "alembic", "scaffolder.agents", "scaffolder.exports")] == []


def test_the_readme_shows_the_example_dag_as_it_is() -> None:
    example = (CHECKOUT / "examples" / "own_dag.py").read_text()
    assert example in (CHECKOUT / "README.md").read_text()
