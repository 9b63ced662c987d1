"""One psycopg connection to the records: statements, rows as dataclasses, the driver's errors translated, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Json

from scaffolder.errors import (
    InvalidParametersError,
    RecordNotFoundError,
    RecordsUnavailableError,
    SchemaVersionError,
    SettingsError,
    StatusTransitionError,
)
from scaffolder.records.doctor_models import ExaminedProject, KnownStatus, OpenExport, RecordedArchive
from scaffolder.records.models import (
    AgentCall,
    AgentCallStatus,
    AgentCircuit,
    CircuitState,
    ExportStatus,
    GeneratedProject,
    GeneratedProjectStatus,
    MemberRole,
    Project,
    ProjectAccess,
    ProjectMember,
    RepositoryExport,
    Visibility,
)

Row = TypeVar("Row")

# The columns of each kind of record that are enumerations.
_ENUMS: dict[type, dict[str, type]] = {
    Project: {"visibility": Visibility},
    ProjectMember: {"role": MemberRole},
    ProjectAccess: {"visibility": Visibility, "role": MemberRole},
    GeneratedProject: {"status": GeneratedProjectStatus, "export_status": ExportStatus},
    AgentCall: {"status": AgentCallStatus},
    AgentCircuit: {"state": CircuitState},
    RepositoryExport: {"status": ExportStatus},
    ExaminedProject: {
        "status": GeneratedProjectStatus,
        "export_status": ExportStatus,
        "newest_export_status": ExportStatus,
    },
    KnownStatus: {"status": GeneratedProjectStatus},
    RecordedArchive: {"status": ExportStatus},
    OpenExport: {"status": ExportStatus},
}


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the driver's errors into ours: away and deadlocked are transient, forbidden moves are permanent."""
    try:
        yield
    except pg.CheckViolation as error:
        if error.diag.constraint_name == "status_transition":
            raise StatusTransitionError(str(error.diag.message_primary)) from error
        raise InvalidParametersError(f"the records refuse a value: {error.diag.message_primary}") from error
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        raise InvalidParametersError(f"the records refuse a value: {error.diag.message_primary}") from error
    except (pg.UndefinedTable, pg.UndefinedColumn, pg.UndefinedFunction) as error:
        raise SchemaVersionError(
            f"the records' database lacks what this version needs ({error.diag.message_primary}): "
            "run `scaffolder db migrate`"
        ) from error
    except pg.InsufficientPrivilege as error:
        raise SettingsError(
            f"the records' database refuses its user ({error.diag.message_primary}): accepted in the connection is the "
            "user that owns the records' tables"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        reason = " ".join(str(error).split())
        raise RecordsUnavailableError(f"the records' database cannot be used now: {reason}") from error


class RecordsAccess:
    """Statements over one open connection in autocommit mode: single ones commit by themselves."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that is written inside, or nothing."""
        with translated_errors(), self._connection.transaction():
            yield

    def _execute(self, statement: LiteralString, values: dict[str, Any]) -> int:
        with translated_errors():
            return self._connection.execute(statement, values).rowcount

    def _fetch_one(self, statement: LiteralString, values: dict[str, Any]) -> dict[str, Any] | None:
        with translated_errors(), self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement, values).fetchone()

    def _rows(self, kind: type[Row], statement: LiteralString, values: dict[str, Any]) -> list[Row]:
        with translated_errors(), self._connection.cursor(row_factory=class_row(_factory(kind))) as cursor:
            return cursor.execute(statement, values).fetchall()

    def _get(self, kind: type[Row], statement: LiteralString, subject: str, key: UUID) -> Row:
        found = self._rows(kind, statement, {"id": key})
        if not found:
            raise RecordNotFoundError(f"there is no {subject} {str(key)!r}")
        return found[0]


def as_json(data: Any) -> Json:
    """Return `data` for a JSON column. Raises InvalidParametersError, on writing, where it is not JSON."""
    return Json(data, dumps=dump_json)


def as_text(text: str) -> str:
    """Return `text` fit for a text column: Postgres takes neither NUL nor lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def make_record(kind: type[Row], columns: dict[str, Any]) -> Row:
    """Return a row of a statement as the record it is."""
    record: Row = _factory(kind)(**columns)
    return record


def _factory(kind: type[Row]) -> Any:
    if kind not in _ENUMS:
        return kind
    enums = _ENUMS[kind]
    make: Any = kind

    def make_with_enums(**columns: Any) -> Any:
        for column, enum in enums.items():
            if columns[column] is not None:
                columns[column] = enum(columns[column])
        return make(**columns)

    return make_with_enums


def dump_json(data: Any) -> str:
    """Return `data` as JSON text. Raises InvalidParametersError where it is not JSON."""
    # NaN and Infinity are not JSON (RFC 8259, section 6), and Postgres refuses them.
    try:
        return json.dumps(data, allow_nan=False)
    except ValueError as error:
        raise InvalidParametersError(f"a value is not JSON: {error}") from error
