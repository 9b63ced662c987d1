"""The SQL statements of what runs read and write, named. The schema itself is in ``migrations``."""

from __future__ import annotations

from typing import Final, LiteralString

_GENERATED_PROJECT: Final = """
    g.id, p.slug AS project, g.name, g.workflow, g.dag_id, g.run_id, g.run_at, g.params, g.status, g.head_commit,
    g.file_count, g.size_bytes, g.expires_at, g.held, g.hold_reason, g.held_by, g.held_until, g.export_count,
    g.export_status, g.ended_at, g.removal_reason, g.regenerated_from, g.error, g.created_by, g.created_at,
    g.updated_at
"""

_AGENT_CALL: Final = """
    c.id, c.generated_project_id, c.step_id, c.part_of, c.connection, c.operation, c.model, c.request_digest, c.status,
    c.http_status, c.response, c.error, c.attempts, c.latency_ms, c.input_tokens, c.output_tokens, c.cost,
    c.replayed_from, c.idempotency_key, c.in_doubt, c.is_settled, c.job, c.created_at, c.updated_at
"""

# What an attempt has consumed is added to that of those before it; what nobody knows stays null.
_CHARGE: Final = """
    model = coalesce(%(model)s, model),
    input_tokens = CASE WHEN num_nulls(input_tokens, %(input_tokens)s::bigint) < 2
        THEN coalesce(input_tokens, 0) + coalesce(%(input_tokens)s::bigint, 0) END,
    output_tokens = CASE WHEN num_nulls(output_tokens, %(output_tokens)s::bigint) < 2
        THEN coalesce(output_tokens, 0) + coalesce(%(output_tokens)s::bigint, 0) END,
    cost = CASE WHEN num_nulls(cost, %(cost)s::numeric) < 2
        THEN coalesce(cost, 0) + coalesce(%(cost)s::numeric, 0) END
"""

_CIRCUIT: Final = """
    connection, state, failures, greatest(0, extract(epoch FROM retry_at - now()))::float8 AS wait_seconds, reason
"""

_DESCRIPTION: Final = """
    connection, kind, source, base_url, title, version, description, etag, digest, warnings, checked_at, changed_at
"""

_ENDPOINT: Final = """
    connection, operation_id, method, path, summary, definition, digest, first_seen_at, changed_at, gone_at
"""

_EXPORT: Final = """
    id, generated_project_id, step_id, target, connection, location, options, status, idempotency_key, nonce, "commit",
    remote_name, remote_id, created_remote, exported_commit, branch, steps_done, result, rollback, url, archive_path,
    archive_sha256, error, dag_id, run_id, created_at, updated_at
"""

INSERT_PROJECT: Final[LiteralString] = """
INSERT INTO project (slug, name, created_by) VALUES (%(slug)s, %(slug)s, %(created_by)s)
ON CONFLICT (slug) DO NOTHING
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

# What is told of an end, by the statement that makes it.
_ENDED: Final = """
RETURNING workflow, status, file_count, size_bytes, extract(epoch FROM ended_at - created_at)::float8 AS seconds
"""

UPDATE_TO_READY: Final[LiteralString] = f"""
UPDATE generated_project SET status = 'ready', error = NULL WHERE id = %(id)s AND status <> 'ready'
{_ENDED}
"""

UPDATE_TO_FAILED: Final[LiteralString] = f"""
UPDATE generated_project SET status = 'failed', error = coalesce(error, %(error)s)
WHERE id = %(id)s AND status IN ('pending', 'generating')
{_ENDED}
"""

UPDATE_ERROR: Final[LiteralString] = """
UPDATE generated_project SET error = %(error)s WHERE id = %(id)s AND status IN ('pending', 'generating')
"""

CLEAR_ERROR: Final[LiteralString] = """
UPDATE generated_project SET error = NULL WHERE id = %(id)s AND starts_with(error, %(prefix)s)
"""

FAIL_OPEN_AGENT_CALLS: Final[LiteralString] = """
UPDATE agent_call
SET status = 'failed', error = 'its task was killed', in_doubt = false, is_settled = status = 'waiting'
WHERE generated_project_id = %(id)s AND status IN ('pending', 'waiting')
    AND EXISTS (SELECT FROM generated_project WHERE id = %(id)s AND status IN ('pending', 'generating'))
"""

# Exports are locked before their generated project, here as by their triggers.
FAIL_OPEN_EXPORTS: Final[LiteralString] = """
UPDATE repository_export SET status = 'failed', error = 'its task was killed'
WHERE generated_project_id = %(id)s AND status IN ('pending', 'exporting')
    AND EXISTS (SELECT FROM generated_project WHERE id = %(id)s AND status IN ('pending', 'generating'))
