"""Secrets as files, each in the directory of those services that see it. Standard library only."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

SHORTEST = 12
_FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")


class SecretError(Exception):
    """A secret that cannot be read, made or accepted; the message says which and what is accepted."""


def _random_text() -> str:
    return secrets.token_urlsafe(32)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


@dataclass(frozen=True, kw_only=True)
class Secret:
    """One secret: the directory its file is in, how one is made, and why it cannot simply be made anew, if so."""

    directory: str
    make: Callable[[], str] = _random_text
    how_to_renew: str | None = None


SECRETS: Final[Mapping[str, Secret]] = {
    "admin_password": Secret(
        directory="administrator", how_to_renew="airflow users reset-password, or the user's own page in Airflow"
    ),
    "postgres_password": Secret(
        directory="postgres", how_to_renew="give it to Postgres first (\\password in psql), then `set` it here"
    ),
    "airflow_database_password": Secret(directory="postgres"),
    "scaffolder_database_password": Secret(directory="postgres"),
    "redis_password": Secret(directory="redis"),
    "fernet_key": Secret(
        directory="airflow", make=_fernet_key, how_to_renew="`set` NEW,OLD here, airflow rotate-fernet-key, `set` NEW"
    ),
    "secret_key": Secret(directory="airflow"),
    "jwt_secret": Secret(directory="airflow"),
    "demo_agent_token": Secret(directory="agent"),
}


def get_variable(name: str) -> str:
    """Return the environment variable of an own value."""
    return f"SCAFFOLDER_SECRET_{name.upper()}"


def write_secrets(directory: Path, *, environment: Mapping[str, str]) -> list[str]:
    """Make what is not there below `directory`, and what is made of it; return the names of those that were made.

    Own values are taken from `environment`, for those that are not there. Raises SecretError before anything is written
    if a value is not accepted.
    """
    with _alone(directory):
        values: dict[str, str] = {}
        made: list[str] = []
        for name, secret in SECRETS.items():
            if (directory / secret.directory / name).is_file():
                values[name] = read_secret(directory, name)
                continue
            given = environment.get(get_variable(name), "")
            values[name] = _check(get_variable(name), given, kind=name) if given else secret.make()
            made.append(name)
        _write_all(directory, values)
    return made


def renew_secret(directory: Path, name: str) -> None:
    """Make a secret anew, and what is made of it. Raises SecretError for one that others must be told of first."""
    if how := SECRETS[name].how_to_renew:
        raise SecretError(f"{name} is not simply made anew: {how}")
    set_secret(directory, name, SECRETS[name].make())


def set_secret(directory: Path, name: str, value: str) -> None:
    """Replace a secret, and what is made of it. Raises SecretError if the value is not accepted."""
    with _alone(directory):
        values = {one: read_secret(directory, one) for one in SECRETS}
        _write_all(directory, values | {name: _check(name, value, kind=name)})


def read_secret(directory: Path, name: str) -> str:
    """Return a secret. Raises SecretError if there is none."""
    path = directory / SECRETS[name].directory / name
    try:
        return _check(str(path), path.read_text(encoding="utf-8").strip(), kind=name)
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


def _check(label: str, value: str, *, kind: str) -> str:
    # Redis reads its password from a line of its configuration, and Flower a list of log-ins with commas.
    refused = set(" \"'\\") | (set() if kind == "fernet_key" else {","})
    if len(value) < SHORTEST or not value.isascii() or not value.isprintable() or set(value) & refused:
        raise SecretError(
            f"{label} is not accepted: it must have at least {SHORTEST} printable ASCII characters, and no spaces, "
            "quotes, commas or backslashes"
        )
    if kind == "fernet_key" and not all(_FERNET_KEY.fullmatch(one) for one in value.split(",")):
        raise SecretError(f"{label} is not accepted: it must be 32 bytes in URL-safe base64; several with commas")
    return value


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let one process at a time write."""
    try:
        descriptor = os.open(directory / SECRETS["admin_password"].directory, os.O_RDONLY)
    except OSError as error:
        raise SecretError(f"{directory} has not the directories of the secrets: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_all(directory: Path, values: Mapping[str, str]) -> None:
    for name, text in values.items():
        _write(directory / SECRETS[name].directory / name, text)
    for place, text in _derive(values).items():
        _write(directory / place, text)


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole. Who mounts its directory may read it, whatever user they are."""
    temporary = path.with_name(f".{path.name}")
    try:
        temporary.unlink(missing_ok=True)  # of a start that was ended
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o444)
        temporary.replace(path)
    except OSError as error:
        raise SecretError(f"{path} cannot be written: {error.strerror}") from error
