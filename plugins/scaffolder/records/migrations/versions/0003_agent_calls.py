"""Agent calls that have parts, wait for long jobs, are in doubt or answered from the records; circuit breakers.

The way back drops parts of calls, jobs, doubt and circuit breakers; a call that waits for a job has failed then, and
every call has its own id as its idempotency key again.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOVES = (
    "pending>answered",
    "pending>failed",
    "pending>waiting",
    "waiting>answered",
    "waiting>failed",
    "waiting>pending",
    "answered>pending",
    "failed>pending",
    "failed>waiting",
    "failed>answered",
    "answered>failed",
)
PREVIOUS_MOVES = ("pending>answered", "pending>failed", "answered>pending", "failed>pending")


def upgrade() -> None:
    op.execute("""
ALTER TABLE agent_call
    ADD part_of uuid REFERENCES agent_call ON DELETE CASCADE,
    ADD replayed_from uuid,
    ADD in_doubt boolean NOT NULL DEFAULT false,
    ADD is_settled boolean NOT NULL DEFAULT false,
    ALTER idempotency_key DROP EXPRESSION,
    ADD job json,
    DROP CONSTRAINT agent_call_status_check,
    ADD CONSTRAINT agent_call_status_check CHECK (status IN ('pending', 'waiting', 'answered', 'failed'));
COMMENT ON COLUMN agent_call.replayed_from IS 'The call whose answer this is; it may be gone by now.';
COMMENT ON COLUMN agent_call.in_doubt IS 'It was sent, and nobody knows what became of it.';
COMMENT ON COLUMN agent_call.is_settled IS 'The same would come of its idempotency key again.';
ALTER TABLE agent_call DISABLE TRIGGER set_updated_at;
UPDATE agent_call SET is_settled = true WHERE status = 'answered';
ALTER TABLE agent_call ENABLE TRIGGER set_updated_at;
CREATE INDEX agent_call_answer_idx ON agent_call (request_digest) WHERE status = 'answered';
CREATE INDEX agent_call_part_idx ON agent_call (part_of) WHERE part_of IS NOT NULL;

CREATE TABLE agent_circuit (
    connection text PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    failures integer NOT NULL CHECK (failures >= 0),
    retry_at timestamptz,
    reason text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'closed') = (retry_at IS NULL))
);
COMMENT ON COLUMN agent_circuit.retry_at IS 'When one call is let through again.';

CREATE FUNCTION write_circuit_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event (subject, subject_id, kind, detail, actor)
    VALUES (
        TG_TABLE_NAME,
        NEW.connection,
        'status',
        json_strip_nulls(json_build_object(
            'from', CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, 'to', NEW.state, 'error', NEW.reason
        )),
        nullif(current_setting('scaffolder.actor', true), '')
    );
    RETURN NULL;
END $$;
CREATE TRIGGER set_updated_at BEFORE UPDATE ON agent_circuit FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER write_state_event AFTER UPDATE OF state ON agent_circuit
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION write_circuit_event();
CREATE TRIGGER write_created_event AFTER INSERT ON agent_circuit
    FOR EACH ROW WHEN (NEW.state <> 'closed') EXECUTE FUNCTION write_circuit_event();
""")
    _allow(MOVES)


def downgrade() -> None:
    op.execute("""
DROP TABLE agent_circuit;
DROP FUNCTION write_circuit_event;
DELETE FROM agent_call WHERE part_of IS NOT NULL;
UPDATE agent_call SET status = 'failed', error = 'the records went back to an earlier version' WHERE status = 'waiting';
DROP INDEX agent_call_answer_idx;
DROP INDEX agent_call_part_idx;
ALTER TABLE agent_call
    DROP COLUMN part_of,
    DROP COLUMN replayed_from,
    DROP COLUMN in_doubt,
    DROP COLUMN is_settled,
    DROP COLUMN idempotency_key,
    ADD COLUMN idempotency_key text NOT NULL GENERATED ALWAYS AS (id::text) STORED UNIQUE,
    DROP COLUMN job,
    DROP CONSTRAINT agent_call_status_check,
    ADD CONSTRAINT agent_call_status_check CHECK (status IN ('pending', 'answered', 'failed'));
""")
    _allow(PREVIOUS_MOVES)


def _allow(moves: tuple[str, ...]) -> None:
    arguments = ", ".join(f"'{move}'" for move in moves)
    op.execute(f"""
DROP TRIGGER check_status ON agent_call;
CREATE TRIGGER check_status BEFORE INSERT OR UPDATE OF status ON agent_call
    FOR EACH ROW EXECUTE FUNCTION check_status_transition({arguments});
""")