"""

FAIL_OPEN_EXPORTS_OF_RUN: Final[LiteralString] = """
UPDATE repository_export
SET status = 'failed', error = 'its run ended before it did'
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND status IN ('pending', 'exporting')
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
INSERT INTO agent_call
    (id, idempotency_key, generated_project_id, step_id, part_of, connection, operation, request_digest, in_doubt)
VALUES (
    %(id)s, %(id)s::text, %(generated_project_id)s, %(step_id)s, %(part_of)s, %(connection)s, %(operation)s,
    %(request_digest)s, true
)
ON CONFLICT (id) DO UPDATE
SET status = 'pending', error = NULL, latency_ms = NULL, replayed_from = NULL, in_doubt = true, is_settled = false,
    attempts = agent_call.attempts + 1,
    idempotency_key = CASE
        WHEN agent_call.is_settled THEN gen_random_uuid()::text ELSE agent_call.idempotency_key
    END
RETURNING idempotency_key
"""

UPDATE_AGENT_CALL_TO_ANSWERED: Final[LiteralString] = f"""
UPDATE agent_call
SET status = 'answered', http_status = %(http_status)s, response = %(response)s, error = NULL,
    latency_ms = %(latency_ms)s, in_doubt = false, is_settled = true, {_CHARGE}
WHERE id = %(id)s
"""

UPDATE_AGENT_CALL_TO_WAITING: Final[LiteralString] = """
UPDATE agent_call SET status = 'waiting', job = %(job)s, latency_ms = %(latency_ms)s, in_doubt = false
WHERE id = %(id)s
"""

UPDATE_AGENT_CALL_TO_FAILED: Final[LiteralString] = f"""
UPDATE agent_call
SET status = 'failed', error = %(error)s, latency_ms = coalesce(%(latency_ms)s, latency_ms), in_doubt = %(in_doubt)s,
    is_settled = %(is_settled)s, {_CHARGE}
WHERE id = %(id)s
"""

INSERT_REPLAYED_CALL: Final[LiteralString] = """
INSERT INTO agent_call
    (id, idempotency_key, generated_project_id, step_id, part_of, connection, operation, model, request_digest,
    replayed_from)
SELECT %(id)s, %(id)s::text, %(generated_project_id)s, %(step_id)s, %(part_of)s, connection, operation, model,
    request_digest, id
FROM agent_call WHERE id = %(source)s
ON CONFLICT (id) DO UPDATE SET status = 'pending', error = NULL, replayed_from = excluded.replayed_from
"""

UPDATE_REPLAYED_CALL: Final[LiteralString] = """
UPDATE agent_call c
SET status = 'answered', http_status = s.http_status, response = s.response, latency_ms = 0, in_doubt = false,
    is_settled = true
FROM agent_call s WHERE s.id = %(source)s AND c.id = %(id)s
"""

SELECT_AGENT_CALL: Final[LiteralString] = f"SELECT {_AGENT_CALL} FROM agent_call c WHERE c.id = %(id)s"

SELECT_AGENT_CALLS: Final[LiteralString] = f"""
SELECT {_AGENT_CALL} FROM agent_call c WHERE c.generated_project_id = %(id)s
ORDER BY c.created_at, c.part_of NULLS FIRST, c.id
"""

SELECT_WAITING_CALLS: Final[LiteralString] = f"""
SELECT {_AGENT_CALL} FROM agent_call c
WHERE c.generated_project_id = %(id)s AND c.step_id = %(step_id)s AND c.status = 'waiting'
"""

SELECT_ANSWERED_CALL: Final[LiteralString] = f"""
SELECT {_AGENT_CALL}
FROM agent_call c JOIN generated_project g ON g.id = c.generated_project_id
WHERE c.request_digest = %(request_digest)s AND c.status = 'answered' AND c.response IS NOT NULL
    AND g.project_id = (SELECT project_id FROM generated_project WHERE id = %(id)s)
