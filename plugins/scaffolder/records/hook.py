"""`ProjectRecordsHook`: the records through an Airflow connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk.exceptions import AirflowNotFoundException

from scaffolder.config import get_settings
from scaffolder.errors import SettingsError
from scaffolder.records.access import translated_errors
from scaffolder.records.store import ProjectRecords

if TYPE_CHECKING:
    import psycopg
    from airflow.sdk import Connection
    from sqlalchemy.engine import URL

DEFAULT_CONN_ID = "scaffolder_db"


class ProjectRecordsHook(PostgresHook):
    """Connect to the records' database, which is never Airflow's own.

    :param scaffolder_conn_id: a Postgres connection; its schema field names the database.
    """

    conn_name_attr = "scaffolder_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    hook_name = "Scaffolder records"

    def __init__(self, scaffolder_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(scaffolder_conn_id, **kwargs)

    @contextmanager
    def open(self, *, actor: str | None = None) -> Iterator[ProjectRecords]:
        """Yield the records over a connection of their own, closed at the end.

        `actor` is who causes the events written meanwhile. Raises RecordsUnavailableError.
        """
        with translated_errors():
            connection = cast("psycopg.Connection[Any]", self.get_conn())
        with connection:
            connection.autocommit = True
            records = ProjectRecords(connection)
            if actor:
                records.set_actor(actor)
            yield records

    def get_conn(self) -> Any:
        """Open a psycopg 3 connection, within the setting ``records_connect_timeout_seconds``."""
        extra = self._find_connection().extra_dejson
        if "connect_timeout" not in extra:
            self.connection.extra = _with_timeout(extra)
        return super().get_conn()

    def get_schema_url(self) -> URL:
        """Return the database's URL for migrations (SQLAlchemy, psycopg 3)."""
        self._find_connection()
        return self.sqlalchemy_url.set(drivername="postgresql+psycopg")

    def _find_connection(self) -> Connection:
        try:
            return self.connection
        except AirflowNotFoundException as error:
            raise SettingsError(
                f"there is no connection {self.get_conn_id()!r} for the records; accepted is one of type 'postgres'"
            ) from error


def _with_timeout(extra: dict[str, Any]) -> str:
    import json

    return json.dumps({**extra, "connect_timeout": get_settings().records_connect_timeout_seconds})
