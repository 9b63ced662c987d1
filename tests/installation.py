"""Environments into which Scaffolder's wheel is installed, as others install it: no checkout is on their paths."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_airflow.bootstrap import index_settings

CHECKOUT = Path(__file__).resolve().parent.parent
UV = str(Path(sys.executable).with_name("uv"))


def installed_environment(
    tmp_path_factory: pytest.TempPathFactory, requirements: Path = CHECKOUT / "requirements.txt"
) -> Path:
    """Return the ``bin`` of an environment with `requirements` and the wheel; made once for all processes of a session."""
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent
    environment = base / f"installed-{requirements.stem}"
    with (base / f"{environment.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / "complete").exists():
            install(environment, requirements)
            (environment / "complete").touch()
    return environment / "bin"


def build_wheel(directory: Path) -> Path:
    """Build the checkout's wheel into `directory` and return it."""
    _run(UV, "build", "--quiet", "--wheel", "--out-dir", str(directory), str(CHECKOUT), **_index())
    [wheel] = directory.glob("*.whl")
    return wheel


def install(environment: Path, requirements: Path) -> Path:
    """Make an environment with `requirements` and the wheel of this checkout; return its ``bin``."""
    index = _index()
    wheel = build_wheel(environment.with_name(f"{environment.name}-wheel"))
    _run(UV, "venv", "--quiet", "--python", sys.executable, str(environment))
    command = (UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(environment / "bin/python"))
    _run(*command, "--requirements", str(requirements), **index)
    _run(*command, "--no-deps", str(wheel), **index)
    return environment / "bin"


def _index() -> dict[str, str]:
    configured = _run(sys.executable, "-m", "pip", "config", "list")
    return index_settings(pip_configuration=configured, environ=dict(os.environ))


def _run(*command: str, **environment: str) -> str:
    finished = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