ORDER BY c.updated_at DESC, c.id
LIMIT 1
"""

SELECT_SPENDING: Final[LiteralString] = """
WITH spent AS (
    SELECT c.generated_project_id = %(id)s AS of_run, c.step_id, c.created_at,
        coalesce(c.input_tokens, 0) + coalesce(c.output_tokens, 0) AS tokens, coalesce(c.cost, 0) AS cost
    FROM agent_call c JOIN generated_project g ON g.id = c.generated_project_id
    WHERE g.project_id = (SELECT project_id FROM generated_project WHERE id = %(id)s)
)
SELECT
    coalesce(sum(tokens) FILTER (WHERE of_run AND step_id = %(step_id)s), 0) AS step_tokens,
    coalesce(sum(cost) FILTER (WHERE of_run AND step_id = %(step_id)s), 0) AS step_cost,
    coalesce(sum(tokens) FILTER (WHERE of_run), 0) AS run_tokens,
    coalesce(sum(cost) FILTER (WHERE of_run), 0) AS run_cost,
    coalesce(sum(tokens) FILTER (WHERE created_at > now() - make_interval(days => %(days)s)), 0) AS project_tokens,
    coalesce(sum(cost) FILTER (WHERE created_at > now() - make_interval(days => %(days)s)), 0) AS project_cost
FROM spent
"""

SELECT_CIRCUIT: Final[LiteralString] = f"SELECT {_CIRCUIT} FROM agent_circuit WHERE connection = %(connection)s"

# The one whose update finds the time over is let through; for the others it is in the future again.
HALF_OPEN_CIRCUIT: Final[LiteralString] = """
UPDATE agent_circuit SET state = 'half_open', retry_at = now() + make_interval(secs => %(seconds)s)
WHERE connection = %(connection)s AND state <> 'closed' AND retry_at <= now()
RETURNING connection, state, failures, 0::float8 AS wait_seconds, reason
"""

CLOSE_CIRCUIT: Final[LiteralString] = """
UPDATE agent_circuit c SET state = 'closed', failures = 0, retry_at = NULL
FROM (SELECT connection, state FROM agent_circuit WHERE connection = %(connection)s FOR UPDATE) before
WHERE c.connection = before.connection AND c.failures > 0
RETURNING c.connection, before.state, c.failures, 0::float8 AS wait_seconds, c.reason
"""

STRAIN_CIRCUIT: Final[LiteralString] = f"""
INSERT INTO agent_circuit AS c (connection, state, failures, retry_at, reason)
VALUES (
    %(connection)s, CASE WHEN %(limit)s <= 1 THEN 'open' ELSE 'closed' END, 1,
    CASE WHEN %(limit)s <= 1 THEN now() + make_interval(secs => %(seconds)s) END, %(reason)s
)
ON CONFLICT (connection) DO UPDATE
SET failures = c.failures + 1, reason = excluded.reason,
    state = CASE WHEN c.state <> 'closed' OR c.failures + 1 >= %(limit)s THEN 'open' ELSE 'closed' END,
    retry_at = CASE WHEN c.state <> 'closed' OR c.failures + 1 >= %(limit)s
        THEN now() + make_interval(secs => %(seconds)s) END
RETURNING {_CIRCUIT}
"""

INSERT_EXPORT: Final[LiteralString] = """
INSERT INTO repository_export
    (id, generated_project_id, dag_id, run_id, step_id, target, connection, location, options, rollback,
    idempotency_key, "commit")
VALUES (
    %(id)s, %(generated_project_id)s, %(dag_id)s, %(run_id)s, %(step_id)s, %(target)s, %(connection)s, %(location)s,
    %(options)s, %(rollback)s, %(idempotency_key)s, %(commit)s
)
ON CONFLICT (idempotency_key) DO UPDATE
SET rollback = excluded.rollback, dag_id = excluded.dag_id, run_id = excluded.run_id, step_id = excluded.step_id
WHERE (repository_export.rollback, repository_export.dag_id, repository_export.run_id, repository_export.step_id)
    IS DISTINCT FROM (excluded.rollback, excluded.dag_id, excluded.run_id, excluded.step_id)
"""

LOCK_EXPORT_BY_KEY: Final[LiteralString] = """
SELECT id FROM repository_export WHERE idempotency_key = %(idempotency_key)s FOR UPDATE
"""

SELECT_EXPORT_BY_KEY: Final[LiteralString] = f"""
SELECT {_EXPORT} FROM repository_export WHERE idempotency_key = %(idempotency_key)s
"""

SELECT_EXPORT: Final[LiteralString] = f"SELECT {_EXPORT} FROM repository_export WHERE id = %(id)s"

SELECT_EXPORTS: Final[LiteralString] = f"""
SELECT {_EXPORT} FROM repository_export WHERE generated_project_id = %(id)s ORDER BY created_at, id
"""

# What others of the same project have put into one repository, the newest first.
SELECT_EXPORTS_TO_REMOTE: Final[LiteralString] = f"""
SELECT {_EXPORT} FROM repository_export
WHERE location = %(location)s AND remote_id = %(remote_id)s AND id <> %(id)s
    AND generated_project_id IN (
        SELECT b.id FROM generated_project a JOIN generated_project b ON b.project_id = a.project_id
        WHERE a.id = %(generated_project_id)s
    )
