"""Projects with a visibility, holds, runs that the API starts, guards and effects of every change, events of all.

The way back drops visibilities, descriptions, who holds what and why, requested runs, and the events of projects,
members and changes.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE project
    ADD description text NOT NULL DEFAULT '',
    ADD visibility text NOT NULL DEFAULT 'open' CHECK (visibility IN ('open', 'public', 'private')),
    ADD generated_count integer NOT NULL DEFAULT 0 CHECK (generated_count >= 0),
    ADD updated_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN project.visibility IS
    'open: all read and generate; public: all read, members generate; private: members alone.';
COMMENT ON COLUMN project.generated_count IS 'Generated projects that are not deleted.';
UPDATE project p
SET updated_at = created_at,
    visibility = CASE
        WHEN EXISTS (SELECT FROM project_member m WHERE m.project_id = p.id) THEN 'private' ELSE 'open'
    END,
    generated_count = (SELECT count(*) FROM generated_project g WHERE g.project_id = p.id AND g.status <> 'deleted');

ALTER TABLE generated_project
    ADD hold_reason text,
    ADD held_by text,
    ADD held_until timestamptz,
    ADD regenerated_from uuid,
    ADD export_count integer NOT NULL DEFAULT 0 CHECK (export_count >= 0),
    ADD export_status text CHECK (export_status IN ('pending', 'exporting', 'exported', 'failed', 'rolled_back')),
    ADD CONSTRAINT hold_is_held CHECK (held OR num_nonnulls(hold_reason, held_by, held_until) = 0),
    ADD CONSTRAINT size_has_files CHECK (file_count > 0 OR size_bytes = 0),
    ADD CONSTRAINT ready_expires CHECK (status <> 'ready' OR expires_at IS NOT NULL);
COMMENT ON COLUMN generated_project.held IS 'Retention leaves it alone, until held_until where that is set.';
COMMENT ON COLUMN generated_project.export_count IS 'Exports that have arrived and were not rolled back.';
COMMENT ON COLUMN generated_project.export_status IS 'That of the export that changed last; null without exports.';

ALTER TABLE repository_export
    ADD dag_id text,
    ADD run_id text;
COMMENT ON COLUMN repository_export.run_id IS 'The DAG run that asked for it last; null in older records.';

ALTER TABLE event ADD project_id bigint;
COMMENT ON COLUMN event.project_id IS
    'Set where the subject is a project or one of its members; a slug may get another project.';

CREATE TABLE requested_run (
    key text PRIMARY KEY,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    generated_project_id uuid NOT NULL REFERENCES generated_project ON DELETE CASCADE,
    username text NOT NULL,
    request_digest text NOT NULL,
    as_administrator boolean NOT NULL DEFAULT false,
    started boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (dag_id, run_id)
);
COMMENT ON COLUMN requested_run.as_administrator IS 'The user passes membership, which tasks cannot find out.';
COMMENT ON COLUMN requested_run.started IS 'Airflow has the run, or had it.';
COMMENT ON TABLE requested_run IS
    'Runs that the API was asked for, written before they are started: who was let in, and which request it was.';
CREATE INDEX requested_run_generated_project_idx ON requested_run (generated_project_id);
"""

INDEXES = """
DROP INDEX generated_project_project_idx;
CREATE INDEX generated_project_project_idx ON generated_project (project_id, created_at, id);
CREATE INDEX generated_project_status_idx ON generated_project (project_id, status, created_at, id);
CREATE INDEX generated_project_name_idx ON generated_project (project_id, name COLLATE "C", id);
CREATE INDEX generated_project_size_idx ON generated_project (project_id, size_bytes, id);
CREATE INDEX generated_project_expiry_idx ON generated_project (project_id, coalesce(expires_at, 'infinity'), id);
CREATE INDEX generated_project_age_idx ON generated_project (created_at, id);
DROP INDEX repository_export_generated_project_idx;
CREATE INDEX repository_export_generated_project_idx ON repository_export (generated_project_id, created_at, id);
CREATE INDEX repository_export_run_idx ON repository_export (dag_id, run_id);
DROP INDEX agent_call_generated_project_idx;
CREATE INDEX agent_call_generated_project_idx ON agent_call (generated_project_id, created_at, id);
CREATE INDEX event_project_idx ON event (project_id, id) WHERE project_id IS NOT NULL;
"""

PREVIOUS_INDEXES = """
DROP INDEX agent_call_generated_project_idx;
CREATE INDEX agent_call_generated_project_idx ON agent_call (generated_project_id, created_at);
DROP INDEX repository_export_generated_project_idx;
CREATE INDEX repository_export_generated_project_idx ON repository_export (generated_project_id, created_at);
DROP INDEX generated_project_age_idx, generated_project_expiry_idx, generated_project_size_idx,
    generated_project_name_idx, generated_project_status_idx, generated_project_project_idx;
CREATE INDEX generated_project_project_idx ON generated_project (project_id, created_at DESC, id);
"""

