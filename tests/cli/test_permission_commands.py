"""The command that makes FAB know our resources, on Airflow's real database; tests/api has it on a whole server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from local_airflow.postgres import EmbeddedPostgres

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
SYNC_AND_LIST = """
import json
from airflow.cli.cli_parser import get_parser
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from scaffolder.permission_commands import sync

arguments = get_parser().parse_args(["db", "migrate"])
arguments.func(arguments)
with get_application_builder() as builder:
    builder.sm.sync_roles()
    role = builder.sm.add_role("Own")
sync()

def find():
    with get_application_builder() as builder:
        return {
            role.name: sorted(
                [one.resource.name, one.action.name] for one in role.permissions if one.resource.name.startswith("Scaffolder")
            )
            for role in builder.sm.get_all_roles()
        }

first = find()
sync()
with get_application_builder() as builder:
    builder.sm.sync_roles()
print(json.dumps([first, find()]))
"""


def run(code: str, tmp_path: Path, **environment: str) -> str:
    variables = os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"} | environment
    finished = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=180
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip().splitlines()[-1]


def test_fab_s_roles_get_what_the_table_says_and_keep_it(
    postgres: EmbeddedPostgres, empty_database: str, tmp_path: Path
) -> None:
    first, second = json.loads(
        run(
            SYNC_AND_LIST,
            tmp_path,
            AIRFLOW__CORE__AUTH_MANAGER=FAB,
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=postgres.url(empty_database, driver="psycopg2"),
            AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS="airflow.providers.fab.auth_manager.models.db.FABDBManager",
        )
    )
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


def test_other_auth_managers_need_nothing(tmp_path: Path) -> None:
    said = run("from scaffolder.permission_commands import sync; sync()", tmp_path)
    assert said == "SimpleAuthManager has no permissions to create: it decides by its own roles"
