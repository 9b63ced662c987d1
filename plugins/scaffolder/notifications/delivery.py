"""What is told of an event, and what can come of telling it: the contract between `service` and those who deliver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from scaffolder.notifications.channels import Channel
from scaffolder.records.notifications import Notification


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one attempt: ``sent``, ``refused`` for good, or ``unavailable`` for now, with the reason.

    `retry_after_seconds` is what the receiver asked for. No secret is in `reason`.
    """

    state: Literal["sent", "refused", "unavailable"]
    reason: str = ""
    retry_after_seconds: float | None = None


#: Tells one channel of one event, once. Raises SettingsError where the channel cannot be used as it is configured.
Deliver = Callable[[Channel, Notification], Outcome]


def describe_notification(notification: Notification) -> dict[str, Any]:
    """Return ``event``, ``generated_project`` and ``repository_export`` as plain data, all that anybody is told.

    Parameters of runs, options of exports and answers of agents are no part of it.
    """
    return {
        "event": {
            "id": notification.event_id,
            "type": notification.event_type,
            "timestamp": _show_time(notification.at),
            "actor": notification.actor,
            "from": notification.status_before,
            "to": notification.status_after,
            "error": notification.error,
        },
        "generated_project": {
            "id": str(notification.generated_project_id),
            "project": notification.project,
            "name": notification.name,
            "workflow": notification.workflow,
            "status": notification.status,
            "head_commit": notification.head_commit,
            "file_count": notification.file_count,
            "size_bytes": notification.size_bytes,
            "expires_at": _show_time(notification.expires_at),
            "dag_id": notification.dag_id,
            "run_id": notification.run_id,
        },
        "repository_export": None
        if notification.export_id is None
        else {
            "id": str(notification.export_id),
            "target": notification.target,
            "url": notification.url,
            "commit": notification.commit,
            "status": notification.export_status,
        },
    }


def _show_time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
