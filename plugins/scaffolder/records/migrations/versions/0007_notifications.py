"""Notifications: which channel was told of which event, and since when channels are there.

The way back drops both: after another way up nobody is told of what happened before.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
CREATE TABLE notification_channel (
    name text PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now(),
    blocked_until timestamptz
);
COMMENT ON COLUMN notification_channel.since IS 'It is told of nothing that happened before.';
COMMENT ON COLUMN notification_channel.blocked_until IS 'The receiver has asked to be left alone until then.';

CREATE TABLE notification (
    event_id bigint NOT NULL REFERENCES event ON DELETE CASCADE,
    channel text NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'failed')),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    error text,
    sent_at timestamptz,
    PRIMARY KEY (event_id, channel),
    CHECK ((status = 'sent') = (sent_at IS NOT NULL))
);
COMMENT ON COLUMN notification.next_attempt_at IS
    'While it is being sent: when another sender takes it that this one has died.';
CREATE INDEX notification_due_idx ON notification (channel, next_attempt_at, event_id) WHERE status = 'pending';

CREATE INDEX event_told_idx ON event ("at", id)
    WHERE kind = 'status' AND subject IN ('generated_project', 'repository_export');
""")


def downgrade() -> None:
    op.execute("""
DROP INDEX event_told_idx;
DROP TABLE notification, notification_channel;
""")
