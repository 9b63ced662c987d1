"""The command that makes FAB know our resources, on Airflow's real database; tests/api has it on a whole server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from local_airflow.postgres import EmbeddedPostgres

COMMAND = str(Path(sys.executable).parent / "scaffolder")
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
AIRFLOW = """
from airflow.cli.cli_parser import get_parser

def airflow(*words):
    arguments = get_parser().parse_args(words)
    arguments.func(arguments)
"""
PREPARE = f"""{AIRFLOW}
airflow("db", "migrate")
airflow("sync-perm")
"""
SYNC_AND_LIST = f"""{AIRFLOW}
import json
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from scaffolder.permission_commands import sync

with get_application_builder() as builder:
    role = builder.sm.add_role("Own")
sync()

def find():
    with get_application_builder() as builder:
        return {{
            role.name: sorted(
                [one.resource.name, one.action.name] for one in role.permissions if one.resource.name.startswith("Scaffolder")
            )
            for role in builder.sm.get_all_roles()
        }}

first = find()
sync()
airflow("sync-perm", "--include-dags")
airflow("db", "migrate")
print(json.dumps([first, find()]))
"""


def describe(postgres: EmbeddedPostgres, database: str, *, user: str = "postgres") -> dict[str, str]:
    """The environment of an Airflow with FAB."""
    url = postgres.url(database, driver="psycopg2").replace("//postgres:@", f"//{user}:@")
    return {
        "AIRFLOW__CORE__AUTH_MANAGER": FAB,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS": "airflow.providers.fab.auth_manager.models.db.FABDBManager",
    }


def run(code: str, tmp_path: Path, **environment: str) -> str:
    variables = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"} | environment
    finished = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=180
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip().splitlines()[-1]


def synchronise(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as people do."""
    variables = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"} | environment
    return subprocess.run(
        [COMMAND, "permissions", "sync"], env=variables, capture_output=True, text=True, check=False, timeout=180
    )


@pytest.fixture(scope="module")
def prepared_database(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Airflow's database with FAB's roles, to be copied."""
    postgres.create_database("airflow_with_fab")
    run(PREPARE, tmp_path_factory.mktemp("airflow"), **describe(postgres, "airflow_with_fab"))
    return "airflow_with_fab"


@pytest.fixture
def airflow_database(postgres: EmbeddedPostgres, prepared_database: str, request: pytest.FixtureRequest) -> str:
    """A copy of this test's own."""
    name = request.node.name
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{prepared_database}"')
    return name


def test_fab_s_roles_get_what_the_table_says_and_keep_it(
    postgres: EmbeddedPostgres, airflow_database: str, tmp_path: Path
) -> None:
    first, second = json.loads(run(SYNC_AND_LIST, tmp_path, **describe(postgres, airflow_database)))
    assert first == second
    assert first["Viewer"] == [
        ["Scaffolder", "can_read"],
        ["Scaffolder generated projects", "can_read"],
        ["Scaffolder projects", "can_read"],
        ["Scaffolder repository exports", "can_read"],
    ]
    assert first["User"] == first["Op"]
    assert ["Scaffolder generated projects", "can_create"] in first["User"]
    added = [one for one in first["Admin"] if one not in first["User"]]
    assert added == [["Scaffolder administration", "can_edit"]]
    assert (first["Own"], first["Public"]) == ([], [])


def test_says_so_where_the_roles_have_not_got_them(
    postgres: EmbeddedPostgres, airflow_database: str, tmp_path: Path
) -> None:
    user = "reader_of_airflow"
    with psycopg.connect(postgres.url(airflow_database), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
        refused = synchronise(tmp_path, **describe(postgres, airflow_database, user=user))
        # Where a role cannot be given a permission, FAB logs that and goes on.
        connection.execute(f"GRANT INSERT ON ab_view_menu, ab_permission, ab_permission_view TO {user}")
        connection.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}")
        swallowed = synchronise(tmp_path, **describe(postgres, airflow_database, user=user))
    cannot = "AirflowUnavailableError: FAB's permissions cannot be written to Airflow's database: "
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.splitlines()[-1] == cannot + "permission denied for table ab_view_menu"
    assert (swallowed.returncode, swallowed.stdout) == (1, "")
    assert swallowed.stderr.splitlines()[-1] == cannot + "role 'Viewer' was not given can_read on 'Scaffolder'"


def test_other_auth_managers_need_nothing(tmp_path: Path) -> None:
    finished = synchronise(tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "SimpleAuthManager has no permissions to create: it decides by its own roles\n"
