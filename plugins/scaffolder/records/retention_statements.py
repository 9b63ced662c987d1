"""The SQL statements of retention, named: what is due and what is kept, claims, removal, and what is swept."""

from __future__ import annotations

from typing import Final, LiteralString

# What the rules say of each generated project: of each thing that rules say, the first that fits. -1 days are for ever.
_RULED: Final = """
    generated_project g
    JOIN project p ON p.id = g.project_id
    CROSS JOIN LATERAL (
        SELECT
            (array_agg(r.days ORDER BY r.position) FILTER (WHERE r.days IS NOT NULL))[1] AS days,
            (array_agg(r.keep_newest ORDER BY r.position) FILTER (WHERE r.keep_newest IS NOT NULL))[1] AS keep_newest,
            (array_agg(r.keep_unexported ORDER BY r.position) FILTER (WHERE r.keep_unexported IS NOT NULL))[1]
                AS keep_unexported
        FROM unnest(
            %(projects)s::text[], %(workflows)s::text[], %(statuses)s::text[], %(days)s::int[], %(keep_newest)s::int[],
            %(keep_unexported)s::boolean[]
        ) WITH ORDINALITY AS r (project, workflow, status, days, keep_newest, keep_unexported, position)
        WHERE p.slug LIKE r.project AND g.workflow LIKE r.workflow AND (r.status IS NULL OR r.status = g.status)
    ) rule
"""

_EXPIRY: Final = """
    CASE WHEN rule.days >= 0 THEN g.ended_at + make_interval(days => rule.days) END
"""

# Those whose days have passed, with why they are kept all the same, as of one moment.
_OLD: Final = f"""
SELECT g.id, p.slug AS project, g.name, g.workflow, g.dag_id, g.run_id, g.status, g.ended_at, g.file_count,
    g.size_bytes, rule.days || ' days after it was ' || g.status AS reason,
    CASE
        WHEN g.held AND (g.held_until IS NULL OR g.held_until > %(as_of)s) THEN
            'held by ' || coalesce(g.held_by, 'somebody')
            || coalesce(' until ' || to_char(g.held_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'), '')
            || coalesce(': ' || g.hold_reason, '')
        WHEN EXISTS (
            SELECT FROM repository_export e
            WHERE e.generated_project_id = g.id AND e.status IN ('pending', 'exporting')
        ) THEN 'it is being exported'
        WHEN g.status = 'ready' AND rule.keep_unexported AND g.export_count = 0 THEN 'it was not exported'
        WHEN g.status = 'ready' AND rule.keep_newest > 0 AND coalesce(
            (g.created_at, g.id) >= (nth.created_at, nth.id), true
        ) THEN 'it is one of the newest ' || rule.keep_newest || ' of its project'
    END AS kept
FROM {_RULED}
    LEFT JOIN LATERAL (
        SELECT n.created_at, n.id FROM generated_project n
        WHERE n.project_id = p.id AND n.status = 'ready'
        ORDER BY n.created_at DESC, n.id DESC OFFSET greatest(rule.keep_newest - 1, 0) LIMIT 1
    ) nth ON rule.keep_newest > 0
WHERE g.status IN ('ready', 'failed') AND rule.days >= 0
    AND g.ended_at <= %(as_of)s - make_interval(days => rule.days)
"""

_PLAIN: Final = """
    g.id, p.slug AS project, g.name, g.workflow, g.dag_id, g.run_id, g.status, g.ended_at, g.file_count, g.size_bytes,
    g.removal_reason AS reason, NULL AS kept
"""

SELECT_NOW: Final[LiteralString] = "SELECT now() AS now"

# Each status by itself: what fails may go much earlier than what is ready, and no row is read for nothing.
_OLD_READY: Final = f"""{_OLD}
    AND g.status = 'ready' AND g.ended_at <= %(as_of)s - make_interval(days => %(least_ready_days)s)
    AND (%(project)s::text IS NULL OR p.slug = %(project)s)
"""

_OLD_FAILED: Final = f"""{_OLD}
    AND g.status = 'failed' AND g.ended_at <= %(as_of)s - make_interval(days => %(least_failed_days)s)
    AND (%(project)s::text IS NULL OR p.slug = %(project)s)
"""

_PAGE: Final = "AND (g.ended_at, g.id) > (%(after_at)s, %(after_id)s) ORDER BY g.ended_at, g.id LIMIT %(limit)s"

