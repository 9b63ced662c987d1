"""A running agent, and a renderer for the template its files go into."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from scaffolder.config import Settings
from scaffolder.generation.templates.sources import find_template
from tests.demo_agent.agent_documents import ROOT, TOKEN
from tests.native_templates import RUN


@pytest.fixture(scope="session")
def agent_url() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "include"), "DEMO_AGENT_TOKEN": TOKEN}
    process = subprocess.Popen(
        [sys.executable, "-m", "demo_agent", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/health", process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(150):
        assert process.poll() is None, "the agent ended while starting"
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer")


@pytest.fixture(scope="session")
def client(agent_url: str) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx2.Client(base_url=agent_url, headers=headers, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def render_service() -> Callable[[dict[str, Any], Path], None]:
    return _render_service


def _render_service(values: dict[str, Any], directory: Path) -> None:
    """Render the template into `directory`."""
    settings = replace(Settings(), cache_dir=directory.parent / "cache")
    template = find_template("fastapi_service", settings=settings)
    for file in template.render(values, run=RUN, trust=False, settings=settings):
        path = directory / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