ORDER BY updated_at DESC, id
"""

UPDATE_EXPORT_TO_EXPORTING: Final[LiteralString] = """
UPDATE repository_export SET status = 'exporting', error = NULL WHERE id = %(id)s AND status <> 'exporting'
"""

UPDATE_EXPORT_NOTES: Final[LiteralString] = """
UPDATE repository_export
SET remote_name = CASE WHEN remote_id IS NULL THEN coalesce(%(remote_name)s, remote_name) ELSE remote_name END,
    remote_id = coalesce(remote_id, %(remote_id)s),
    created_remote = CASE WHEN remote_id IS NULL THEN coalesce(%(created_remote)s, created_remote)
        ELSE created_remote END,
    exported_commit = coalesce(%(exported_commit)s, exported_commit), branch = coalesce(%(branch)s, branch),
    url = coalesce(%(url)s, url),
    steps_done = CASE WHEN %(step_done)s::text IS NULL THEN steps_done ELSE array_append(steps_done, %(step_done)s) END
WHERE id = %(id)s
"""

# Its run may have been ended from outside meanwhile, which stays said.
UPDATE_EXPORT_TO_EXPORTED: Final[LiteralString] = """
UPDATE repository_export
SET status = 'exported', error = CASE WHEN starts_with(error, 'not rolled back') THEN error END,
    url = %(url)s, archive_path = %(archive_path)s,
    archive_sha256 = %(archive_sha256)s, exported_commit = coalesce(%(exported_commit)s, exported_commit),
    result = %(result)s
WHERE id = %(id)s
"""

UPDATE_EXPORT_TO_FAILED: Final[LiteralString] = """
UPDATE repository_export SET status = 'failed', error = %(error)s
WHERE id = %(id)s AND status IN ('pending', 'exporting')
"""

# It has nothing at the host any more; tried again, it makes everything anew.
UPDATE_EXPORT_TO_ROLLED_BACK: Final[LiteralString] = """
UPDATE repository_export
SET status = 'rolled_back', error = %(error)s, nonce = gen_random_uuid()::text, remote_name = NULL, remote_id = NULL,
    created_remote = false, steps_done = '{}', url = NULL
WHERE id = %(id)s AND status <> 'rolled_back'
"""

UPDATE_EXPORT_ERROR: Final[LiteralString] = """
UPDATE repository_export SET error = %(error)s WHERE id = %(id)s
"""

MARK_EXPORTS_LEFT_BEHIND: Final[LiteralString] = """
UPDATE repository_export
SET error = 'not rolled back: the run was ended from outside; clear its task finish_generated_project to roll back'
WHERE generated_project_id = %(id)s AND rollback AND status <> 'rolled_back'
    AND (remote_id IS NOT NULL OR exported_commit IS NOT NULL)
"""

# How fast hosts are asked

INSERT_PACE: Final[LiteralString] = """
INSERT INTO host_pace (account) VALUES (%(account)s) ON CONFLICT (account) DO NOTHING
"""

# The writes of the last hour and the first moment at which one more keeps all limits; the row lock makes callers
# queue. A moment that is too far away is not taken. The n-th last write is the one that a limit of n looks at.
RESERVE_WRITE: Final[LiteralString] = """
WITH held AS (
    SELECT h.account, h.blocked_until, ARRAY(
        SELECT w FROM unnest(h.writes) AS w WHERE w > clock_timestamp() - interval '1 hour' ORDER BY w
    ) AS recent
    FROM host_pace h WHERE h.account = %(account)s FOR UPDATE
), slot AS (
    SELECT account, recent, greatest(
        clock_timestamp(),
        blocked_until,
        recent[cardinality(recent)] + make_interval(secs => %(interval_seconds)s),
        recent[cardinality(recent) - %(per_minute)s + 1] + interval '1 minute',
        recent[cardinality(recent) - %(per_hour)s + 1] + interval '1 hour'
    ) AS at
    FROM held
)
UPDATE host_pace h
SET writes = CASE
    WHEN slot.at <= clock_timestamp() + make_interval(secs => %(max_wait_seconds)s) THEN slot.recent || slot.at
    ELSE slot.recent
