"""Every SQL statement of the package, named. The schema itself is in ``migrations``."""

from __future__ import annotations

from typing import Final, LiteralString

_GENERATED_PROJECT: Final = """
    g.id, p.slug AS project, g.name, g.workflow, g.dag_id, g.run_id, g.run_at, g.params, g.status, g.head_commit,
    g.file_count, g.size_bytes, g.expires_at, g.held, g.error, g.created_by, g.created_at, g.updated_at
"""

_AGENT_CALL: Final = """
    id, generated_project_id, step_id, connection, operation, request_digest, status, http_status, response, error,
    attempts, latency_ms, created_at, updated_at
"""

_EXPORT: Final = """
    id, generated_project_id, step_id, target, options, status, idempotency_key, "commit", url, archive_path,
    archive_sha256, error, created_at, updated_at
"""

INSERT_PROJECT: Final[LiteralString] = """
INSERT INTO project (slug, name, created_by) VALUES (%(slug)s, %(slug)s, %(created_by)s)
ON CONFLICT (slug) DO NOTHING
"""

SELECT_PROJECT_ID: Final[LiteralString] = "SELECT id FROM project WHERE slug = %(slug)s"

INSERT_MEMBER: Final[LiteralString] = """
INSERT INTO project_member (project_id, username, role)
SELECT id, %(username)s, %(role)s FROM project WHERE slug = %(slug)s
ON CONFLICT (project_id, username) DO UPDATE SET role = excluded.role
"""

SELECT_MEMBERSHIP: Final[LiteralString] = """
SELECT count(m.username) AS members, max(m.role) FILTER (WHERE m.username = %(username)s) AS role
FROM project p LEFT JOIN project_member m ON m.project_id = p.id
WHERE p.slug = %(slug)s
"""

INSERT_GENERATED_PROJECT: Final[LiteralString] = """
INSERT INTO generated_project (id, project_id, name, workflow, dag_id, run_id, run_at, params, created_by)
SELECT %(id)s, p.id, %(name)s, %(workflow)s, %(dag_id)s, %(run_id)s, %(run_at)s, %(params)s, %(created_by)s
FROM project p WHERE p.slug = %(slug)s
ON CONFLICT (dag_id, run_id) DO NOTHING
"""

SELECT_GENERATED_PROJECT: Final[LiteralString] = f"""
SELECT {_GENERATED_PROJECT} FROM generated_project g JOIN project p ON p.id = g.project_id WHERE g.id = %(id)s
"""

LOCK_GENERATED_PROJECT: Final[LiteralString] = SELECT_GENERATED_PROJECT + " FOR UPDATE OF g"

SELECT_GENERATED_PROJECT_OF_RUN: Final[LiteralString] = f"""
SELECT {_GENERATED_PROJECT} FROM generated_project g JOIN project p ON p.id = g.project_id
WHERE g.dag_id = %(dag_id)s AND g.run_id = %(run_id)s
"""

UPDATE_TO_GENERATING: Final[LiteralString] = """
UPDATE generated_project SET status = 'generating', error = NULL WHERE id = %(id)s AND status <> 'generating'
"""

UPDATE_TO_READY: Final[LiteralString] = """
UPDATE generated_project
SET status = 'ready', error = NULL, expires_at = now() + make_interval(days => %(retention_days)s)
WHERE id = %(id)s AND status <> 'ready'
"""

UPDATE_TO_FAILED: Final[LiteralString] = """
UPDATE generated_project SET status = 'failed', error = coalesce(error, %(error)s)
WHERE id = %(id)s AND status IN ('pending', 'generating')
"""

UPDATE_ERROR: Final[LiteralString] = """
UPDATE generated_project SET error = %(error)s WHERE id = %(id)s AND status IN ('pending', 'generating')
"""

CLEAR_ERROR: Final[LiteralString] = """
UPDATE generated_project SET error = NULL WHERE id = %(id)s AND starts_with(error, %(prefix)s)
"""

FAIL_OPEN_AGENT_CALLS: Final[LiteralString] = """
UPDATE agent_call SET status = 'failed', error = 'its task was killed'
WHERE generated_project_id = %(id)s AND status = 'pending'
"""

FAIL_OPEN_EXPORTS: Final[LiteralString] = """
UPDATE repository_export SET status = 'failed', error = 'its task was killed'
WHERE generated_project_id = %(id)s AND status IN ('pending', 'exporting')
"""

UPDATE_HEAD: Final[LiteralString] = """
UPDATE generated_project g
SET head_commit = %(head_commit)s, file_count = f.file_count, size_bytes = f.size_bytes
FROM (
    SELECT count(*) AS file_count, coalesce(sum(size_bytes), 0) AS size_bytes
    FROM project_file WHERE generated_project_id = %(id)s
) f
WHERE g.id = %(id)s
"""

UPSERT_COMMIT: Final[LiteralString] = """
INSERT INTO project_commit (generated_project_id, position, step_id, "commit")
VALUES (%(id)s, %(position)s, %(step_id)s, %(commit)s)
ON CONFLICT (generated_project_id, position) DO UPDATE SET step_id = excluded.step_id, "commit" = excluded."commit"
"""

