"""What agents say of themselves, and endpoints whose definitions stand alone. Nothing has filled the table before.

Both ways empty the registry; the DAG ``discover_agent_apis`` fills it again.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
CREATE TABLE agent_description (
    connection text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('openapi', 'a2a', 'mcp')),
    source text NOT NULL,
    base_url text NOT NULL,
    title text NOT NULL,
    version text NOT NULL,
    description text NOT NULL,
    etag text,
    digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    warnings json NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION write_description_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event (subject, subject_id, kind, detail, actor)
    VALUES (
        TG_TABLE_NAME,
        NEW.connection,
        CASE TG_OP WHEN 'INSERT' THEN 'created' ELSE 'changed' END,
        json_build_object('title', NEW.title, 'version', NEW.version),
        nullif(current_setting('scaffolder.actor', true), '')
    );
    RETURN NULL;
END $$;
CREATE TRIGGER write_created_event AFTER INSERT ON agent_description
    FOR EACH ROW EXECUTE FUNCTION write_description_event();
CREATE TRIGGER write_changed_event AFTER UPDATE OF digest ON agent_description
    FOR EACH ROW WHEN (OLD.digest IS DISTINCT FROM NEW.digest) EXECUTE FUNCTION write_description_event();

DELETE FROM endpoint;
ALTER TABLE endpoint
    DROP COLUMN request_schema,
    DROP COLUMN response_schema,
    DROP COLUMN spec_digest,
    DROP COLUMN seen_at,
    ADD summary text NOT NULL,
    ADD definition json NOT NULL,
    ADD digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    ADD first_seen_at timestamptz NOT NULL DEFAULT now(),
    ADD changed_at timestamptz NOT NULL DEFAULT now(),
    ADD FOREIGN KEY (connection) REFERENCES agent_description ON DELETE CASCADE;
COMMENT ON COLUMN endpoint.gone_at IS 'Since when the description no longer has it.';
""")


def downgrade() -> None:
    op.execute("""
DELETE FROM endpoint;
ALTER TABLE endpoint
    DROP CONSTRAINT endpoint_connection_fkey,
    DROP COLUMN summary,
    DROP COLUMN definition,
    DROP COLUMN digest,
    DROP COLUMN first_seen_at,
    DROP COLUMN changed_at,
    ADD request_schema json,
    ADD response_schema json,
    ADD spec_digest text NOT NULL,
    ADD seen_at timestamptz NOT NULL DEFAULT now();
DROP TABLE agent_description;
DROP FUNCTION write_description_event;
""")
