"""Lists of records in pages: filtered, sorted, and continued after the last row seen instead of counted off.

A page costs the same wherever it is: each begins at a key that an index leads to (keyset pagination). Statements are
put together here from this module's constants; values are always parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, LiteralString, TypeVar
from uuid import UUID

from psycopg.rows import dict_row

from scaffolder.records.access import RecordsAccess, make_record, translated_errors
from scaffolder.records.models import (
    AgentCall,
    AgentDescription,
    Endpoint,
    Event,
    GeneratedProject,
    Project,
    ProjectFile,
    ProjectMember,
    RepositoryExport,
)

Record = TypeVar("Record")

# The last character there is: in byte order, whatever begins with a prefix comes before the prefix and this.
_LAST: Final = chr(0x10FFFF)


@dataclass(frozen=True, kw_only=True)
class Order:
    """How a list is sorted. `key` is one of the list's sort keys; rows with equal keys are sorted by their id."""

    key: str
    descending: bool = False


@dataclass(frozen=True, kw_only=True)
class PageOf(Generic[Record]):
    """Some records and, where there are more, the key (sort value, id) that the next page begins after."""

    items: list[Record]
    after: tuple[str, str] | None


@dataclass(frozen=True, kw_only=True)
class List:
    """One kind of list: what it selects, its sort keys as (expression, type), its id, and its filters."""

    kind: type
    select: LiteralString
    keys: Mapping[str, tuple[LiteralString, LiteralString]]
    id: tuple[LiteralString, LiteralString]
    filters: Mapping[str, LiteralString]


_VISIBLE: Final[LiteralString] = """
(
    %(sees_all)s OR p.visibility <> 'private'
    OR EXISTS (SELECT FROM project_member m WHERE m.project_id = p.id AND m.username = %(username)s)
)
"""

PROJECTS: Final = List(
    kind=Project,
    select=f"""
        SELECT p.slug, p.name, p.description, p.visibility, p.generated_count, p.created_by, p.created_at, p.updated_at
        FROM project p WHERE {_VISIBLE}
    """,
    keys={
        "slug": ('p.slug COLLATE "C"', "text"),
        "name": ('p.name COLLATE "C"', "text"),
        "created_at": ("p.created_at", "timestamptz"),
    },
    id=('p.slug COLLATE "C"', "text"),
    filters={
        "visibility": "p.visibility = ANY(%(visibility)s)",
        "search": "(position(lower(%(search)s) IN p.slug) > 0 OR position(lower(%(search)s) IN lower(p.name)) > 0)",
        "member": """EXISTS (
            SELECT FROM project_member m WHERE m.project_id = p.id AND m.username = %(member)s
        )""",
    },
)

MEMBERS: Final = List(
    kind=ProjectMember,
    select="""
        SELECT m.username, m.role, m.created_at FROM project_member m
        WHERE m.project_id = (SELECT id FROM project WHERE slug = %(project)s)
    """,
    keys={"username": ('m.username COLLATE "C"', "text"), "created_at": ("m.created_at", "timestamptz")},
    id=('m.username COLLATE "C"', "text"),
    filters={"role": "m.role = ANY(%(role)s)"},
)

_GENERATED: Final[LiteralString] = """
    SELECT g.id, p.slug AS project, g.name, g.workflow, g.dag_id, g.run_id, g.run_at, '{}'::json AS params, g.status,
        g.head_commit, g.file_count, g.size_bytes, g.expires_at, g.held, g.hold_reason, g.held_by, g.held_until,
        g.export_count, g.export_status, g.ended_at, g.removal_reason, g.regenerated_from, g.error, g.created_by,
        g.created_at, g.updated_at
    FROM generated_project g JOIN project p ON p.id = g.project_id
"""

_GENERATED_KEYS: Final[Mapping[str, tuple[LiteralString, LiteralString]]] = {
    "created_at": ("g.created_at", "timestamptz"),
    "name": ('g.name COLLATE "C"', "text"),
    "size_bytes": ("g.size_bytes", "bigint"),
    "expires_at": ("coalesce(g.expires_at, 'infinity')", "timestamptz"),
}

_GENERATED_FILTERS: Final[Mapping[str, LiteralString]] = {
    "status": "g.status = ANY(%(status)s)",
    "workflow": "g.workflow = %(workflow)s",
    "created_by": "g.created_by = %(created_by)s",
    "held": "g.held = %(held)s",
    "export_status": "g.export_status = ANY(%(export_status)s)",
    "name_prefix": 'g.name COLLATE "C" >= %(name_prefix)s AND g.name COLLATE "C" < %(name_prefix_end)s',
    "created_from": "g.created_at >= %(created_from)s",
    "created_until": "g.created_at < %(created_until)s",
}

