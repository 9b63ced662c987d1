"""The SQL statements of `scaffolder doctor`, named. They count anew, and share nothing with those they check."""

from __future__ import annotations

from typing import Final, LiteralString

_NEWEST_FILES: Final[LiteralString] = """
    SELECT DISTINCT ON (x.path) x.path, x.sha256, x.size_bytes, x.mode
    FROM file_change x WHERE x.generated_project_id = g.id
    ORDER BY x.path, x.position DESC
"""

# What was removed has no rows of files any more; its totals tell what it was.
_EXAMINED: Final[LiteralString] = f"""
SELECT g.id, p.slug AS project, g.name, g.status, g.head_commit, g.dag_id, g.run_id,
    g.updated_at < now() - make_interval(secs => %(grace_seconds)s) AS is_settled,
    g.file_count, g.size_bytes, f.counted_files, f.counted_bytes,
    g.export_count, g.export_status, e.counted_exports, e.newest_export_status,
    (SELECT c."commit" FROM project_commit c WHERE c.generated_project_id = g.id ORDER BY c.position DESC LIMIT 1)
        AS last_commit,
    CASE WHEN g.status = 'deleted' THEN (
        SELECT count(*) FROM agent_call a
        WHERE a.generated_project_id = g.id AND (a.response IS NOT NULL OR a.job IS NOT NULL)
    ) ELSE 0 END AS kept_answers,
    concat_ws(' ', g.status, g.updated_at, e.all_exports, e.changed_at) AS stamp
FROM generated_project g
JOIN project p ON p.id = g.project_id
CROSS JOIN LATERAL (
    SELECT count(*) AS counted_files, coalesce(sum(n.size_bytes), 0)::bigint AS counted_bytes
    FROM ({_NEWEST_FILES}) n WHERE n.sha256 IS NOT NULL
) f
CROSS JOIN LATERAL (
    SELECT count(*) AS all_exports, max(r.updated_at) AS changed_at,
        count(*) FILTER (WHERE r.status = 'exported') AS counted_exports,
        (array_agg(r.status ORDER BY r.updated_at DESC, r.created_at DESC, r.id))[1] AS newest_export_status
    FROM repository_export r WHERE r.generated_project_id = g.id
) e
"""

SELECT_EXAMINED: Final[LiteralString] = f"""{_EXAMINED}
WHERE g.id > %(after)s AND (%(project)s::text IS NULL OR p.slug = %(project)s)
ORDER BY g.id LIMIT %(limit)s
"""

SELECT_EXAMINED_ONE: Final[LiteralString] = f"{_EXAMINED} WHERE g.id = %(id)s"

SELECT_STATUSES: Final[LiteralString] = """
SELECT g.id, g.status, p.slug AS project
FROM generated_project g JOIN project p ON p.id = g.project_id WHERE g.id = ANY(%(ids)s)
"""

SELECT_COMMITS: Final[LiteralString] = """
SELECT step_id, "commit" FROM project_commit
WHERE generated_project_id = %(id)s AND "commit" IS NOT NULL ORDER BY position
"""

SELECT_FILES: Final[LiteralString] = """
SELECT n.path, n.sha256, n.size_bytes, n.mode
FROM (
    SELECT DISTINCT ON (x.path) x.path, x.sha256, x.size_bytes, x.mode
    FROM file_change x WHERE x.generated_project_id = %(id)s AND x.path > %(after)s
    ORDER BY x.path, x.position DESC
) n
WHERE n.sha256 IS NOT NULL ORDER BY n.path LIMIT %(limit)s
"""

SELECT_ARCHIVES: Final[LiteralString] = """
SELECT id, status, target, "commit", archive_path, archive_sha256, result FROM repository_export
WHERE generated_project_id = %(id)s AND status IN ('pending', 'exporting', 'exported') ORDER BY created_at, id
"""

