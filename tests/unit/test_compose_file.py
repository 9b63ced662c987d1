"""What docker-compose.yaml promises, read as YAML; that it starts is tests/acceptance/test_compose.py's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from compose.secret_files import SECRETS, get_variable
from tests.compose_stack import read_compose_file

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "docker-compose.yaml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
ONE_OFF = {"secrets", "init"}
needs_compose = pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")


@needs_compose
def test_compose_accepts_the_file() -> None:
    assert set(read_compose_file()["services"]) == set(SERVICES)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_has_what_a_service_should_have(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "container_name" not in service  # or it could not be scaled
    if name in ONE_OFF:
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


def test_the_image_is_built_once() -> None:
    """Several that build one tag at a time may fail; see who waits for whom."""
    assert [name for name, service in SERVICES.items() if "build" in service] == ["secrets"]


def test_tasks_write_nothing_that_others_run() -> None:
    written = {
        name: {volume.split(":")[1] for volume in service.get("volumes", []) if not volume.endswith(":ro")}
        for name, service in SERVICES.items()
    }
    assert written["worker"] == {"/opt/airflow/generated-projects", "/opt/airflow/cache", "/opt/airflow/logs"}
    assert not [name for name in written if "/opt/airflow/cache" in written[name] and name != "worker"]
    assert not [name for name in written if written[name] & {"/opt/airflow/dags", "/opt/airflow/workflows"}]


def test_only_this_machine_reaches_the_ports() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_service_runs_as_root() -> None:
    # Our image's user is airflow, see the Dockerfile; the others' first user is root.
    users = {name: service.get("user") for name, service in SERVICES.items()}
    assert {name: user for name, user in users.items() if user} == {"postgres": "postgres", "redis": "redis"}
    foreign = {name for name, service in SERVICES.items() if not service["image"].startswith("${SCAFFOLDER_IMAGE:-")}
    assert foreign == {"postgres", "redis"}


def test_no_secret_has_a_default() -> None:
    """Neither a value in the file nor one that a variable falls back to."""
    for name, service in SERVICES.items():
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|KEY|SQL_ALCHEMY|BROKER|BACKEND|AUTH$|CONN", variable):
                is_own = name == "secrets" and value == f"${{{variable}:-}}"
                is_of_a_file = variable.endswith(("_CMD", "_FILE")) and "/run/scaffolder/" in value
                is_no_secret = (
                    variable.startswith("AIRFLOW__SECRETS__BACKEND") or variable == "CONNECTION_CHECK_MAX_COUNT"
                )
                assert is_own or is_of_a_file or is_no_secret, (name, variable, value)
    assert set(SERVICES["secrets"]["environment"]) == {get_variable(name) for name in SECRETS}


def test_the_env_file_holds_no_secret() -> None:
    lines = [line for line in (CHECKOUT / ".env").read_text().splitlines() if line and not line.startswith("#")]
    assert [line.partition("=")[0] for line in lines] == ["COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"]


def test_who_sees_which_secrets() -> None:
    seen = {
        name: {volume.split(":")[0] for volume in service.get("volumes", []) if volume.startswith("secrets-")}
        for name, service in SERVICES.items()
    }
    airflow = {"secrets-airflow", "secrets-redis", "secrets-connections"}
    assert seen == {
        "secrets": {f"secrets-{one}" for one in {secret.directory for secret in SECRETS.values()} | {"connections"}},
        "postgres": {"secrets-postgres"},
        "redis": {"secrets-redis"},
        "init": airflow | {"secrets-postgres", "secrets-administrator"},
        "api-server": airflow,
        "scheduler": airflow,
        "dag-processor": airflow,
        "triggerer": airflow,
        "worker": {"secrets-redis", "secrets-connections"},
        "flower": {"secrets-redis", "secrets-administrator"},
        "demo-agent": {"secrets-agent"},
    }
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            if volume.startswith("secrets-"):
                assert volume.endswith(":ro") == (name != "secrets")


def test_the_image_has_the_directories_that_volumes_are_mounted_on() -> None:
    """With an owner of its own, or the volumes would be root's."""
    dockerfile = (CHECKOUT / "Dockerfile").read_text()
    own = [service for service in SERVICES.values() if "SCAFFOLDER_IMAGE" in service["image"]]
    targets = {
        volume.split(":")[1]
        for service in own
        for volume in service.get("volumes", [])
        if not volume.startswith(("./", "${"))
    }
    assert targets
    for target in targets - {"/opt/airflow/logs"}:  # the official image's own
        assert re.search(rf"\s{re.escape(target)}\b", dockerfile), target