# Guards: what a change must keep, whoever makes it.
GUARDS = """
CREATE FUNCTION check_generated_project_ends() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.held AND (NEW.held_until IS NULL OR NEW.held_until > now()) THEN
        RAISE EXCEPTION 'generated_project % is held%, so it cannot become %', NEW.id,
            coalesce(' by ' || NEW.held_by, ''), NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'status_transition';
    END IF;
    IF EXISTS (
        SELECT FROM repository_export
        WHERE generated_project_id = NEW.id AND status IN ('pending', 'exporting')
    ) THEN
        RAISE EXCEPTION 'generated_project % is being exported, so it cannot become %', NEW.id, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'status_transition';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_ends BEFORE UPDATE OF status ON generated_project
    FOR EACH ROW WHEN (NEW.status IN ('expired', 'deleted') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION check_generated_project_ends();

-- The row lock makes an export that begins and a generated project that ends wait for each other. Exports are locked
-- before their generated project, everywhere.
CREATE FUNCTION check_export_begins() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    SELECT status INTO found FROM generated_project WHERE id = NEW.generated_project_id FOR NO KEY UPDATE;
    IF found IN ('expired', 'deleted') THEN
        RAISE EXCEPTION 'generated_project % is %, so it cannot be exported', NEW.generated_project_id, found
            USING ERRCODE = 'check_violation', CONSTRAINT = 'status_transition';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_begins BEFORE INSERT ON repository_export
    FOR EACH ROW EXECUTE FUNCTION check_export_begins();
CREATE TRIGGER check_begins_again BEFORE UPDATE OF status ON repository_export
    FOR EACH ROW WHEN (NEW.status IN ('pending', 'exporting') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION check_export_begins();
"""

# Effects: what a change brings with it, in the same transaction.
EFFECTS = """
CREATE FUNCTION count_generated_projects() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE project SET generated_count = generated_count + CASE TG_OP
        WHEN 'INSERT' THEN 1
        WHEN 'DELETE' THEN -1
        ELSE (NEW.status <> 'deleted')::int - (OLD.status <> 'deleted')::int
    END
    WHERE id = CASE TG_OP WHEN 'DELETE' THEN OLD.project_id ELSE NEW.project_id END;
    RETURN NULL;
END $$;
CREATE TRIGGER count_created AFTER INSERT ON generated_project
    FOR EACH ROW EXECUTE FUNCTION count_generated_projects();
CREATE TRIGGER count_removed AFTER DELETE ON generated_project
    FOR EACH ROW WHEN (OLD.status <> 'deleted') EXECUTE FUNCTION count_generated_projects();
CREATE TRIGGER count_deleted AFTER UPDATE OF status ON generated_project
    FOR EACH ROW WHEN ((NEW.status = 'deleted') <> (OLD.status = 'deleted'))
    EXECUTE FUNCTION count_generated_projects();

-- For each statement, after all its exports are locked: those of one generated project are counted at once.
CREATE FUNCTION summarise_exports() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Counted once the lock is held: what another transaction has changed meanwhile is seen then.
    PERFORM FROM generated_project
    WHERE id IN (SELECT generated_project_id FROM changed) ORDER BY id FOR NO KEY UPDATE;
    UPDATE generated_project g
    SET export_count = s.export_count, export_status = s.export_status
    FROM (
        SELECT e.generated_project_id,
            count(*) FILTER (WHERE e.status = 'exported') AS export_count,
            (array_agg(e.status ORDER BY e.updated_at DESC, e.created_at DESC, e.id))[1] AS export_status
        FROM repository_export e
        WHERE e.generated_project_id IN (SELECT generated_project_id FROM changed)
        GROUP BY e.generated_project_id
    ) s
    WHERE g.id = s.generated_project_id
        AND (g.export_count, g.export_status) IS DISTINCT FROM (s.export_count::int, s.export_status);
    RETURN NULL;
END $$;
CREATE TRIGGER summarise_created AFTER INSERT ON repository_export
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION summarise_exports();
CREATE TRIGGER summarise_changed AFTER UPDATE ON repository_export
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION summarise_exports();
ALTER TABLE generated_project DISABLE TRIGGER set_updated_at;
UPDATE generated_project g
SET export_count = s.export_count, export_status = s.export_status
FROM (
    SELECT generated_project_id, count(*) FILTER (WHERE status = 'exported') AS export_count,
        (array_agg(status ORDER BY updated_at DESC, created_at DESC, id))[1] AS export_status
    FROM repository_export GROUP BY generated_project_id
) s
WHERE g.id = s.generated_project_id;
ALTER TABLE generated_project ENABLE TRIGGER set_updated_at;

CREATE TRIGGER set_updated_at BEFORE UPDATE OF name, description, visibility ON project
    FOR EACH ROW EXECUTE FUNCTION set_updated_at();
"""

# What counts as a change of a record besides its status.
WATCHED = {
    "project": ("name", "description", "visibility"),
    "project_member": ("role",),
    "generated_project": ("head_commit", "held", "hold_reason", "held_until", "expires_at"),
    # Not the url: that of an archive is a path of some machine.
    "repository_export": ("remote_name", "branch", "exported_commit", "archive_sha256", "rollback", "run_id"),
}

