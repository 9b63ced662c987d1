"""The SQL statements of projects, their members, and what the API asks for, named."""

from __future__ import annotations

from typing import Final, LiteralString

_PROJECT: Final = """
    slug, name, description, visibility, generated_count, created_by, created_at, updated_at
"""

_REQUESTED_RUN: Final = """
    key, dag_id, run_id, generated_project_id, username, request_digest, as_administrator, started, created_at
"""

CREATE_PROJECT: Final[LiteralString] = f"""
INSERT INTO project (slug, name, description, visibility, created_by)
VALUES (%(slug)s, %(name)s, %(description)s, %(visibility)s, %(created_by)s)
ON CONFLICT (slug) DO NOTHING
RETURNING {_PROJECT}
"""

SELECT_PROJECT: Final[LiteralString] = f"SELECT {_PROJECT} FROM project WHERE slug = %(slug)s"

UPDATE_PROJECT: Final[LiteralString] = """
UPDATE project
SET name = coalesce(%(name)s, name), description = coalesce(%(description)s, description),
    visibility = coalesce(%(visibility)s, visibility)
WHERE slug = %(slug)s
"""

# Locked, no generated project can come into it until it is gone.
LOCK_PROJECT: Final[LiteralString] = f"SELECT {_PROJECT} FROM project WHERE slug = %(slug)s FOR UPDATE"

COUNT_RECORDS_OF_PROJECT: Final[LiteralString] = """
SELECT count(*) AS generated_projects, count(*) FILTER (WHERE g.status <> 'deleted') AS left_over
FROM project p JOIN generated_project g ON g.project_id = p.id WHERE p.slug = %(slug)s
"""

SUM_SIZE_OF_PROJECT: Final[LiteralString] = """
SELECT coalesce(sum(g.size_bytes), 0) AS size_bytes
FROM project p JOIN generated_project g ON g.project_id = p.id
WHERE p.slug = %(slug)s AND g.status <> 'deleted'
"""

DELETE_MEMBERS: Final[LiteralString] = """
DELETE FROM project_member WHERE project_id = (SELECT id FROM project WHERE slug = %(slug)s)
"""

DELETE_PROJECT: Final[LiteralString] = "DELETE FROM project WHERE slug = %(slug)s"

# Members

SELECT_ACCESS: Final[LiteralString] = """
SELECT p.slug AS project, p.visibility, m.role
FROM project p LEFT JOIN project_member m ON m.project_id = p.id AND m.username = %(username)s
WHERE p.slug = %(slug)s
"""

SELECT_MEMBERS: Final[LiteralString] = """
SELECT m.username, m.role, m.created_at FROM project p JOIN project_member m ON m.project_id = p.id
WHERE p.slug = %(slug)s ORDER BY m.username COLLATE "C"
"""

UPSERT_MEMBER: Final[LiteralString] = """
INSERT INTO project_member AS m (project_id, username, role)
SELECT id, %(username)s, %(role)s FROM project WHERE slug = %(slug)s
ON CONFLICT (project_id, username) DO UPDATE SET role = excluded.role WHERE m.role <> excluded.role
"""

DELETE_MEMBER: Final[LiteralString] = """
DELETE FROM project_member
WHERE project_id = (SELECT id FROM project WHERE slug = %(slug)s) AND username = %(username)s
"""

EXPLAIN_END: Final[LiteralString] = """
UPDATE generated_project SET error = %(error)s
WHERE id = %(id)s AND status = 'failed' AND starts_with(error, 'the run ended: ')
"""

# Holds

HOLD: Final[LiteralString] = """
UPDATE generated_project
SET held = true, hold_reason = %(reason)s, held_by = %(username)s, held_until = %(until)s
WHERE id = %(id)s AND status NOT IN ('expired', 'deleted')
"""

RELEASE: Final[LiteralString] = """
UPDATE generated_project SET held = false, hold_reason = NULL, held_by = NULL, held_until = NULL
WHERE id = %(id)s AND held
"""

# Runs that were asked for

LOCK_KEY: Final[LiteralString] = "SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0))"

INSERT_REQUESTED_RUN: Final[LiteralString] = """
INSERT INTO requested_run (key, dag_id, run_id, generated_project_id, username, request_digest, as_administrator)
VALUES (
    %(key)s, %(dag_id)s, %(run_id)s, %(generated_project_id)s, %(username)s, %(request_digest)s, %(as_administrator)s
)
ON CONFLICT (key) DO NOTHING
"""

SELECT_REQUESTED_RUN: Final[LiteralString] = f"SELECT {_REQUESTED_RUN} FROM requested_run WHERE key = %(key)s"

MARK_RUN_STARTED: Final[LiteralString] = "UPDATE requested_run SET started = true WHERE key = %(key)s"

DELETE_REQUESTED_RUN: Final[LiteralString] = "DELETE FROM requested_run WHERE key = %(key)s"

INSERT_REQUESTED_PROJECT: Final[LiteralString] = """
INSERT INTO generated_project
    (id, project_id, name, workflow, dag_id, run_id, run_at, params, created_by, regenerated_from)
SELECT %(id)s, p.id, %(name)s, %(workflow)s, %(dag_id)s, %(run_id)s, now(), %(params)s, %(created_by)s,
    %(regenerated_from)s
FROM project p WHERE p.slug = %(slug)s
"""

# Only what nothing was made of yet.
DELETE_REQUESTED_PROJECT: Final[LiteralString] = """
DELETE FROM generated_project WHERE id = %(id)s AND status = 'pending'
"""

UPDATE_RUN_DATE: Final[LiteralString] = """
UPDATE generated_project SET run_at = %(run_at)s WHERE id = %(id)s AND status = 'pending' AND head_commit IS NULL
"""

SELECT_GRANT: Final[LiteralString] = """
SELECT EXISTS (
    SELECT FROM requested_run
    WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND username = %(username)s
        AND generated_project_id = %(generated_project_id)s AND as_administrator
) AS granted
"""

SELECT_NEW_EVENTS: Final[LiteralString] = """
SELECT id, generated_project_id, project_id, subject, subject_id, kind, detail, actor, "at" FROM event
WHERE generated_project_id = %(id)s AND (id > %(last)s OR "at" > now() - make_interval(secs => %(seconds)s))
    AND id <> ALL(%(seen)s)
ORDER BY id
LIMIT 1000
"""
