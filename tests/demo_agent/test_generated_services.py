"""A generated project installs into a fresh environment, passes its own tests and is lint-free."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.demo_agent.agent_documents import HOSTILE_TEXT, ROOT

EXAMPLES = ["bookings", "media-library"]


def run(command: list[str], *, cwd: Path) -> str:
    foreign = ("PYTHON", "VIRTUAL_ENV", "AIRFLOW")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    finished = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Make one fresh environment; the function it returns installs a project there."""
    directory = tmp_path_factory.mktemp("environment")
    binaries = directory / "venv" / "bin"
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    venv = [uv, "venv", "-q", "-p", sys.executable] if uv else [sys.executable, "-m", "venv"]
    run([*venv, str(directory / "venv")], cwd=directory)
    pip = (
        [uv, "pip", "install", "-q", "-p", str(binaries / "python")] if uv else [str(binaries / "pip"), "install", "-q"]
    )

    def install_project(project: Path) -> Path:
        run([*pip, "-e", ".[test]"], cwd=project)
        return binaries

    return install_project


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_generated_project_passes_its_own_tests(
    name: str,
    client: httpx2.Client,
    install: Callable[[Path], Path],
    render_service: Callable[[dict[str, Any], Path], None],
    tmp_path: Path,
) -> None:
    text = (ROOT / "examples" / "openapi" / f"{name}.yaml").read_text()
    result = client.post("/v1/models", json={"document": text, "name": name}).json()
    assert result["warnings"] == []
    values = {key: result[key] for key in ("package", "title", "version", "operations")}
    render_service({"name": name, "description": HOSTILE_TEXT, **values}, tmp_path)
    for file in result["files"]:
        path = tmp_path / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"], encoding="utf-8")
    binaries = install(tmp_path)
    summary = run([str(binaries / "pytest"), "-q"], cwd=tmp_path).strip().splitlines()[-1]
    assert summary.startswith(f"{len(result['operations']) + 2} passed")
    run([str(binaries / "ruff"), "check", "--no-cache"], cwd=tmp_path)