SELECT_OLD: Final[LiteralString] = f"""
SELECT id, project, name, workflow, dag_id, run_id, status, ended_at, file_count, size_bytes, reason, kept
FROM (({_OLD_READY} {_PAGE}) UNION ALL ({_OLD_FAILED} {_PAGE})) old
ORDER BY ended_at, id
LIMIT %(limit)s
"""

COUNT_OLD: Final[LiteralString] = f"""
SELECT count(*) AS projects, extract(epoch FROM %(as_of)s - min(ended_at))::float8 AS oldest_seconds
FROM (({_OLD_READY}) UNION ALL ({_OLD_FAILED})) old
WHERE kept IS NULL
"""

SET_EXPIRY: Final[LiteralString] = f"""
UPDATE generated_project SET expires_at = ruled.expires_at
FROM (SELECT g.id, {_EXPIRY} AS expires_at FROM {_RULED} WHERE g.id = %(id)s) ruled
WHERE generated_project.id = ruled.id
"""

# Where the rules have changed since; one page of ids at a time.
RESTATE_EXPIRIES: Final[LiteralString] = f"""
WITH page AS (
    SELECT id FROM generated_project WHERE status IN ('ready', 'failed') AND id > %(after)s ORDER BY id LIMIT %(limit)s
), restated AS (
    UPDATE generated_project SET expires_at = ruled.expires_at
    FROM (
        SELECT g.id, {_EXPIRY} AS expires_at FROM {_RULED}
        WHERE g.id IN (SELECT id FROM page) AND g.status IN ('ready', 'failed')
            AND g.expires_at IS DISTINCT FROM {_EXPIRY}
        ORDER BY g.id FOR UPDATE OF g SKIP LOCKED
    ) ruled
    WHERE generated_project.id = ruled.id
    RETURNING ruled.id
)
SELECT (SELECT id FROM page ORDER BY id DESC LIMIT 1) AS last, (SELECT count(*) FROM restated) AS restated
"""

# Claims

TRY_CLAIM: Final[LiteralString] = "SELECT pg_try_advisory_lock(%(space)s, %(claim)s) AS got"

RELEASE_CLAIM: Final[LiteralString] = "SELECT pg_advisory_unlock(%(space)s, %(claim)s)"

SELECT_CLAIMS: Final[LiteralString] = """
SELECT DISTINCT removal_claim AS claim FROM generated_project
WHERE status = 'expired' AND removal_claim <> %(own)s
"""

LOCK_CANDIDATES: Final[LiteralString] = """
SELECT id FROM generated_project WHERE id = ANY(%(ids)s) AND status IN ('ready', 'failed')
ORDER BY id FOR UPDATE SKIP LOCKED
"""

# The locks are held by now: nothing can begin on them, and what has begun before is seen.
CLAIM_DUE: Final[LiteralString] = f"""
UPDATE generated_project
SET status = 'expired', removal_reason = old.reason, removal_run = %(run)s, removal_claim = %(claim)s
FROM ({_OLD} AND g.id = ANY(%(ids)s)) old
WHERE generated_project.id = old.id AND old.kept IS NULL
RETURNING old.id, old.project, old.name, old.workflow, old.dag_id, old.run_id, old.status, old.ended_at,
    old.file_count, old.size_bytes, old.reason, old.kept
"""

TAKE_OVER: Final[LiteralString] = f"""
WITH taken AS (
    SELECT g.id FROM generated_project g JOIN project p ON p.id = g.project_id
    WHERE g.status = 'expired' AND (g.removal_claim IS NULL OR g.removal_claim = ANY(%(dead)s))
        AND g.id > %(after)s AND (%(project)s::text IS NULL OR p.slug = %(project)s)
    ORDER BY g.id LIMIT %(limit)s FOR UPDATE OF g SKIP LOCKED
), claimed AS (
    UPDATE generated_project g SET removal_claim = %(claim)s, removal_run = %(run)s
    FROM taken WHERE g.id = taken.id RETURNING g.*
)
SELECT {_PLAIN} FROM claimed g JOIN project p ON p.id = g.project_id ORDER BY g.id
"""

COUNT_UNFINISHED: Final[LiteralString] = """
SELECT count(*) AS projects FROM generated_project g JOIN project p ON p.id = g.project_id
WHERE g.status = 'expired' AND (%(project)s::text IS NULL OR p.slug = %(project)s)
"""

