from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from compose.__main__ import main
from compose.secret_files import SECRETS, SecretError, get_variable, read_secret, set_secret, write_secrets


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in {one.directory for one in SECRETS.values()} | {"connections"}:
        (tmp_path / name).mkdir()
    return tmp_path


def read_all(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_makes_every_secret_once(directory: Path) -> None:
    assert write_secrets(directory, environment={}) == list(SECRETS)
    first = read_all(directory)
    values = [read_secret(directory, name) for name in SECRETS]
    assert len(set(values)) == len(SECRETS)
    assert min(map(len, values)) >= 32
    Fernet(read_secret(directory, "fernet_key").encode())
    assert write_secrets(directory, environment={}) == []
    assert read_all(directory) == first


def test_two_installations_have_no_secret_in_common(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    for one in directory.iterdir():
        (other / one.name).mkdir()
    write_secrets(directory, environment={})
    write_secrets(other, environment={})
    assert not {read_secret(directory, name) for name in SECRETS} & {read_secret(other, name) for name in SECRETS}


def test_own_values_are_taken_and_urls_are_made_of_them(directory: Path) -> None:
    environment = {
        "SCAFFOLDER_SECRET_AIRFLOW_DATABASE_PASSWORD": "p@ss/word:?#%",
        "SCAFFOLDER_SECRET_REDIS_PASSWORD": "a@b/c:d%e?f#g",
        "SCAFFOLDER_SECRET_SCAFFOLDER_DATABASE_PASSWORD": "{json}-and-$",
    }
    write_secrets(directory, environment=environment)
    made = read_all(directory)
    assert (
        made["airflow/sql_alchemy_conn"] == "postgresql+psycopg2://airflow:p%40ss%2Fword%3A%3F%23%25@postgres/airflow"
    )
    assert made["redis/broker_url"] == "redis://:a%40b%2Fc%3Ad%25e%3Ff%23g@redis:6379/0"
    assert made["redis/result_backend"] == "redis://:a%40b%2Fc%3Ad%25e%3Ff%23g@redis:6379/1"
    connections = json.loads(made["connections/connections.json"])
    assert connections["scaffolder_db"]["password"] == "{json}-and-$"
    assert connections["demo_agent"]["password"] == made["agent/demo_agent_token"]
    # They stay when nobody gives them any more.
    assert write_secrets(directory, environment={}) == []
    assert read_all(directory) == made


BAD_VALUES = [
    "short",
    "eleven chars",
    "with a space in it",
    'with"quotes"in',
    "bäckend-secret",
    "tab\there-in-it",
    "with-a,comma-in-it",
]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_value_that_is_not_accepted_changes_nothing(directory: Path, value: str) -> None:
    environment = {"SCAFFOLDER_SECRET_ADMIN_PASSWORD": "long-enough", "SCAFFOLDER_SECRET_REDIS_PASSWORD": value}
    with pytest.raises(SecretError, match="_PASSWORD is not accepted: it must have at least 12") as caught:
        write_secrets(directory, environment=environment)
    assert value not in str(caught.value)
    assert read_all(directory) == {}
    write_secrets(directory, environment={})
    before = read_all(directory)
    with pytest.raises(SecretError, match="redis_password is not accepted"):
        set_secret(directory, "redis_password", value)
    assert read_all(directory) == before


def test_refuses_a_fernet_key_that_is_none(directory: Path) -> None:
    with pytest.raises(SecretError, match="SCAFFOLDER_SECRET_FERNET_KEY is not accepted: it must be 32 bytes"):
        write_secrets(directory, environment={"SCAFFOLDER_SECRET_FERNET_KEY": "not-a-fernet-key"})
    two = f"{Fernet.generate_key().decode()},{Fernet.generate_key().decode()}"
    write_secrets(directory, environment={"SCAFFOLDER_SECRET_FERNET_KEY": two})
    assert read_secret(directory, "fernet_key") == two


def test_the_environment_does_not_change_what_is_there(directory: Path) -> None:
    write_secrets(directory, environment={})
    before = read_all(directory)
    environment = {get_variable(name): "another-value-of-the-shell" for name in SECRETS} | {
        "SECRET_KEY": "of another program"
    }
    assert write_secrets(directory, environment=environment) == []
    assert read_all(directory) == before


@pytest.mark.parametrize("name", ["admin_password", "fernet_key", "postgres_password"])
def test_does_not_renew_what_others_must_be_told_of(
    directory: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write_secrets(directory, environment={})
    before = read_all(directory)
    assert main(["renew", name], directory=directory) == 1
    assert f"{name} is not simply made anew" in capsys.readouterr().err
    assert read_all(directory) == before


def test_sets_a_secret_from_standard_input(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_secrets(directory, environment={})
    monkeypatch.setattr(sys, "stdin", io.StringIO("the-new-password\n"))
    assert main(["set", "postgres_password"], directory=directory) == 0
    assert read_secret(directory, "postgres_password") == "the-new-password"


def test_a_start_that_was_ended_does_not_stop_the_next(directory: Path) -> None:
    for name, secret in SECRETS.items():
        left = directory / secret.directory / f".{name}"
        left.write_text("half")
        left.chmod(0o444)
    write_secrets(directory, environment={})
    assert not [path for path in directory.rglob(".*") if path.is_file()]


def test_renews_one_secret_and_what_is_made_of_it(directory: Path) -> None:
    write_secrets(directory, environment={})
    before = read_all(directory)
    assert main(["renew", "redis_password"], directory=directory) == 0
    after = read_all(directory)
    assert {name for name in after if after[name] != before[name]} == {
        "redis/redis_password", "redis/broker_url", "redis/result_backend"
    }  # fmt: skip


def test_shows_a_secret(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "admin_password"], directory=directory) == 1
    assert "cannot be read" in capsys.readouterr().err
    write_secrets(directory, environment={})
    assert main(["show", "admin_password"], directory=directory) == 0
    assert capsys.readouterr().out.strip() == read_secret(directory, "admin_password")


def test_files_are_whole_and_read_only(directory: Path) -> None:
    write_secrets(directory, environment={})
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o444}
    assert not [path for path in files if path.name.startswith(".")]


def test_says_that_a_directory_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="has not the directories of the secrets"):
        write_secrets(tmp_path, environment={})


def test_the_command_makes_them_of_the_environment(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", {"SCAFFOLDER_SECRET_ADMIN_PASSWORD": "an-own-password"})
    assert main(["secrets"], directory=directory) == 0
    assert read_secret(directory, "admin_password") == "an-own-password"
    printed = capsys.readouterr().out
    assert "admin_password" in printed
    assert "an-own-password" not in printed
