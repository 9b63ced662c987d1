"""Brings the databases of Airflow and of the records to the schema of the installed code, if they are not."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from local_airflow.errors import LocalAirflowError, tail_of
from local_airflow.files import write_atomically
from local_airflow.postgres import EmbeddedPostgres


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One database and the command that brings it up to date."""

    database: str
    command: Sequence[str]
    log: Path


def migrate(
    migrations: Sequence[Migration],
    *,
    postgres: EmbeddedPostgres,
    environment: Mapping[str, str],
    stamp: Path,
    version: str,
) -> None:
    """Create the databases and run all `migrations` side by side, then note `version` in `stamp`.

    Safe to run again, also after an interruption. Raises LocalAirflowError with the end of the command's
    output.
    """
    for migration in migrations:
        postgres.create_database(migration.database)
    with ThreadPoolExecutor(len(migrations)) as pool:
        for finished in [pool.submit(_run, migration, environment=environment) for migration in migrations]:
            finished.result()
    write_atomically(stamp, text=version)


def is_migrated(stamp: Path, *, version: str) -> bool:
    """Say whether the databases were brought to `version`."""
    try:
        return stamp.read_text(encoding="utf-8") == version
    except FileNotFoundError:
        return False


def _run(migration: Migration, *, environment: Mapping[str, str]) -> None:
    with migration.log.open("wb") as output:
        finished = subprocess.run(
            list(migration.command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            check=False,
        )
    if finished.returncode != 0:
        raise LocalAirflowError(
            f"the database {migration.database!r} could not be migrated (exit code {finished.returncode}). "
            f"The end of the log ({migration.log}):\n{tail_of(migration.log)}"
        )
