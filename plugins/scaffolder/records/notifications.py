"""Which channel was told of which event: the table ``event`` is the outbox, ``notification`` says what became of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

from scaffolder.records.access import RecordsAccess, as_text

# Nothing remembers how far it has looked: ids are given out before their transactions commit, so a later one may be
# seen first. What a channel has no row for is what it was not told.
_ENQUEUE: Final[LiteralString] = """
INSERT INTO notification (event_id, channel)
SELECT e.id, c.name
FROM notification_channel c
JOIN event e ON e."at" >= greatest(c.since, now() - make_interval(days => %(max_age_days)s))
JOIN generated_project g ON g.id = e.generated_project_id
JOIN project p ON p.id = g.project_id
WHERE c.name = %(channel)s
    AND e.kind = 'status' AND e.subject IN ('generated_project', 'repository_export')
    AND e.subject || '.' || (e.detail ->> 'to') = ANY(%(event_types)s)
    AND (%(projects)s::text[] IS NULL OR p.slug = ANY(%(projects)s))
    AND NOT EXISTS (SELECT FROM notification n WHERE n.event_id = e.id AND n.channel = c.name)
ORDER BY e.id
ON CONFLICT (event_id, channel) DO NOTHING
"""

_CLAIM: Final[LiteralString] = """
WITH due AS MATERIALIZED (
    SELECT n.event_id, n.channel
    FROM notification n
    WHERE n.channel = %(channel)s AND n.status = 'pending' AND n.next_attempt_at <= now()
        AND NOT EXISTS (SELECT FROM notification_channel c WHERE c.name = n.channel AND c.blocked_until > now())
    ORDER BY n.next_attempt_at, n.event_id
    LIMIT 1
    FOR UPDATE OF n SKIP LOCKED
), claimed AS (
    UPDATE notification n
    SET attempts = n.attempts + 1, next_attempt_at = now() + make_interval(secs => %(lease_seconds)s)
    FROM due WHERE n.event_id = due.event_id AND n.channel = due.channel
    RETURNING n.event_id, n.channel, n.attempts
)
SELECT c.event_id, c.channel, c.attempts, e.subject, e.detail ->> 'from' AS status_before,
    e.detail ->> 'to' AS status_after, e.detail ->> 'error' AS error, e.actor, e."at",
    g.id AS generated_project_id, p.slug AS project, g.name, g.workflow, g.status, g.head_commit, g.file_count,
    g.size_bytes, g.expires_at, g.dag_id, g.run_id,
    x.id AS export_id, x.target, x.url, x."commit", x.status AS export_status
FROM claimed c
JOIN event e ON e.id = c.event_id
LEFT JOIN generated_project g ON g.id = e.generated_project_id
LEFT JOIN project p ON p.id = g.project_id
LEFT JOIN repository_export x ON x.id = CASE WHEN e.subject = 'repository_export' THEN e.subject_id::uuid END
"""

_SELECT_SLUGS: Final[LiteralString] = "SELECT slug FROM project ORDER BY slug"

_INSERT_CHANNEL: Final[LiteralString] = """
INSERT INTO notification_channel (name) VALUES (%(channel)s) ON CONFLICT (name) DO NOTHING
"""

_BLOCK_CHANNEL: Final[LiteralString] = """
UPDATE notification_channel
SET blocked_until = greatest(blocked_until, now() + make_interval(secs => %(seconds)s))
WHERE name = %(channel)s
"""

# Sent is sent, also where the lease was over and somebody else is sending it again.
_UPDATE_TO_SENT: Final[LiteralString] = """
UPDATE notification SET status = 'sent', sent_at = now(), error = NULL
WHERE event_id = %(event_id)s AND channel = %(channel)s AND status <> 'sent'
"""

_UPDATE_TO_FAILED: Final[LiteralString] = """
UPDATE notification SET status = 'failed', error = %(error)s
WHERE event_id = %(event_id)s AND channel = %(channel)s AND status = 'pending' AND attempts = %(attempts)s
"""

_POSTPONE: Final[LiteralString] = """
UPDATE notification SET next_attempt_at = now() + make_interval(secs => %(seconds)s), error = %(error)s
WHERE event_id = %(event_id)s AND channel = %(channel)s AND status = 'pending' AND attempts = %(attempts)s
"""

_GIVE_BACK: Final[LiteralString] = """
UPDATE notification SET next_attempt_at = now(), attempts = attempts - 1
WHERE event_id = %(event_id)s AND channel = %(channel)s AND status = 'pending' AND attempts = %(attempts)s
"""

# Of channels that are not configured any more, too.
_FAIL_AGED: Final[LiteralString] = """
UPDATE notification n
SET status = 'failed',
    error = 'not sent within ' || %(max_age_days)s || ' day(s)' || coalesce('; last: ' || n.error, '')