SELECT_OPEN_EXPORTS: Final[LiteralString] = """
SELECT e.id, e.status, e.target, e.generated_project_id, p.slug AS project,
    coalesce(e.dag_id, g.dag_id) AS dag_id, coalesce(e.run_id, g.run_id) AS run_id
FROM repository_export e
JOIN generated_project g ON g.id = e.generated_project_id
JOIN project p ON p.id = g.project_id
WHERE e.id > %(after)s AND e.status IN ('pending', 'exporting')
    AND e.updated_at < now() - make_interval(secs => %(grace_seconds)s)
    AND (%(project)s::text IS NULL OR p.slug = %(project)s)
ORDER BY e.id LIMIT %(limit)s
"""

SELECT_REMOTE_EXPORTS: Final[LiteralString] = """
SELECT e.id, e.target, e.connection, e.location, e.remote_name, e.remote_id, e.url, e.branch, e.exported_commit,
    e.result ->> 'request' IS NOT NULL AS is_request, e.generated_project_id, p.slug AS project
FROM repository_export e
JOIN generated_project g ON g.id = e.generated_project_id
JOIN project p ON p.id = g.project_id
WHERE e.id > %(after)s AND e.status = 'exported' AND e.exported_commit IS NOT NULL AND e.branch IS NOT NULL
    AND e.target = ANY(%(targets)s) AND (%(project)s::text IS NULL OR p.slug = %(project)s)
ORDER BY e.id LIMIT %(limit)s
"""

SELECT_MISCOUNTED_PROJECTS: Final[LiteralString] = """
SELECT p.slug, p.generated_count, n.counted
FROM project p
CROSS JOIN LATERAL (
    SELECT count(*)::int AS counted FROM generated_project g WHERE g.project_id = p.id AND g.status <> 'deleted'
) n
WHERE p.slug > %(after)s AND (%(project)s::text IS NULL OR p.slug = %(project)s) AND p.generated_count <> n.counted
ORDER BY p.slug LIMIT %(limit)s
"""

# Repairs. What is counted is counted under the lock, by a statement of its own.

LOCK_GENERATED_PROJECT: Final[LiteralString] = """
SELECT id FROM generated_project WHERE id = %(id)s FOR NO KEY UPDATE
"""

RECOUNT_FILES: Final[LiteralString] = f"""
UPDATE generated_project t
SET file_count = n.file_count, size_bytes = n.size_bytes
FROM (
    SELECT g.id, f.file_count, f.size_bytes
    FROM generated_project g
    CROSS JOIN LATERAL (
        SELECT count(*) AS file_count, coalesce(sum(n.size_bytes), 0) AS size_bytes
        FROM ({_NEWEST_FILES}) n WHERE n.sha256 IS NOT NULL
    ) f
    WHERE g.id = %(id)s
) n
WHERE t.id = n.id AND t.status <> 'deleted'
"""

RECOUNT_EXPORTS: Final[LiteralString] = """
UPDATE generated_project g
SET export_count = e.export_count, export_status = e.export_status
FROM (
    SELECT count(*) FILTER (WHERE r.status = 'exported') AS export_count,
        (array_agg(r.status ORDER BY r.updated_at DESC, r.created_at DESC, r.id))[1] AS export_status
    FROM repository_export r WHERE r.generated_project_id = %(id)s
) e
WHERE g.id = %(id)s
"""

LOCK_PROJECT: Final[LiteralString] = "SELECT id FROM project WHERE slug = %(slug)s FOR NO KEY UPDATE"

RECOUNT_GENERATED: Final[LiteralString] = """
UPDATE project p
SET generated_count = (
    SELECT count(*) FROM generated_project g WHERE g.project_id = p.id AND g.status <> 'deleted'
)
WHERE p.slug = %(slug)s
"""

FORGET_KEPT_ANSWERS: Final[LiteralString] = """
UPDATE agent_call a SET response = NULL, job = NULL
FROM generated_project g
WHERE g.id = a.generated_project_id AND g.status = 'deleted' AND a.generated_project_id = %(id)s
    AND (a.response IS NOT NULL OR a.job IS NOT NULL)
"""
