"""Exports that know what they made at a host and can take it back; pacing of requests to hosts for all workers.

The way back drops what is known of repositories at hosts, and the pace; an export that was rolled back has failed then.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOVES = (
    "pending>exporting",
    "pending>failed",
    "exporting>exported",
    "exporting>failed",
    "exporting>rolled_back",
    "failed>exporting",
    "failed>exported",
    "failed>rolled_back",
    "exported>rolled_back",
    "rolled_back>exporting",
)
PREVIOUS_MOVES = (
    "pending>exporting",
    "pending>failed",
    "exporting>exported",
    "exporting>failed",
    "failed>exporting",
)


def upgrade() -> None:
    op.execute("""
ALTER TABLE repository_export
    ADD connection text,
    ADD location text,
    ADD nonce text NOT NULL DEFAULT gen_random_uuid()::text,
    ADD remote_name text,
    ADD remote_id text,
    ADD created_remote boolean NOT NULL DEFAULT false,
    ADD exported_commit text,
    ADD branch text,
    ADD steps_done text[] NOT NULL DEFAULT '{}',
    ADD result json NOT NULL DEFAULT '{}',
    ADD rollback boolean NOT NULL DEFAULT false,
    ADD CHECK (remote_id IS NOT NULL OR NOT created_remote),
    DROP CONSTRAINT repository_export_status_check,
    ADD CONSTRAINT repository_export_status_check
        CHECK (status IN ('pending', 'exporting', 'exported', 'failed', 'rolled_back'));
COMMENT ON COLUMN repository_export.location IS 'The host, as a URL without credentials.';
COMMENT ON COLUMN repository_export.nonce IS 'By which a repository that this export made is known before its id is.';
COMMENT ON COLUMN repository_export.remote_id IS 'The repository''s id at its host, which no renaming changes.';
COMMENT ON COLUMN repository_export.created_remote IS 'This export made the repository.';
COMMENT ON COLUMN repository_export.exported_commit IS 'What was pushed: the commit, or what was made of it.';
COMMENT ON COLUMN repository_export.rollback IS 'What this export made goes again if its run fails.';
CREATE INDEX repository_export_remote_idx ON repository_export (location, remote_id) WHERE remote_id IS NOT NULL;

CREATE TABLE host_pace (
    account text PRIMARY KEY,
    writes timestamptz[] NOT NULL DEFAULT '{}',
    blocked_until timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN host_pace.writes IS 'When requests that write were made, or will be, in the last hour.';
CREATE TRIGGER set_updated_at BEFORE UPDATE ON host_pace FOR EACH ROW EXECUTE FUNCTION set_updated_at();
""")
    _allow(MOVES)


def downgrade() -> None:
    op.execute("""
DROP TABLE host_pace;
DROP INDEX repository_export_remote_idx;
DROP TRIGGER check_status ON repository_export;
UPDATE repository_export SET status = 'failed', error = 'it was rolled back' WHERE status = 'rolled_back';
ALTER TABLE repository_export
    DROP COLUMN connection,
    DROP COLUMN location,
    DROP COLUMN nonce,
    DROP COLUMN remote_name,
    DROP COLUMN remote_id,
    DROP COLUMN created_remote,
    DROP COLUMN exported_commit,
    DROP COLUMN branch,
    DROP COLUMN steps_done,
    DROP COLUMN result,
    DROP COLUMN rollback,
    DROP CONSTRAINT repository_export_status_check,
    ADD CONSTRAINT repository_export_status_check CHECK (status IN ('pending', 'exporting', 'exported', 'failed'));
CREATE TRIGGER check_status BEFORE INSERT OR UPDATE OF status ON repository_export
    FOR EACH ROW EXECUTE FUNCTION check_status_transition();
""")
    _allow(PREVIOUS_MOVES)


def _allow(moves: tuple[str, ...]) -> None:
    arguments = ", ".join(f"'{move}'" for move in moves)
    op.execute(f"""
DROP TRIGGER check_status ON repository_export;
CREATE TRIGGER check_status BEFORE INSERT OR UPDATE OF status ON repository_export
    FOR EACH ROW EXECUTE FUNCTION check_status_transition({arguments});
""")
