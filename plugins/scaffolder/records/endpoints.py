"""What agents say they offer: their descriptions and endpoints, as of when they were last looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scaffolder.errors import RecordNotFoundError
from scaffolder.records import statements
from scaffolder.records.access import RecordsAccess, as_json, as_text, dump_json, translated_errors
from scaffolder.records.models import AgentDescription, Endpoint

DescriptionKind = Literal["openapi", "a2a", "mcp"]


@dataclass(frozen=True, kw_only=True)
class OfferedEndpoint:
    """One operation as it was found. See `scaffolder.records.models.Endpoint`."""

    operation_id: str
    method: str
    path: str
    summary: str
    definition: dict[str, Any] = field(repr=False)
    digest: str


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What an agent was found to offer. See `scaffolder.records.models.AgentDescription`.

    `servers` are the URLs that an OpenAPI document names; they are not recorded.
    """

    kind: DescriptionKind
    source: str
    title: str
    version: str
    description: str
    etag: str | None
    digest: str
    warnings: tuple[str, ...]
    endpoints: tuple[OfferedEndpoint, ...] = field(repr=False)
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EndpointChanges:
    """What is different since the last look, as operation ids in order. One that came back counts as added."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class EndpointRecords(RecordsAccess):
    """Descriptions of agents and their endpoints, over one open connection."""

    def list_descriptions(self) -> list[AgentDescription]:
        """Return the descriptions of all agents, by connection."""
        return self._rows(AgentDescription, statements.SELECT_DESCRIPTIONS, {})

    def find_description(self, connection: str) -> AgentDescription | None:
        """Return the agent's description, None where it was never looked at."""
        found = self._rows(AgentDescription, statements.SELECT_DESCRIPTION, {"connection": connection})
        return found[0] if found else None

    def get_description(self, connection: str) -> AgentDescription:
        """Return the agent's description. Raises RecordNotFoundError."""
        found = self.find_description(connection)
        if found is None:
            raise RecordNotFoundError(f"there is no description of agent {connection!r}")
        return found

    def is_fresh(self, connection: str, *, max_age_seconds: int) -> bool:
        """Say whether the agent's description was looked at within `max_age_seconds`."""
        values = {"connection": connection, "seconds": max_age_seconds}
        row = self._fetch_one(statements.SELECT_FRESHNESS, values)
        return row is not None and bool(row["fresh"])

    def list_endpoints(self, connection: str, *, with_definitions: bool = False) -> list[Endpoint]:
        """Return the agent's endpoints by path and method, those that are gone too.

        Without `with_definitions` their definitions are empty: those of large agents are large.
        """
        statement = statements.SELECT_ENDPOINTS if with_definitions else statements.SELECT_ENDPOINTS_IN_SHORT
        return self._rows(Endpoint, statement, {"connection": connection})

    def find_endpoint(self, connection: str, operation_id: str) -> Endpoint | None:
        """Return one endpoint, gone or not; None where there never was one."""
        values = {"connection": connection, "operation_id": operation_id}
        found = self._rows(Endpoint, statements.SELECT_ENDPOINT, values)
        return found[0] if found else None

    def get_endpoint(self, connection: str, operation_id: str) -> Endpoint:
        """Return one endpoint, gone or not. Raises RecordNotFoundError."""
        found = self.find_endpoint(connection, operation_id)
        if found is None:
            raise RecordNotFoundError(f"agent {connection!r} has no endpoint {operation_id!r}")
        return found

    def confirm(self, connection: str) -> None:
        """Record that the agent was looked at and offers what it did."""
        self._execute(statements.CONFIRM_DESCRIPTION, {"connection": connection})

    def forget(self, connection: str) -> None:
        """Delete the agent's description and its endpoints, as if it was never looked at."""
        self._execute(statements.DELETE_DESCRIPTION, {"connection": connection})

    def write(self, connection: str, offer: Offer, *, base_url: str = "") -> EndpointChanges:
        """Record what the agent offers below `base_url`, and return what has changed.

        Endpoints that it no longer has are marked, not deleted. Nothing is rewritten that is as it was. Safe to run
        concurrently: the second finds nothing changed.
        """
        with self.transaction():
            # The row of the description is the lock for the endpoints.
            self._execute(
                statements.UPSERT_DESCRIPTION, {"connection": connection, "base_url": base_url, **_describe(offer)}
            )
            before = {one.operation_id: one for one in self.list_endpoints(connection)}
            offered = {one.operation_id: one for one in offer.endpoints}
            there = {key for key, one in before.items() if one.gone_at is None}
            changes = EndpointChanges(
                added=tuple(key for key in offered if key not in there),
                changed=tuple(key for key in offered if key in there and offered[key].digest != before[key].digest),
                gone=tuple(key for key in before if key in there and key not in offered),
            )
            self._insert(connection, [offered[key] for key in changes.added if key not in before])
            self._update(connection, [offered[key] for key in (*changes.added, *changes.changed) if key in before])
            if changes.gone:
                self._execute(statements.MARK_ENDPOINTS_GONE, {"connection": connection, "ids": list(changes.gone)})
        return changes

    def _insert(self, connection: str, endpoints: Sequence[OfferedEndpoint]) -> None:
        if not endpoints:
            return
        with translated_errors(), self._connection.cursor() as cursor, cursor.copy(statements.COPY_ENDPOINTS) as copy:
            for one in endpoints:
                copy.write_row((connection, *_columns(one)))

    def _update(self, connection: str, endpoints: Sequence[OfferedEndpoint]) -> None:
        if not endpoints:
            return
        names = ("operation_ids", "methods", "paths", "summaries", "definitions", "digests")
        columns = zip(*map(_columns, endpoints), strict=True)
        values = {name: list(column) for name, column in zip(names, columns, strict=True)}
        self._execute(statements.UPDATE_ENDPOINTS, {"connection": connection, **values})


def _describe(offer: Offer) -> dict[str, Any]:
    return {
        "kind": offer.kind,
        "source": as_text(offer.source),
        "title": as_text(offer.title),
        "version": as_text(offer.version),
        "description": as_text(offer.description),
        "etag": _text_or_none(offer.etag),
        "digest": offer.digest,
        "warnings": as_json(list(offer.warnings)),
    }


def _columns(endpoint: OfferedEndpoint) -> tuple[str, ...]:
    texts = (endpoint.operation_id, endpoint.method, endpoint.path, endpoint.summary)
    return (*map(as_text, texts), dump_json(endpoint.definition), endpoint.digest)


def _text_or_none(text: str | None) -> str | None:
    return None if text is None else as_text(text)
