"""The wheel in an Airflow of somebody else: no checkout on any path, nothing copied into its folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_airflow import LocalAirflow
from local_airflow.main_job import create_connections, openapi_job
from tests.compose_stack import find_obstacle
from tests.conftest import CACHE, CHECKOUT
from tests.installation import installed_environment
from tests.profile import NIGHTLY

BUNDLES = [
    {"name": "dags-folder", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {}},
    {"name": "scaffolder", "classpath": "scaffolder.dag_bundle.ScaffolderDagBundle", "kwargs": {}},
]
SHIPPED_DAGS = {
    "cleanup_generated_projects",
    "discover_agent_apis",
    "export_repository",
    "openapi_service",
}
WORKFLOW = """\
id: house_service
params:
  name: {type: string, default: invoices}
steps:
  - id: files
    type: file_generation
    template: house
    values: {name: "{{ params.name }}", package: "{{ params.name }}"}
  - id: publish
    type: repo_creation
    target: archive
"""
TEMPLATE = """\
name: house
version: "1"
extends: fastapi_service
values: {properties: {owner: {default: platform}}}
"""


@dataclass
class Installation:
    """An Airflow that runs from an environment with the wheel."""

    airflow: LocalAirflow
    programs: Path

    def command(self, *words: str) -> Any:
        """Run one of its programs and return what it prints, as JSON."""
        command = [str(self.programs / words[0]), *words[1:]]
        environment = self.airflow.environment()
        finished = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    def run(self, dag_id: str, **conf: Any) -> str:
        """Run a DAG to its end; return the run's id."""
        rest = self.airflow.rest
        rest.wait_for_dag(dag_id)
        run_id = rest.trigger(dag_id, conf=conf)
        state = rest.wait_for_run(dag_id, run_id, timeout_seconds=120)
        failed = [task for task in rest.task_instances(dag_id, run_id) if task.state == "failed"]
        assert state == "success", [rest.task_log(dag_id, run_id, task) for task in failed]
        return run_id

    def show(self, dag_id: str, run_id: str) -> Any:
        """Return the record of a run's generated project."""
        return self.command("scaffolder", "show", "--json", "--run", dag_id, run_id)


# The highest versions are those of test_compose.py's services, whose image is the same wheel and requirements.
_REQUIREMENTS = {"lowest versions": "requirements-lowest.txt"}
if NIGHTLY or find_obstacle():
    _REQUIREMENTS["highest versions"] = "requirements.txt"


@pytest.fixture(scope="module", params=_REQUIREMENTS.values(), ids=_REQUIREMENTS)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    programs = installed_environment(tmp_path_factory, CHECKOUT / request.param)
    root = Path(tempfile.mkdtemp(prefix="scaffolder-installed-"))
    root.chmod(0o711)  # the Postgres server may run as another user and has to get through
    for folder in ("dags", "plugins", "workflows", "templates/house"):
        (root / folder).mkdir(parents=True)
    (root / "workflows" / "house_service.yaml").write_text(WORKFLOW)
    (root / "templates" / "house" / "template.yaml").write_text(TEMPLATE)
    (root / "templates" / "house" / "OWNER.jinja").write_text("{{ owner }}\n")
    airflow = LocalAirflow(
        root / "state",
        dags_folder=root / "dags",
        plugins_folder=root / "plugins",
        generated_projects_dir=root / "generated-projects",
        include_folder=CHECKOUT / "include",
        environment={
            "PYTHONPATH": "",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(BUNDLES),
            "SCAFFOLDER_WORKFLOWS_DIR": str(root / "workflows"),
            "SCAFFOLDER_TEMPLATES_DIR": str(root / "templates"),
            "SCAFFOLDER_CACHE_DIR": str(CACHE),
        },
        programs=programs,
    )
    try:
        with airflow:
            create_connections(airflow)
            yield Installation(airflow, programs)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def test_no_checkout_is_on_any_path(installation: Installation) -> None:
    found = installation.command(
        "python", "-c", "import json, scaffolder, sys; print(json.dumps([scaffolder.__file__, *sys.path]))"
    )
    assert Path(found[0]).parents[1].name == "site-packages"
    assert Path(found[0]).is_relative_to(installation.programs.parent)
    assert not [path for path in found if Path(path).is_relative_to(CHECKOUT)]


def test_airflow_lists_the_plugin_once_and_the_connection_types(installation: Installation) -> None:
    rest = installation.airflow.rest
    plugins = rest.get("/plugins")["plugins"]
    [plugin] = [one for one in plugins if one["name"] == "scaffolder"]
    assert len(plugin["fastapi_apps"]) == 1
    assert rest.get("/plugins/importErrors")["total_entries"] == 0
    types = {one["connection_type"] for one in rest.call("GET", "/ui/connections/hook_meta")}
    assert {"agent_api", "a2a", "git_remote", "commit_identity"} <= types
    assert "airflow-scaffolder" in {one["package_name"] for one in rest.get("/providers")["providers"]}


def test_its_dags_are_those_of_the_bundle_and_of_the_own_workflow(installation: Installation) -> None:
    rest = installation.airflow.rest
    expected = SHIPPED_DAGS | {"house_service"}
    for dag_id in expected:
        rest.wait_for_dag(dag_id)
    found = {one["dag_id"]: one["bundle_name"] for one in rest.get("/dags")["dags"]}
    assert found == dict.fromkeys(expected, "scaffolder")
    assert rest.get("/importErrors")["total_entries"] == 0


def test_the_workflow_that_ships_makes_a_service(installation: Installation) -> None:
    job = openapi_job(CHECKOUT / "examples" / "openapi" / "bookings.yaml", name="bookings")
    shown = installation.show(job.dag_id, installation.run(job.dag_id, **job.conf))
    assert shown["generated_project"]["status"] == "ready"
    assert [one["status"] for one in shown["exports"]] == ["exported"]


def test_an_own_workflow_has_an_own_template_that_extends_one_that_ships(installation: Installation) -> None:
    shown = installation.show("house_service", installation.run("house_service"))
    assert shown["generated_project"]["status"] == "ready"
    origins = {one["path"]: one["origin"].partition("@")[0] for one in shown["files"]}
    assert origins["OWNER"] == "template:house"
    assert origins["pyproject.toml"] == "template:fastapi_service"


def test_the_clean_up_runs(installation: Installation) -> None:
    installation.run("cleanup_generated_projects", dry_run=True)
