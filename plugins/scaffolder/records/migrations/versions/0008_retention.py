"""Retention: since when a generated project is over, who removes it and why; projects are counted once a statement.

The way back drops who has removed what and why, and the records' mark; what is kept for ever expires in a hundred years
then.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE generated_project
    ADD ended_at timestamptz,
    ADD removal_reason text,
    ADD removal_run text,
    ADD removal_claim integer,
    DROP CONSTRAINT ready_expires;
COMMENT ON COLUMN generated_project.ended_at IS 'When it became ready or failed; retention counts from here.';
COMMENT ON COLUMN generated_project.expires_at IS 'What the retention rules say; null for never.';
COMMENT ON COLUMN generated_project.removal_run IS 'The DAG run that removes it, or has.';
COMMENT ON COLUMN generated_project.removal_claim IS
    'The advisory lock that whoever removes it holds meanwhile; null where nobody has claimed it.';

ALTER TABLE generated_project DISABLE TRIGGER set_updated_at;
UPDATE generated_project g
SET ended_at = coalesce(
    (
        SELECT max(e."at") FROM event e
        WHERE e.generated_project_id = g.id AND e.subject = 'generated_project' AND e.kind = 'status'
            AND e.detail ->> 'to' IN ('ready', 'failed')
    ),
    g.updated_at
)
WHERE status NOT IN ('pending', 'generating');
ALTER TABLE generated_project ENABLE TRIGGER set_updated_at;
ALTER TABLE generated_project
    ADD CONSTRAINT over_has_ended CHECK ((status IN ('pending', 'generating')) = (ended_at IS NULL));

CREATE FUNCTION set_ended_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'generating' THEN
        NEW.ended_at := NULL;
        NEW.expires_at := NULL;
    ELSE
        NEW.ended_at := now();
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER set_ended_at BEFORE UPDATE OF status ON generated_project
    FOR EACH ROW WHEN (NEW.status IN ('ready', 'failed', 'generating') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION set_ended_at();

DROP INDEX generated_project_due_idx;
CREATE INDEX generated_project_ended_idx ON generated_project (status, ended_at, id)
    WHERE status IN ('ready', 'failed');
CREATE INDEX generated_project_under_way_idx ON generated_project (id) WHERE status IN ('pending', 'generating');
CREATE INDEX generated_project_expired_idx ON generated_project (id) WHERE status = 'expired';
CREATE INDEX generated_project_deleted_idx ON generated_project (updated_at, id) WHERE status = 'deleted';
CREATE INDEX generated_project_removal_idx ON generated_project (removal_run, id)
    WHERE status = 'deleted' AND removal_run IS NOT NULL;
CREATE INDEX repository_export_open_idx ON repository_export (id) WHERE status IN ('pending', 'exporting');
CREATE INDEX event_age_idx ON event USING brin ("at");
"""

# Many that go at once change their project's row once, in the order of ids.
COUNTS = """
DROP TRIGGER count_deleted ON generated_project;
DROP TRIGGER count_removed ON generated_project;
CREATE FUNCTION recount_generated_projects() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    keys bigint[];
    differences bigint[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        -- Added up and not joined: nothing is known of how many there are, and a nested loop would be chosen.
        SELECT array_agg(project_id ORDER BY project_id), array_agg(difference ORDER BY project_id)
        INTO keys, differences
        FROM (
            SELECT project_id, sum(living) AS difference
            FROM (
                SELECT project_id, (status <> 'deleted')::int AS living FROM after
                UNION ALL
                SELECT project_id, -(status <> 'deleted')::int FROM before
            ) moved
            GROUP BY project_id
        ) n
        WHERE difference <> 0;
        IF keys IS NULL THEN
            RETURN NULL;
        END IF;
        PERFORM FROM project WHERE id = ANY(keys) ORDER BY id FOR NO KEY UPDATE;
        UPDATE project p SET generated_count = p.generated_count + n.difference
        FROM unnest(keys, differences) AS n (id, difference)
        WHERE p.id = n.id;
    ELSE
        PERFORM FROM project WHERE id IN (SELECT project_id FROM before) ORDER BY id FOR NO KEY UPDATE;
        UPDATE project p SET generated_count = p.generated_count - n.gone
        FROM (SELECT project_id, count(*) AS gone FROM before WHERE status <> 'deleted' GROUP BY project_id) n
        WHERE p.id = n.project_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_deleted AFTER UPDATE ON generated_project
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION recount_generated_projects();
CREATE TRIGGER count_removed AFTER DELETE ON generated_project
    REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION recount_generated_projects();
"""


INSTALLATION = """
CREATE TABLE installation (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    has_directory boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX installation_single_idx ON installation ((true));
COMMENT ON TABLE installation IS 'One row: who these records are, as the directory of generated projects says, too.';
COMMENT ON COLUMN installation.has_directory IS 'A directory was marked as that of these records.';
INSERT INTO installation DEFAULT VALUES;
"""


def upgrade() -> None:
    op.execute(INSTALLATION)
    op.execute(COLUMNS)
    op.execute(COUNTS)


def downgrade() -> None:
    op.execute("""
DROP TABLE installation;
DROP TRIGGER count_deleted ON generated_project;
DROP TRIGGER count_removed ON generated_project;
DROP FUNCTION recount_generated_projects;
CREATE TRIGGER count_removed AFTER DELETE ON generated_project
    FOR EACH ROW WHEN (OLD.status <> 'deleted') EXECUTE FUNCTION count_generated_projects();
CREATE TRIGGER count_deleted AFTER UPDATE OF status ON generated_project
    FOR EACH ROW WHEN ((NEW.status = 'deleted') <> (OLD.status = 'deleted'))
    EXECUTE FUNCTION count_generated_projects();

DROP INDEX event_age_idx, repository_export_open_idx, generated_project_removal_idx, generated_project_deleted_idx,
    generated_project_expired_idx, generated_project_under_way_idx, generated_project_ended_idx;
CREATE INDEX generated_project_due_idx ON generated_project (expires_at) WHERE expires_at IS NOT NULL;
DROP TRIGGER set_ended_at ON generated_project;
DROP FUNCTION set_ended_at;
-- Before, ready ones always expired: those that are kept for ever get the longest time there is.
ALTER TABLE generated_project DISABLE TRIGGER set_updated_at;
UPDATE generated_project SET expires_at = ended_at + interval '36500 days'
WHERE status = 'ready' AND expires_at IS NULL;
ALTER TABLE generated_project ENABLE TRIGGER set_updated_at;
ALTER TABLE generated_project
    DROP CONSTRAINT over_has_ended,
    DROP COLUMN ended_at,
    DROP COLUMN removal_reason,
    DROP COLUMN removal_run,
    DROP COLUMN removal_claim,
    ADD CONSTRAINT ready_expires CHECK (status <> 'ready' OR expires_at IS NOT NULL);
""")