GENERATED_OF_PROJECT: Final = List(
    kind=GeneratedProject,
    select=_GENERATED + "WHERE g.project_id = (SELECT id FROM project WHERE slug = %(project)s)",
    keys=_GENERATED_KEYS,
    id=("g.id", "uuid"),
    filters=_GENERATED_FILTERS,
)

GENERATED: Final = List(
    kind=GeneratedProject,
    select=_GENERATED + f"WHERE {_VISIBLE}",
    keys={"created_at": _GENERATED_KEYS["created_at"]},
    id=("g.id", "uuid"),
    filters=_GENERATED_FILTERS,
)

# The tree as it was at one commit: of each path, what the last commit until then did.
FILES: Final = List(
    kind=ProjectFile,
    select="""
        SELECT t.path, t.sha256, t.size_bytes, t.mode, t.origin, t.step_id
        FROM (
            SELECT DISTINCT ON (f.path) f.path, f.sha256, f.size_bytes, f.mode, f.origin, c.step_id
            FROM file_change f JOIN project_commit c USING (generated_project_id, position)
            WHERE f.generated_project_id = %(generated_project_id)s AND f.position <= %(position)s
            ORDER BY f.path, f.position DESC
        ) t
        WHERE t.sha256 IS NOT NULL
    """,
    keys={"path": ("t.path", "text"), "size_bytes": ("t.size_bytes", "bigint")},
    id=("t.path", "text"),
    filters={
        "prefix": "t.path >= %(prefix)s AND t.path < %(prefix_end)s",
        "path": "t.path = %(path)s",
        "suffix": "right(t.path, length(%(suffix)s)) = %(suffix)s",
        "step_id": "t.step_id = %(step_id)s",
        "origin": "starts_with(t.origin, %(origin)s)",
    },
)

EXPORTS: Final = List(
    kind=RepositoryExport,
    select="""
        SELECT e.id, e.generated_project_id, e.step_id, e.target, e.connection, e.location, '{}'::json AS options,
            e.status, e.idempotency_key, e.nonce, e."commit", e.remote_name, e.remote_id, e.created_remote,
            e.exported_commit, e.branch, e.steps_done, e.result, e.rollback, e.url, e.archive_path, e.archive_sha256,
            e.error, e.dag_id, e.run_id, e.created_at, e.updated_at
        FROM repository_export e WHERE e.generated_project_id = %(generated_project_id)s
    """,
    keys={"created_at": ("e.created_at", "timestamptz")},
    id=("e.id", "uuid"),
    filters={
        "status": "e.status = ANY(%(status)s)",
        "target": "e.target = %(target)s",
        "run_id": "e.run_id = %(run_id)s",
    },
)

# Nothing of what an agent was asked or answered.
AGENT_CALLS: Final = List(
    kind=AgentCall,
    select="""
        SELECT c.id, c.generated_project_id, c.step_id, c.part_of, c.connection, c.operation, c.model,
            c.request_digest, c.status, c.http_status, NULL::json AS response, c.error, c.attempts, c.latency_ms,
            c.input_tokens, c.output_tokens, c.cost, c.replayed_from, '' AS idempotency_key, c.in_doubt, c.is_settled,
            NULL::json AS job, c.created_at, c.updated_at
        FROM agent_call c WHERE c.generated_project_id = %(generated_project_id)s
    """,
    keys={"created_at": ("c.created_at", "timestamptz")},
    id=("c.id", "uuid"),
    filters={
        "status": "c.status = ANY(%(status)s)",
        "step_id": "c.step_id = %(step_id)s",
        "connection": "c.connection = %(connection)s",
    },
)

_EVENT: Final[LiteralString] = """
    SELECT v.id, v.generated_project_id, v.project_id, v.subject, v.subject_id, v.kind, v.detail, v.actor, v."at"
    FROM event v
"""
_EVENT_FILTERS: Final[Mapping[str, LiteralString]] = {
    "subject": "v.subject = ANY(%(subject)s)",
    "kind": "v.kind = ANY(%(kind)s)",
}

EVENTS_OF_GENERATED: Final = List(
    kind=Event,
    select=_EVENT + "WHERE v.generated_project_id = %(generated_project_id)s",
    keys={"id": ("v.id", "bigint")},
    id=("v.id", "bigint"),
    filters=_EVENT_FILTERS,
)

EVENTS_OF_PROJECT: Final = List(
    kind=Event,
    select=_EVENT + "WHERE v.project_id = (SELECT id FROM project WHERE slug = %(project)s)",
    keys={"id": ("v.id", "bigint")},
    id=("v.id", "bigint"),
    filters=_EVENT_FILTERS,
)