FROM event e
WHERE e.id = n.event_id AND n.status = 'pending' AND n.next_attempt_at <= now()
    AND e."at" < now() - make_interval(days => %(max_age_days)s)
"""


@dataclass(frozen=True, kw_only=True)
class Notification:
    """One event that one channel is to be told of, claimed for the attempt number `attempts`.

    `at`, `status_before`, `status_after`, `error` and `actor` are those of the event, the other fields those of its
    generated project and, for the subject ``repository_export``, of the export, as they are now. They are None where
    the record is gone.
    """

    event_id: int
    channel: str
    attempts: int
    subject: str
    status_before: str | None
    status_after: str
    error: str | None
    actor: str | None
    at: datetime
    generated_project_id: UUID | None
    project: str | None
    name: str | None
    workflow: str | None
    status: str | None
    head_commit: str | None
    file_count: int | None
    size_bytes: int | None
    expires_at: datetime | None
    dag_id: str | None
    run_id: str | None
    export_id: UUID | None
    target: str | None
    url: str | None
    commit: str | None
    export_status: str | None

    @property
    def event_type(self) -> str:
        """The event's name, such as ``generated_project.ready``."""
        return f"{self.subject}.{self.status_after}"


class NotificationRecords(RecordsAccess):
    """Notifications and their channels, over one open connection. Nothing of it holds a lock for longer than itself."""

    def list_projects(self) -> list[str]:
        """Return the slugs of all projects."""
        return [row.slug for row in self._rows(_Slug, _SELECT_SLUGS, {})]

    def register(self, channel: str) -> None:
        """Note that `channel` is there, if it was not: from now on it is told of what happens."""
        self._execute(_INSERT_CHANNEL, {"channel": channel})

    def enqueue(
        self, channel: str, *, event_types: Collection[str], projects: Collection[str] | None, max_age_days: int
    ) -> int:
        """Make a pending notification of every event that `channel` was not told of yet, and return how many.

        `projects` are slugs; None are all.
        """
        return self._execute(
            _ENQUEUE,
            {
                "channel": channel,
                "event_types": list(event_types),
                "projects": None if projects is None else list(projects),
                "max_age_days": max_age_days,
            },
        )

    def claim(self, channel: str, *, lease_seconds: float) -> Notification | None:
        """Return a notification of `channel` that is due, one attempt further; no other sender gets it meanwhile.

        After `lease_seconds` it is due again, whatever became of the one who claimed it.
        """
        found = self._rows(Notification, _CLAIM, {"channel": channel, "lease_seconds": lease_seconds})
        return found[0] if found else None

    def mark_sent(self, notification: Notification) -> None:
        """Set ``sent``."""
        self._execute(_UPDATE_TO_SENT, _key(notification))

    def mark_failed(self, notification: Notification, *, error: str) -> None:
        """Set ``failed`` for good, where nobody else has claimed it meanwhile."""
        self._execute(_UPDATE_TO_FAILED, {**_key(notification), "error": as_text(error)})

    def postpone(self, notification: Notification, *, error: str, seconds: float) -> None:
        """Make it due again in `seconds`, where nobody else has claimed it meanwhile."""
        self._execute(_POSTPONE, {**_key(notification), "error": as_text(error), "seconds": seconds})

    def give_back(self, notification: Notification) -> None:
        """Undo the claim: nothing was tried."""
        self._execute(_GIVE_BACK, _key(notification))

    def fail_aged(self, *, max_age_days: int) -> int:
        """Set ``failed`` what is too old to be told, and return how many that were."""
        return self._execute(_FAIL_AGED, {"max_age_days": max_age_days})

    def block(self, channel: str, *, seconds: float) -> None:
        """Have nothing of `channel` claimed for `seconds`; a longer block stays."""
        self._execute(_BLOCK_CHANNEL, {"channel": channel, "seconds": seconds})


@dataclass(frozen=True, kw_only=True)
class _Slug:
    slug: str


def _key(notification: Notification) -> dict[str, int | str]:
    return {
        "event_id": notification.event_id,
        "channel": notification.channel,
        "attempts": notification.attempts,
    }