SELECT_COMMITS: Final[LiteralString] = """
SELECT position, step_id, "commit" FROM project_commit WHERE generated_project_id = %(id)s ORDER BY position
"""

DELETE_CHANGES_OF_COMMIT: Final[LiteralString] = """
DELETE FROM file_change WHERE generated_project_id = %(id)s AND position = %(position)s
"""

COPY_CHANGES: Final[LiteralString] = """
COPY file_change (generated_project_id, position, path, moved_from, sha256, size_bytes, mode, origin) FROM STDIN
"""

SELECT_FILES: Final[LiteralString] = """
SELECT path, sha256, size_bytes, mode, origin, step_id FROM project_file
WHERE generated_project_id = %(id)s ORDER BY path COLLATE "C"
"""

# The view project_file, as it was at one commit.
SELECT_FILES_AT: Final[LiteralString] = """
SELECT path, sha256, size_bytes, mode, origin, step_id
FROM (
    SELECT DISTINCT ON (f.path) f.path, f.sha256, f.size_bytes, f.mode, f.origin, c.step_id
    FROM file_change f JOIN project_commit c USING (generated_project_id, position)
    WHERE f.generated_project_id = %(id)s AND f.position <= %(position)s
    ORDER BY f.path, f.position DESC
) newest
WHERE sha256 IS NOT NULL
ORDER BY path
"""

SELECT_CHANGES_OF_COMMIT: Final[LiteralString] = """
SELECT f.path, f.moved_from, f.sha256, f.size_bytes, f.mode, f.origin, c.step_id
FROM file_change f JOIN project_commit c USING (generated_project_id, position)
WHERE f.generated_project_id = %(id)s AND f.position = %(position)s
ORDER BY f.path
"""

UPSERT_AGENT_CALL: Final[LiteralString] = """
INSERT INTO agent_call (id, generated_project_id, step_id, connection, operation, request_digest)
VALUES (%(id)s, %(generated_project_id)s, %(step_id)s, %(connection)s, %(operation)s, %(request_digest)s)
ON CONFLICT (id) DO UPDATE
SET connection = excluded.connection, operation = excluded.operation, request_digest = excluded.request_digest,
    status = 'pending', error = NULL, latency_ms = NULL, attempts = agent_call.attempts + 1
"""

UPDATE_AGENT_CALL: Final[LiteralString] = """
UPDATE agent_call
SET status = %(status)s, http_status = coalesce(%(http_status)s, http_status),
    response = coalesce(%(response)s, response), error = %(error)s, latency_ms = %(latency_ms)s
WHERE id = %(id)s
"""

SELECT_AGENT_CALL: Final[LiteralString] = f"SELECT {_AGENT_CALL} FROM agent_call WHERE id = %(id)s"

SELECT_AGENT_CALLS: Final[LiteralString] = f"""
SELECT {_AGENT_CALL} FROM agent_call WHERE generated_project_id = %(id)s ORDER BY created_at, id
"""

INSERT_EXPORT: Final[LiteralString] = """
INSERT INTO repository_export (id, generated_project_id, step_id, target, options, idempotency_key, "commit")
VALUES (%(id)s, %(generated_project_id)s, %(step_id)s, %(target)s, %(options)s, %(idempotency_key)s, %(commit)s)
ON CONFLICT (idempotency_key) DO NOTHING
"""

SELECT_EXPORT_BY_KEY: Final[LiteralString] = f"""
SELECT {_EXPORT} FROM repository_export WHERE idempotency_key = %(idempotency_key)s
"""

SELECT_EXPORT: Final[LiteralString] = f"SELECT {_EXPORT} FROM repository_export WHERE id = %(id)s"

SELECT_EXPORTS: Final[LiteralString] = f"""
SELECT {_EXPORT} FROM repository_export WHERE generated_project_id = %(id)s ORDER BY created_at, id
"""

UPDATE_EXPORT_TO_EXPORTING: Final[LiteralString] = """
UPDATE repository_export SET status = 'exporting', error = NULL WHERE id = %(id)s AND status <> 'exporting'
"""

UPDATE_EXPORT_TO_EXPORTED: Final[LiteralString] = """
UPDATE repository_export
SET status = 'exported', error = NULL, url = %(url)s, archive_path = %(archive_path)s,
    archive_sha256 = %(archive_sha256)s
WHERE id = %(id)s
"""

UPDATE_EXPORT_TO_FAILED: Final[LiteralString] = """
UPDATE repository_export SET status = 'failed', error = %(error)s WHERE id = %(id)s AND status <> 'failed'
"""

SELECT_EVENTS: Final[LiteralString] = """
SELECT id, generated_project_id, subject, subject_id, kind, detail, actor, "at" FROM event
WHERE generated_project_id = %(id)s ORDER BY id
"""

SET_ACTOR: Final[LiteralString] = "SELECT set_config('scaffolder.actor', %(actor)s, false)"

LOCK_MIGRATIONS: Final[LiteralString] = "SELECT pg_advisory_lock(%(key)s)"

UNLOCK_MIGRATIONS: Final[LiteralString] = "SELECT pg_advisory_unlock(%(key)s)"
