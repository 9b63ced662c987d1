"""Connections to the records for requests: kept open between them, one pool for each process of the API server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import psycopg

from scaffolder.config import get_settings
from scaffolder.errors import RecordsUnavailableError
from scaffolder.records.access import translated_errors
from scaffolder.records.hook import ProjectRecordsHook
from scaffolder.records.store import ProjectRecords

if TYPE_CHECKING:
    from sqlalchemy.pool import QueuePool

_making = threading.Lock()


@contextmanager
def open_records(*, actor: str | None = None) -> Iterator[ProjectRecords]:
    """Yield the records over a connection from the pool; `actor` is who causes the events written meanwhile.

    Keep it short: there are as many as the setting ``records_pool_size`` says. Raises RecordsUnavailableError.
    """
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    with translated_errors():
        try:
            with _making:
                pool = _get_pool()
            lent = pool.connect()
        except PoolTimeoutError as error:
            raise RecordsUnavailableError(f"all {get_settings().records_pool_size} connections are in use") from error
    try:
        records = ProjectRecords(cast("psycopg.Connection[Any]", lent.dbapi_connection))
        # A connection keeps who had it before.
        records.set_actor(actor)
        yield records
    except RecordsUnavailableError:
        lent.invalidate()
        raise
    finally:
        lent.close()


def close_pool() -> None:
    """Close the pool's connections; the next request opens a new one."""
    with _making:
        if _get_pool.cache_info().currsize:
            _get_pool().dispose()
        _get_pool.cache_clear()


@cache
def _get_pool() -> QueuePool:
    from sqlalchemy import event
    from sqlalchemy.exc import DisconnectionError
    from sqlalchemy.pool import QueuePool

    settings = get_settings()
    pool = QueuePool(
        _connect,
        pool_size=settings.records_pool_size,
        max_overflow=0,
        timeout=settings.records_connect_timeout_seconds,
        use_lifo=True,
    )

    def check(connection: Any, *_: Any) -> None:
        # Postgres may have been restarted since.
        try:
            connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise DisconnectionError from error

    event.listen(pool, "checkout", check)
    return pool


def _connect() -> Any:
    connection = ProjectRecordsHook().get_conn()
    connection.autocommit = True
    return connection