AGENTS: Final = List(
    kind=AgentDescription,
    select="""
        SELECT d.connection, d.kind, d.source, d.base_url, d.title, d.version, d.description, d.etag, d.digest,
            d.warnings, d.checked_at, d.changed_at
        FROM agent_description d WHERE true
    """,
    keys={"connection": ('d.connection COLLATE "C"', "text")},
    id=('d.connection COLLATE "C"', "text"),
    filters={"kind": "d.kind = ANY(%(kind)s)"},
)

# Without definitions: those of a large agent are megabytes.
ENDPOINTS: Final = List(
    kind=Endpoint,
    select="""
        SELECT n.connection, n.operation_id, n.method, n.path, n.summary, '{}'::json AS definition, n.digest,
            n.first_seen_at, n.changed_at, n.gone_at
        FROM endpoint n WHERE n.connection = %(connection)s
    """,
    keys={"operation_id": ('n.operation_id COLLATE "C"', "text"), "path": ('n.path COLLATE "C"', "text")},
    id=('n.operation_id COLLATE "C"', "text"),
    filters={"method": "n.method = ANY(%(method)s)", "gone": "(n.gone_at IS NOT NULL) = %(gone)s"},
)


class RecordListing(RecordsAccess):
    """Pages of lists, over one open connection."""

    def list(
        self,
        what: List,
        *,
        order: Order,
        limit: int,
        after: tuple[str, str] | None = None,
        within: Mapping[str, Any] | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> PageOf[Any]:
        """Return up to `limit` records of `what` that come after the key `after`.

        `within` are the values that the list itself asks for (``project``, ``generated_project_id`` ...); of `filters`
        those that are None don't filter. Raises InvalidParametersError for a key that is none of the list's.
        """
        given = {name: value for name, value in (filters or {}).items() if value is not None}
        values: dict[str, Any] = {**(within or {}), **given, "limit": limit + 1}
        for name in ("prefix", "name_prefix"):
            if name in given:
                values[f"{name}_end"] = given[name] + _LAST
        conditions = [what.filters[name] for name in given]
        if after is not None:
            conditions.append(_continue(what, order))
            values |= {"after_key": after[0], "after_id": after[1]}
        expression = what.keys[order.key][0]
        direction: LiteralString = "DESC" if order.descending else "ASC"
        statement = (
            what.select.replace("SELECT", f"SELECT ({expression})::text AS _key, ({what.id[0]})::text AS _id,", 1)
            + "".join(f" AND ({condition})" for condition in conditions)
            + f" ORDER BY {expression} {direction}, {what.id[0]} {direction} LIMIT %(limit)s"
        )
        with translated_errors(), self._connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(statement, values).fetchall()
        return _make_page(what, rows, limit=limit)

    def count_entries(
        self, generated_project_id: UUID, *, position: int, directory: str
    ) -> Sequence[Mapping[str, Any]]:
        """Return what is in one directory (``""`` is the top) at a commit, by name: ``name, files, size_bytes, file``.

        `files` and `size_bytes` count all that is below; `file` says that it is a file itself.
        """
        prefix = f"{directory}/" if directory else ""
        values = {
            "generated_project_id": generated_project_id,
            "position": position,
            "prefix": prefix,
            "prefix_end": prefix + _LAST,
        }
        with translated_errors(), self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_ENTRIES, values).fetchall()


_ENTRIES: Final[LiteralString] = f"""
SELECT split_part(substr(path, length(%(prefix)s) + 1), '/', 1) AS name, count(*) AS files,
    sum(size_bytes)::bigint AS size_bytes, bool_and(position('/' IN substr(path, length(%(prefix)s) + 1)) = 0) AS file
FROM ({FILES.select} AND {FILES.filters["prefix"]}) tree
GROUP BY 1 ORDER BY 1
"""


def _continue(what: List, order: Order) -> LiteralString:
    """Return the condition that a row comes after the last one seen."""
    key, key_type = what.keys[order.key]
    own_id, id_type = what.id
    comparison: LiteralString = "<" if order.descending else ">"
    if key == own_id:
        return f"{key} {comparison} %(after_key)s::{key_type}"
    return f"({key}, {own_id}) {comparison} (%(after_key)s::{key_type}, %(after_id)s::{id_type})"


def _make_page(what: List, rows: Sequence[dict[str, Any]], *, limit: int) -> PageOf[Any]:
    last = rows[limit - 1] if len(rows) > limit else None
    after = (last["_key"], last["_id"]) if last is not None else None
    items: list[Any] = [
        make_record(what.kind, {name: value for name, value in row.items() if name not in ("_key", "_id")})
        for row in rows[:limit]
    ]
    return PageOf(items=items, after=after)