EVENTS = """
-- The arguments are the columns whose change is told; each with what it was and what it is.
CREATE FUNCTION write_change_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    name text;
    before jsonb;
    after jsonb;
    changes jsonb := '{}';
    project_key bigint;
    subject_key text;
    generated_key uuid;
BEGIN
    -- Column by column: whole rows hold documents, which are large, and may hold what jsonb does not take.
    FOREACH name IN ARRAY TG_ARGV LOOP
        before := NULL;
        after := NULL;
        IF TG_OP <> 'INSERT' THEN
            EXECUTE format('SELECT to_jsonb($1.%I)', name) INTO before USING OLD;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            EXECUTE format('SELECT to_jsonb($1.%I)', name) INTO after USING NEW;
        END IF;
        IF before IS DISTINCT FROM after THEN
            changes := changes || jsonb_build_object(name, jsonb_build_object('from', before, 'to', after));
        END IF;
    END LOOP;
    IF TG_OP = 'UPDATE' AND changes = '{}' THEN
        RETURN NULL;
    END IF;
    IF TG_TABLE_NAME = 'project' THEN
        IF TG_OP = 'DELETE' THEN
            project_key := OLD.id;
            subject_key := OLD.slug;
        ELSE
            project_key := NEW.id;
            subject_key := NEW.slug;
        END IF;
    ELSIF TG_TABLE_NAME = 'project_member' THEN
        IF TG_OP = 'DELETE' THEN
            project_key := OLD.project_id;
            subject_key := OLD.username;
        ELSE
            project_key := NEW.project_id;
            subject_key := NEW.username;
        END IF;
    ELSIF TG_TABLE_NAME = 'generated_project' THEN
        IF TG_OP = 'DELETE' THEN
            generated_key := OLD.id;
        ELSE
            generated_key := NEW.id;
        END IF;
        subject_key := generated_key::text;
    ELSE
        generated_key := NEW.generated_project_id;
        subject_key := NEW.id::text;
    END IF;
    INSERT INTO event (generated_project_id, project_id, subject, subject_id, kind, detail, actor)
    VALUES (
        generated_key, project_key, TG_TABLE_NAME, subject_key,
        CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END,
        changes, nullif(current_setting('scaffolder.actor', true), '')
    );
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(INDEXES)
    op.execute(GUARDS)
    op.execute(EFFECTS)
    op.execute(EVENTS)
    for table, columns in WATCHED.items():
        arguments = ", ".join(f"'{column}'" for column in columns)
        op.execute(f"""
            CREATE TRIGGER write_change_event AFTER UPDATE OF {", ".join(columns)} ON {table}
            FOR EACH ROW EXECUTE FUNCTION write_change_event({arguments});
        """)
    op.execute("""
        CREATE TRIGGER write_removed_event AFTER DELETE ON generated_project
        FOR EACH ROW EXECUTE FUNCTION write_change_event('status');
    """)
    for table in ("project", "project_member"):
        arguments = ", ".join(f"'{column}'" for column in WATCHED[table])
        op.execute(f"""
            CREATE TRIGGER write_record_event AFTER INSERT OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION write_change_event({arguments});
        """)


def downgrade() -> None:
    for table in WATCHED:
        op.execute(f"DROP TRIGGER write_change_event ON {table};")
    op.execute("""
DROP TRIGGER write_record_event ON project;
DROP TRIGGER write_record_event ON project_member;
DROP TRIGGER set_updated_at ON project;
DROP TRIGGER summarise_created ON repository_export;
DROP TRIGGER summarise_changed ON repository_export;
DROP TRIGGER check_begins ON repository_export;
DROP TRIGGER check_begins_again ON repository_export;
DROP TRIGGER count_created ON generated_project;
DROP TRIGGER count_removed ON generated_project;
DROP TRIGGER count_deleted ON generated_project;
DROP TRIGGER write_removed_event ON generated_project;
DROP TRIGGER check_ends ON generated_project;
DROP FUNCTION write_change_event, summarise_exports, count_generated_projects, check_export_begins,
    check_generated_project_ends;
DROP TABLE requested_run;
DELETE FROM event
WHERE project_id IS NOT NULL
    OR kind IN ('changed', 'deleted') AND subject IN ('generated_project', 'repository_export');
ALTER TABLE event DROP COLUMN project_id;
ALTER TABLE repository_export DROP COLUMN dag_id, DROP COLUMN run_id;
ALTER TABLE generated_project
    DROP CONSTRAINT hold_is_held,
    DROP CONSTRAINT size_has_files,
    DROP CONSTRAINT ready_expires,
    DROP COLUMN hold_reason,
    DROP COLUMN held_by,
    DROP COLUMN held_until,
    DROP COLUMN regenerated_from,
    DROP COLUMN export_count,
    DROP COLUMN export_status;
ALTER TABLE project
    DROP COLUMN description,
    DROP COLUMN visibility,
    DROP COLUMN generated_count,
    DROP COLUMN updated_at;
""")
    op.execute(PREVIOUS_INDEXES)
