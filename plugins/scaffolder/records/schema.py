"""The schema of the records: migrate it forward and back, and check that it is the one this version needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scaffolder.errors import SchemaVersionError
from scaffolder.records import statements
from scaffolder.records.access import translated_errors

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import URL, Connection

LATEST_REVISION: Final = "0008"
_LOCK_KEY: Final = 0x5CAFF01D
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def migrate(url: URL, *, revision: str = "head") -> str:
    """Bring the schema to `revision` (``head``, ``base`` or a revision) and return the one it has then.

    Going back drops what later revisions added, with its data. Raises SchemaVersionError where the schema is that of a
    later version of this package, which alone knows the way back.

    Safe to run twice and concurrently: a session lock lets one migration run at a time, the others find it done.
    """
    from alembic import command

    with _locked(url) as connection:
        current = _current(connection)
        if current is not None and current > LATEST_REVISION:
            raise SchemaVersionError(_describe_other(current))
        config = _config(connection)
        backward = revision == "base" or (revision != "head" and revision < (current or ""))
        (command.downgrade if backward else command.upgrade)(config, revision)
        connection.commit()
        return _current(connection) or "base"


def check(url: URL) -> str:
    """Return the schema's revision. Raises SchemaVersionError where it is not the one this version needs."""
    with _connected(url) as connection:
        current = _current(connection)
    if current != LATEST_REVISION:
        raise SchemaVersionError(_describe_other(current))
    return current


def _describe_other(current: str | None) -> str:
    advice = "run `scaffolder db migrate`"
    if current is not None and current > LATEST_REVISION:
        way_back = f"`scaffolder db migrate --revision {LATEST_REVISION}`"
        advice = f"install the version that has it, or let that one go back: {way_back}"
    return f"the records' schema is at revision {current!r}, this version needs {LATEST_REVISION!r}: {advice}"


@contextmanager
def _connected(url: URL) -> Iterator[Connection]:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    engine = create_engine(url, poolclass=NullPool)
    try:
        with translated_errors():
            try:
                with engine.connect() as connection:
                    yield connection
            except DBAPIError as error:
                raise (error.orig or error) from error
    finally:
        engine.dispose()


@contextmanager
def _locked(url: URL) -> Iterator[Connection]:
    with _connected(url) as connection:
        key = {"key": _LOCK_KEY}
        connection.exec_driver_sql(statements.LOCK_MIGRATIONS, key)
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.exec_driver_sql(statements.UNLOCK_MIGRATIONS, key)
            connection.commit()


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _current(connection: Connection) -> str | None:
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()
