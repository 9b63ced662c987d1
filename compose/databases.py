"""Both databases, each owned by a user who sees no other."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from compose.secret_files import SecretError, read_secret

DATABASES: Final = {"airflow": "airflow_database_password", "scaffolder": "scaffolder_database_password"}


def ensure_databases(directory: Path, *, host: str = "postgres") -> None:
    """Make the databases and users that are not there, and give the users the passwords of today.

    Raises SecretError if Postgres does not accept the password of its user ``postgres``.
    """
    try:
        connection = psycopg.connect(
            host=host,
            user="postgres",
            password=read_secret(directory, "postgres_password"),
            dbname="postgres",
            autocommit=True,
            connect_timeout=10,
        )
    except psycopg.OperationalError as error:
        raise SecretError(f"Postgres refuses its user postgres: {str(error).strip()}") from error
    with connection:
        for name, password in DATABASES.items():
            _ensure(connection, name, password=read_secret(directory, password))


def _ensure(connection: psycopg.Connection, name: str, *, password: str) -> None:
    owner = sql.Identifier(name)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(owner))
    # Hashed here: the server's log may hold statements.
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(owner, sql.Literal(verifier)))
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(owner, owner))
    connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(owner))