SELECT_UNFINISHED: Final[LiteralString] = f"""
SELECT {_PLAIN} FROM generated_project g JOIN project p ON p.id = g.project_id
WHERE g.status = 'expired' AND g.id > %(after)s AND (%(project)s::text IS NULL OR p.slug = %(project)s)
ORDER BY g.id LIMIT %(limit)s
"""

SELECT_DUE: Final[LiteralString] = f"SELECT id FROM ({_OLD} AND g.id = ANY(%(ids)s)) old WHERE kept IS NULL"

# Whose directory is whose

SELECT_INSTALLATION: Final[LiteralString] = "SELECT id, has_directory FROM installation"

NOTE_DIRECTORY: Final[LiteralString] = "UPDATE installation SET has_directory = true WHERE NOT has_directory"

SELECT_HAS_FILES: Final[LiteralString] = """
SELECT EXISTS (SELECT FROM generated_project WHERE head_commit IS NOT NULL AND status <> 'deleted') AS has_files
"""

# Removal

EXPIRE: Final[LiteralString] = """
UPDATE generated_project SET status = 'expired', removal_reason = %(reason)s
WHERE id = %(id)s AND status NOT IN ('expired', 'deleted')
"""

DELETE_FILE_CHANGES: Final[LiteralString] = """
DELETE FROM file_change WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM file_change WHERE generated_project_id = ANY(%(ids)s) LIMIT %(limit)s
))
"""

DELETE_COMMITS: Final[LiteralString] = "DELETE FROM project_commit WHERE generated_project_id = ANY(%(ids)s)"

# What they have cost counts on.
FORGET_ANSWERS: Final[LiteralString] = """
UPDATE agent_call SET response = NULL, job = NULL
WHERE generated_project_id = ANY(%(ids)s) AND (response IS NOT NULL OR job IS NOT NULL)
"""

MARK_DELETED: Final[LiteralString] = """
UPDATE generated_project SET status = 'deleted', removal_claim = NULL WHERE id = ANY(%(ids)s) AND status = 'expired'
"""

SELECT_REMOVED: Final[LiteralString] = f"""
SELECT {_PLAIN} FROM generated_project g JOIN project p ON p.id = g.project_id
WHERE g.removal_run = %(run)s AND g.status = 'deleted'
ORDER BY g.ended_at, g.id LIMIT %(limit)s
"""

COUNT_REMOVED: Final[LiteralString] = """
SELECT count(*) AS projects, coalesce(sum(file_count), 0)::bigint AS files,
    coalesce(sum(size_bytes), 0)::bigint AS size_bytes
FROM generated_project WHERE removal_run = %(run)s AND status = 'deleted'
"""

# What is swept

SELECT_UNDER_WAY: Final[LiteralString] = """
SELECT id, 'generated project' AS subject, id AS generated_project_id, dag_id, run_id, updated_at
FROM generated_project
WHERE status IN ('pending', 'generating') AND updated_at <= %(as_of)s - make_interval(secs => %(grace_seconds)s)
    AND id > %(after)s
ORDER BY id LIMIT %(limit)s
"""

SELECT_OPEN_EXPORTS: Final[LiteralString] = """
SELECT e.id, 'repository export' AS subject, e.generated_project_id, coalesce(e.dag_id, g.dag_id) AS dag_id,
    coalesce(e.run_id, g.run_id) AS run_id, e.updated_at
FROM repository_export e JOIN generated_project g ON g.id = e.generated_project_id
WHERE e.status IN ('pending', 'exporting') AND e.updated_at <= %(as_of)s - make_interval(secs => %(grace_seconds)s)
    AND e.id > %(after)s
ORDER BY e.id LIMIT %(limit)s
"""

# Exports are locked before their generated project, everywhere.
LOCK_OPEN_EXPORTS: Final[LiteralString] = """
SELECT id FROM repository_export
WHERE generated_project_id = %(id)s AND status IN ('pending', 'exporting') ORDER BY id FOR UPDATE
"""

LOCK_UNDER_WAY: Final[LiteralString] = """
SELECT id FROM generated_project
WHERE id = %(id)s AND status IN ('pending', 'generating') AND updated_at = %(updated_at)s FOR UPDATE
"""

