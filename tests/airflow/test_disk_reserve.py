"""What the API answers where the disk has too little space: the web app with a setting that no disk can keep."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import GIB, get_settings
from scaffolder.records.store import ProjectRecords

WORKFLOW = "id: plain\nsteps:\n  - id: files\n    type: file_generation\n    files: [{path: a, content: x}]\n"


@pytest.fixture
def client(
    monkeypatch: pytest.MonkeyPatch, postgres: EmbeddedPostgres, records_database: str, tmp_path: Path
) -> Iterator[Any]:
    """The web app, asked by an administrator."""
    from airflow import settings
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.models.revoked_token import RevokedToken
    from starlette.testclient import TestClient

    from scaffolder.api.records import close_pool
    from scaffolder.web import create_app

    database = {
        "conn_type": "postgres",
        "host": str(postgres.socket_directory),
        "port": 5432,
        "login": "postgres",
        "schema": records_database,
    }
    (tmp_path / "plain.yaml").write_text(WORKFLOW)
    for name, value in {
        "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-the-tests-0123456789abcdef0123456789abcdef0123456789",
        "AIRFLOW_CONN_SCAFFOLDER_DB": json.dumps(database),
        "SCAFFOLDER_WORKFLOWS_DIR": str(tmp_path),
        "SCAFFOLDER_INCLUDE_SHIPPED": "false",
        "SCAFFOLDER_GENERATED_PROJECTS_DIR": str(tmp_path / "generated-projects"),
        "SCAFFOLDER_MIN_FREE_DISK_SIZE": str(shutil.disk_usage(tmp_path).free + 10 * GIB),
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    # All that Airflow asks its own database for here.
    tables = RevokedToken.metadata.tables
    names = ("revoked_token", "dag", "dag_bundle", "dag_bundle_team", "team")
    RevokedToken.metadata.create_all(settings.engine, tables=[tables[name] for name in names])
    token = init_auth_manager().generate_jwt(SimpleAuthManagerUser(username="root", role="admin"))
    with TestClient(create_app(), headers={"Authorization": f"Bearer {token}"}) as client:
        yield client
    close_pool()
    monkeypatch.undo()
    get_settings.cache_clear()


def test_a_generation_without_room_is_refused_with_507_and_nothing_is_left(
    client: Any, records: ProjectRecords, connection: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    records.projects.create("payments", name="payments")
    before = connection.execute("SELECT count(*) FROM event").fetchone()
    answer = client.post("/api/v1/projects/payments/generated", json={"workflow": "plain"})
    assert (answer.status_code, answer.headers["content-type"]) == (507, "application/problem+json")
    assert answer.json() == {
        "type": "urn:scaffolder:problem:disk-space",
        "title": "Disk space",
        "status": 507,
        "detail": "Too little space is free on the disk of the projects directory. The API server's log says more",
    }
    assert "SCAFFOLDER_MIN_FREE_DISK_SIZE" in caplog.text
    assert connection.execute("SELECT count(*) FROM requested_run").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM event").fetchone() == before
    assert records.projects.get("payments").generated_count == 0
