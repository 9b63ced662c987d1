"""Secrets as files, each in the directory of those services that see it. Standard library only."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

SHORTEST = 12


class SecretError(Exception):
    """A secret that cannot be read, made or accepted; the message says which and what is accepted."""


def _random_text() -> str:
    return secrets.token_urlsafe(32)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


@dataclass(frozen=True, kw_only=True)
class Secret:
    """One secret: the directory its file is in, the environment variable of an own value, how one is made."""

    directory: str
    variable: str
    make: Callable[[], str] = _random_text


SECRETS: Final[Mapping[str, Secret]] = {
    "admin_password": Secret(directory="administrator", variable="ADMIN_PASSWORD"),
    "postgres_password": Secret(directory="postgres", variable="POSTGRES_PASSWORD"),
    "airflow_database_password": Secret(directory="postgres", variable="AIRFLOW_DATABASE_PASSWORD"),
    "scaffolder_database_password": Secret(directory="postgres", variable="SCAFFOLDER_DATABASE_PASSWORD"),
    "redis_password": Secret(directory="redis", variable="REDIS_PASSWORD"),
    "fernet_key": Secret(directory="airflow", variable="FERNET_KEY", make=_fernet_key),
    "secret_key": Secret(directory="airflow", variable="SECRET_KEY"),
    "jwt_secret": Secret(directory="airflow", variable="JWT_SECRET"),
    "demo_agent_token": Secret(directory="agent", variable="DEMO_AGENT_TOKEN"),
}


def write_secrets(directory: Path, *, environment: Mapping[str, str], anew: Collection[str] = ()) -> list[str]:
    """Make what is not there below `directory`, and what is made of it; return the names of those that were made.

    A value of `environment` takes the place of the one that is there; `anew` names those that are made again. Raises
    SecretError before anything is written if a value is not accepted.
    """
    values: dict[str, str] = {}
    made: list[str] = []
    for name, secret in SECRETS.items():
        path = directory / secret.directory / name
        given = environment.get(secret.variable, "")
        if given:
            values[name] = _check(secret.variable, given)
        elif path.is_file() and name not in anew:
            values[name] = read_secret(directory, name)
            continue
        else:
            values[name] = secret.make()
        made.append(name)
    for name, text in values.items():
        _write(directory / SECRETS[name].directory / name, text)
    for place, text in _derive(values).items():
        _write(directory / place, text)
    return made


def read_secret(directory: Path, name: str) -> str:
    """Return a secret. Raises SecretError if there is none."""
    path = directory / SECRETS[name].directory / name
    try:
        return _check(str(path), path.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise SecretError(f"{path} cannot be read: {error.strerror}. The service `secrets` makes it.") from error


def _derive(values: Mapping[str, str]) -> dict[str, str]:
    """Return what Airflow reads as a whole, by paths."""
    airflow = f"airflow:{quote(values['airflow_database_password'], safe='')}@postgres/airflow"
    redis = f"redis://:{quote(values['redis_password'], safe='')}@redis:6379"
    connections = {
        "scaffolder_db": {
            "conn_type": "postgres",
            "host": "postgres",
            "login": "scaffolder",
            "password": values["scaffolder_database_password"],
            "schema": "scaffolder",
        },
        "demo_agent": {
            "conn_type": "agent_api",
            "host": "http://demo-agent:8090",
            "password": values["demo_agent_token"],
        },
    }
    return {
        "airflow/sql_alchemy_conn": f"postgresql+psycopg2://{airflow}",
        "redis/broker_url": f"{redis}/0",
        "redis/result_backend": f"{redis}/1",
        "connections/connections.json": json.dumps(connections, indent=2),
        "administrator/flower_basic_auth": f"admin:{values['admin_password']}",
    }


def _check(name: str, value: str) -> str:
    # Redis reads its password from a line of its configuration.
    if len(value) < SHORTEST or not value.isascii() or not value.isprintable() or set(value) & set(" \"'\\"):
        raise SecretError(
            f"{name} is not accepted: it must have at least {SHORTEST} printable ASCII characters, and no spaces, "
            "quotes or backslashes"
        )
    return value


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole. Who mounts its directory may read it, whatever user they are."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o444)
        temporary.replace(path)
    except OSError as error:
        raise SecretError(f"{path} cannot be written: {error.strerror}") from error
