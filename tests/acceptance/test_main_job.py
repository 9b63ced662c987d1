"""The main job on a live Airflow, from a real OpenAPI document to an exported, tested repository."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from scaffolder.records.models import ExportStatus, GeneratedProjectStatus
from tests.acceptance.conftest import Live, Run
from tests.conftest import CHECKOUT

DOCUMENTS = {path.stem: path.read_text() for path in sorted((CHECKOUT / "examples" / "openapi").glob("*.yaml"))}


def run_service(live: Live, document: str, **conf: Any) -> Run:
    run = live.run("openapi_service", name=document, document=DOCUMENTS[document], description='It\'s "ours"\n', **conf)
    failed = {task: run.log(task) for task, state in run.tasks.items() if state == "failed"}
    assert run.state == "success", failed
    return run


def test_two_documents_of_different_shape_ship() -> None:
    assert sorted(DOCUMENTS) == ["bookings", "media-library"]


@pytest.mark.parametrize("document", sorted(DOCUMENTS))
def test_a_document_becomes_an_archive_whose_own_tests_pass(live: Live, tmp_path: Path, document: str) -> None:
    run = run_service(live, document)
    project = run.generated_project
    assert project.status is GeneratedProjectStatus.READY
    export = run.read("exports")[0]
    assert (export.status, export.commit) == (ExportStatus.EXPORTED, project.head_commit)
    archive = Path(export.archive_path)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == export.archive_sha256
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    root = tmp_path / document
    rows = {file.path: file.sha256 for file in run.read("files")}
    disk = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    assert rows == {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in disk.items()}
    assert {file.origin.partition(":")[0] for file in run.read("files")} == {"template", "agent_call"}
    assert {"pyproject.toml", "README.md", "Dockerfile", ".github/workflows/ci.yml"} <= set(disk)
    assert_own_tests_pass(root, tmp_path / "venv")


def assert_own_tests_pass(root: Path, venv: Path) -> None:
    """Install the service into a fresh environment and run its tests there."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    uv = str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "pip", "install", "-q", "--python", python, f"{root}[test]"], check=True, cwd=root)
    finished = subprocess.run([python, "-m", "pytest", "-q"], cwd=root, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout[-3000:]
    assert " passed" in finished.stdout


def test_the_same_commit_goes_to_a_git_repository(live: Live) -> None:
    remotes = live.airflow.directory.root / "git-remotes"
    live.rest.put_connection("demo_git", conn_type="git_remote", host=f"{remotes.as_uri()}/{{name}}.git")
    run = run_service(live, "bookings", target="git")
    export = run.read("exports")[0]
    assert export.url == (remotes / "bookings.git").as_uri()
    cloned = subprocess.run(
        ["git", "--git-dir", str(remotes / "bookings.git"), "rev-parse", "main"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert cloned == run.generated_project.head_commit


def test_a_tar_gz_on_request(live: Live) -> None:
    export = run_service(live, "bookings", archive_format="tar.gz").read("exports")[0]
    with tarfile.open(export.archive_path) as archive:
        assert "bookings/pyproject.toml" in archive.getnames()


def test_the_dag_of_the_readme_runs_as_it_is(live: Live) -> None:
    run = live.run("own_service", name="own", document=DOCUMENTS["bookings"])
    assert run.state == "success", {task: run.log(task) for task, state in run.tasks.items() if state == "failed"}
    project = run.generated_project
    assert (project.name, project.workflow, project.status) == ("own", "own_service", GeneratedProjectStatus.READY)
    export = run.read("exports")[0]
    assert export.archive_path.endswith(".tar.gz")
    origins = {file.origin.partition(":")[0] for file in run.read("files")}
    assert origins == {"template", "agent_call"}


REFUSED = {
    "not OpenAPI": ("just text", 422),
    "empty mapping": ("{}", 422),
    "swagger": ('{"swagger": "2.0", "info": {"title": "x", "version": "1"}, "paths": {}}', 422),
    "truncated": (json.dumps({"openapi": "3.0.3", "info": {"title": "x", "version": "1"}, "paths": {}})[:-30], 422),
    "1 MiB in characters but more in bytes": ("é" * (1024 * 1024), 413),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_document_that_cannot_be_used_ends_in_a_clear_error(live: Live, name: str) -> None:
    document, status = REFUSED[name]
    run = live.run("openapi_service", name="refused", document=document)
    assert run.state == "failed"
    assert run.tries("models") == 1
    project = run.generated_project
    assert project.status is GeneratedProjectStatus.FAILED
    assert f"AgentRejectedError: agent 'demo_agent' ({live.airflow.settings.agent_url}) answered {status}: " in str(
        project.error
    )
    assert "no reason given" not in str(project.error)
    assert str(project.error).removeprefix("step 'models' failed: ") in run.log("models")
    assert (run.read("files"), run.read("exports")) == ([], [])


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"name": "Not A Name", "document": "x"}, "does not match"),
        ({"name": "ok", "document": "x" * (1024 * 1024 + 1)}, "is too long"),
        ({"name": "ok"}, "document"),
        ({"name": "ok", "document": "x", "target": "svn"}, "is not one of"),
    ],
)
def test_parameters_that_the_form_refuses_are_refused_by_rest(live: Live, conf: dict[str, Any], message: str) -> None:
    live.rest.wait_for_dag("openapi_service")
    body = {"logical_date": None, "conf": conf}
    answer = live.rest.request("POST", "/api/v2/dags/openapi_service/dagRuns", json=body)
    assert answer.status_code == 400
    assert message in answer.text
