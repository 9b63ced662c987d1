"""A real API server under each of Airflow's auth managers, with records and files of its own."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import make_url

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.records import schema
from scaffolder.records.store import ProjectRecords
from tests.api_server import ApiServer, AuthManager, serve_api
from tests.conftest import CHECKOUT

PREFIX = "/scaffolder/api/v1"

WORKFLOWS = {
    "plain.yaml": """\
id: plain
title: Plain
params:
  name: {type: string, default: plain, pattern: "^[a-z-]+$"}
  count: {type: integer, default: 1, minimum: 1}
  passphrase: {type: string, format: password, default: ""}
steps:
  - id: files
    type: file_generation
    files: [{path: README.md, content: "# {{ params.name }}"}]
""",
    "paused.yaml": """\
id: paused
steps:
  - id: files
    type: file_generation
    files: [{path: README.md, content: "x"}]
""",
}


@dataclass
class Api:
    """A server, and what it works on."""

    server: ApiServer
    connection: psycopg.Connection[Any]
    settings: Settings
    metrics: socket.socket

    @property
    def records(self) -> ProjectRecords:
        return ProjectRecords(self.connection)

    def ask(self, method: str, path: str, *, user: str | None = "olga", **options: Any) -> httpx2.Response:
        """Send a request to our API."""
        return self.server.request(method, PREFIX + path, user=user, **options)


def _serve(postgres: EmbeddedPostgres, auth_manager: AuthManager) -> Iterator[Api]:
    database = f"records_{auth_manager}"
    postgres.create_database(database)
    schema.migrate(make_url(postgres.url(database, driver="psycopg")))
    with tempfile.TemporaryDirectory(prefix="scaffolder-api-") as directory:
        root = Path(directory)
        settings = replace(
            Settings(),
            generated_projects_dir=root / "generated-projects",
            workflows_dir=root / "workflows",
            templates_dir=root / "templates",
            include_shipped=False,
        )
        shutil.copytree(CHECKOUT / "include" / "templates", settings.templates_dir)
        settings.workflows_dir.mkdir()
        settings.generated_projects_dir.mkdir()
        for name, text in WORKFLOWS.items():
            (settings.workflows_dir / name).write_text(text)
        metrics = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        metrics.bind(("127.0.0.1", 0))
        with (
            metrics,
            psycopg.connect(postgres.url(database), autocommit=True) as connection,
            serve_api(
                root / "server",
                auth_manager=auth_manager,
                postgres=postgres,
                records_database=database,
                generated_projects_dir=settings.generated_projects_dir,
                environment={
                    "SCAFFOLDER_WORKFLOWS_DIR": str(settings.workflows_dir),
                    "SCAFFOLDER_TEMPLATES_DIR": str(settings.templates_dir),
                    "SCAFFOLDER_INCLUDE_SHIPPED": "false",
                    "SCAFFOLDER_QUOTAS": '[{"project": "quota-*", "count": 1}]',
                    "AIRFLOW__LOGGING__JSON_LOGS": "True",
                    "AIRFLOW__METRICS__STATSD_ON": "True",
                    "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
                    "AIRFLOW__METRICS__STATSD_PORT": str(metrics.getsockname()[1]),
                    "AIRFLOW__METRICS__METRICS_ALLOW_LIST": "scaffolder",
                    "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
                },
            ) as server,
        ):
            yield Api(server=server, connection=connection, settings=settings, metrics=metrics)


@pytest.fixture(scope="session")
def simple_api(postgres: EmbeddedPostgres) -> Iterator[Api]:
    yield from _serve(postgres, "simple")


@pytest.fixture(scope="session")
def fab_api(postgres: EmbeddedPostgres) -> Iterator[Api]:
    yield from _serve(postgres, "fab")


@pytest.fixture(params=["simple", "fab"])
def api(request: pytest.FixtureRequest) -> Api:
    """Both, one after the other."""
    found: Api = request.getfixturevalue(f"{request.param}_api")
    return found