FAIL_ABANDONED_EXPORT: Final[LiteralString] = """
UPDATE repository_export SET status = 'failed', error = %(error)s
WHERE id = %(id)s AND status IN ('pending', 'exporting') AND updated_at = %(updated_at)s
"""

SELECT_WITHOUT_RECORD: Final[LiteralString] = """
SELECT d.id FROM unnest(%(ids)s::uuid[]) AS d (id)
WHERE NOT EXISTS (SELECT FROM generated_project g WHERE g.id = d.id AND g.status <> 'deleted')
"""

SELECT_WITH_FILES: Final[LiteralString] = """
SELECT id FROM generated_project
WHERE status IN ('ready', 'generating') AND head_commit IS NOT NULL AND id > %(after)s
    AND updated_at <= %(as_of)s - make_interval(secs => %(grace_seconds)s)
ORDER BY id LIMIT %(limit)s
"""

SELECT_ARCHIVE_FILES: Final[LiteralString] = """
SELECT generated_project_id AS id, bool_or(status IN ('pending', 'exporting')) AS is_open,
    array_remove(
        array_agg(archive_path) || array_agg(result ->> 'manifest_path') || array_agg(result ->> 'bundle_path'), NULL
    ) AS paths
FROM repository_export
WHERE generated_project_id = ANY(%(ids)s) AND status IN ('pending', 'exporting', 'exported')
GROUP BY generated_project_id
"""

# Rows that go, each kind as what selects them, what counts them, and what takes some of them.

_ANSWERS: Final = """
    SELECT c.id FROM agent_call c JOIN generated_project g ON g.id = c.generated_project_id
    WHERE g.status = 'deleted' AND (c.response IS NOT NULL OR c.job IS NOT NULL)
        AND c.updated_at <= %(as_of)s - make_interval(secs => %(grace_seconds)s)
"""

_TOMBSTONES: Final = """
    SELECT id FROM generated_project
    WHERE status = 'deleted' AND updated_at <= %(as_of)s - make_interval(days => %(audit_days)s)
"""

# Of what is not there any more. Those of what is are its history.
_EVENTS: Final = """
    SELECT e.id FROM event e
    WHERE e."at" <= %(as_of)s - make_interval(days => %(audit_days)s)
        AND NOT EXISTS (
            SELECT FROM generated_project g
            WHERE g.id = e.generated_project_id
                AND (g.status <> 'deleted' OR g.updated_at > %(as_of)s - make_interval(days => %(audit_days)s))
        )
        AND NOT EXISTS (SELECT FROM project p WHERE p.id = e.project_id)
"""

_NOTIFICATIONS: Final = """
    SELECT ctid FROM notification
    WHERE status <> 'pending' AND next_attempt_at <= %(as_of)s - make_interval(days => %(audit_days)s)
"""

_ENDPOINTS: Final = "SELECT id FROM endpoint WHERE gone_at <= %(as_of)s - make_interval(days => %(cache_days)s)"

SWEEPABLE: Final[dict[str, tuple[LiteralString, LiteralString]]] = {
    "answers": (
        f"SELECT count(*) AS rows FROM ({_ANSWERS}) found",
        f"UPDATE agent_call SET response = NULL, job = NULL WHERE id = ANY(ARRAY({_ANSWERS} LIMIT %(limit)s))",
    ),
    "tombstones": (
        f"SELECT count(*) AS rows FROM ({_TOMBSTONES}) found",
        f"DELETE FROM generated_project WHERE id = ANY(ARRAY({_TOMBSTONES} LIMIT %(limit)s FOR UPDATE SKIP LOCKED))",
    ),
    "events": (
        f"SELECT count(*) AS rows FROM ({_EVENTS}) found",
        f"DELETE FROM event WHERE id = ANY(ARRAY({_EVENTS} LIMIT %(limit)s))",
    ),
    "notifications": (
        f"SELECT count(*) AS rows FROM ({_NOTIFICATIONS}) found",
        f"DELETE FROM notification WHERE ctid = ANY(ARRAY({_NOTIFICATIONS} LIMIT %(limit)s))",
    ),
    "endpoints": (
        f"SELECT count(*) AS rows FROM ({_ENDPOINTS}) found",
        f"DELETE FROM endpoint WHERE id = ANY(ARRAY({_ENDPOINTS} LIMIT %(limit)s))",
    ),
}
