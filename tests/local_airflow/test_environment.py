from __future__ import annotations

import json
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from local_airflow.environment import Environment, Folders, quote
from local_airflow.state import StateDirectory, new_settings


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    directory = StateDirectory(tmp_path / "it's a state")
    directory.create()
    return Environment(
        directory=directory,
        settings=new_settings(users=["admin"]),
        folders=Folders(dags=tmp_path / "dags", plugins=tmp_path / "plugins", generated_projects=tmp_path / "projects"),
        socket_directory=tmp_path / "socket",
        users={"admin": "admin", "ana": "viewer"},
        overrides={"AIRFLOW__CORE__PARALLELISM": "2", "AIRFLOW_VAR_NOTE": "two\nlines, 'quotes' and $HOME"},
    )


def test_a_shell_that_sources_the_file_has_every_variable(environment: Environment) -> None:
    environment.write_env_file()
    command = f". {shlex.quote(str(environment.directory.env_file))} && env -0"
    printed = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout
    sourced = dict(entry.split("=", 1) for entry in printed.split("\0") if entry)
    assert {name: sourced.get(name) for name in environment.variables()} == environment.variables()


@pytest.mark.parametrize("value", ["", "plain", "it's", '"$(exit 1)`exit 1`', "a\nb", "\\", "*"])
def test_a_shell_reads_a_quoted_value_unchanged(value: str) -> None:
    assert quote(value).startswith("'")
    command = f"printf %s {quote(value)}"
    assert subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout == value


def test_the_file_is_for_its_owner_only(environment: Environment) -> None:
    environment.write_env_file()
    assert stat.S_IMODE(environment.directory.env_file.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["AIRFLOW__CORE__EXECUTOR_CONFIG", "AIRFLOW_CONFIG", "PGPORT", "PGHOST"])
def test_what_a_shell_holds_of_other_installations_does_not_interfere(environment: Environment, name: str) -> None:
    assert name not in environment.complete({name: "foreign"})


def test_connections_of_the_shell_reach_airflow(environment: Environment) -> None:
    assert environment.complete({"AIRFLOW_CONN_GITHUB": "x"})["AIRFLOW_CONN_GITHUB"] == "x"


def test_requests_to_this_machine_go_past_a_proxy(environment: Environment) -> None:
    complete = environment.complete({"https_proxy": "http://proxy", "no_proxy": "example.org"})
    assert complete["no_proxy"] == "example.org,127.0.0.1,localhost"


def test_overrides_win(environment: Environment) -> None:
    assert environment.variables()["AIRFLOW__CORE__PARALLELISM"] == "2"


def test_names_users_with_their_roles(environment: Environment) -> None:
    assert environment.variables()["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] == "admin:admin,ana:viewer"


def test_the_records_connection_is_one_that_airflow_can_parse(environment: Environment) -> None:
    connection = json.loads(environment.variables()["AIRFLOW_CONN_SCAFFOLDER_DB"])
    assert connection["conn_type"] == "postgres"
    assert connection["schema"] == "scaffolder"