END
FROM slot WHERE h.account = slot.account
RETURNING greatest(0, extract(epoch FROM slot.at - clock_timestamp()))::float8 AS wait_seconds
"""

SELECT_BLOCK: Final[LiteralString] = """
SELECT greatest(0, extract(epoch FROM blocked_until - clock_timestamp()))::float8 AS wait_seconds
FROM host_pace WHERE account = %(account)s AND blocked_until > clock_timestamp()
"""

BLOCK_HOST: Final[LiteralString] = """
INSERT INTO host_pace AS h (account, blocked_until)
VALUES (%(account)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (account) DO UPDATE SET blocked_until = greatest(h.blocked_until, excluded.blocked_until)
"""

SELECT_EVENTS: Final[LiteralString] = """
SELECT id, generated_project_id, project_id, subject, subject_id, kind, detail, actor, "at" FROM event
WHERE generated_project_id = %(id)s ORDER BY id
"""

SET_ACTOR: Final[LiteralString] = "SELECT set_config('scaffolder.actor', %(actor)s, false)"

LOCK_MIGRATIONS: Final[LiteralString] = "SELECT pg_advisory_lock(%(key)s)"

UNLOCK_MIGRATIONS: Final[LiteralString] = "SELECT pg_advisory_unlock(%(key)s)"

# What agents offer

SELECT_DESCRIPTIONS: Final[LiteralString] = f"SELECT {_DESCRIPTION} FROM agent_description ORDER BY connection"

SELECT_DESCRIPTION: Final[LiteralString] = f"""
SELECT {_DESCRIPTION} FROM agent_description WHERE connection = %(connection)s
"""

SELECT_FRESHNESS: Final[LiteralString] = """
SELECT checked_at > now() - make_interval(secs => %(seconds)s) AS fresh
FROM agent_description WHERE connection = %(connection)s
"""

UPSERT_DESCRIPTION: Final[LiteralString] = """
INSERT INTO agent_description AS d
    (connection, kind, source, base_url, title, version, description, etag, digest, warnings)
VALUES (
    %(connection)s, %(kind)s, %(source)s, %(base_url)s, %(title)s, %(version)s, %(description)s, %(etag)s, %(digest)s,
    %(warnings)s
)
ON CONFLICT (connection) DO UPDATE
SET kind = excluded.kind, source = excluded.source, base_url = excluded.base_url, title = excluded.title,
    version = excluded.version, description = excluded.description, etag = excluded.etag, digest = excluded.digest,
    warnings = excluded.warnings, checked_at = now(),
    changed_at = CASE WHEN d.digest = excluded.digest THEN d.changed_at ELSE now() END
"""

CONFIRM_DESCRIPTION: Final[LiteralString] = """
UPDATE agent_description SET checked_at = now() WHERE connection = %(connection)s
"""

DELETE_DESCRIPTION: Final[LiteralString] = "DELETE FROM agent_description WHERE connection = %(connection)s"

SELECT_ENDPOINTS: Final[LiteralString] = f"""
SELECT {_ENDPOINT} FROM endpoint WHERE connection = %(connection)s ORDER BY path COLLATE "C", method, operation_id
"""

SELECT_ENDPOINTS_IN_SHORT: Final[LiteralString] = SELECT_ENDPOINTS.replace(" definition,", " '{}'::json AS definition,")

SELECT_ENDPOINT: Final[LiteralString] = f"""
SELECT {_ENDPOINT} FROM endpoint WHERE connection = %(connection)s AND operation_id = %(operation_id)s
"""

COPY_ENDPOINTS: Final[LiteralString] = """
COPY endpoint (connection, operation_id, method, path, summary, definition, digest) FROM STDIN
"""

UPDATE_ENDPOINTS: Final[LiteralString] = """
UPDATE endpoint e
SET method = n.method, path = n.path, summary = n.summary, definition = n.definition::json, digest = n.digest,
    changed_at = now(), gone_at = NULL
FROM unnest(
    %(operation_ids)s::text[], %(methods)s::text[], %(paths)s::text[], %(summaries)s::text[], %(definitions)s::text[],
    %(digests)s::text[]
) AS n (operation_id, method, path, summary, definition, digest)
WHERE e.connection = %(connection)s AND e.operation_id = n.operation_id
"""

MARK_ENDPOINTS_GONE: Final[LiteralString] = """
UPDATE endpoint SET gone_at = now()
WHERE connection = %(connection)s AND operation_id = ANY(%(ids)s) AND gone_at IS NULL
"""
